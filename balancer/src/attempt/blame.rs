//! Whose doing it is that an attempt failed, and what is held against the server for it.

use cluster_config::document::balancer::{Backend as Settings, Failure as Counted};
use relay::{fault::Fault, head::ResponseHead, proxy_status, retry::Phase};

use super::{Attempt, Error, Kind, Outcome};
use crate::{
    evidence::{self, Seen},
    local::{Local, Slot},
    server::Protocol,
};

impl Attempt<'_> {
    /// What the answer says about a failure of the server itself.
    pub(super) fn own_failure(
        &self,
        response: &ResponseHead,
        bytes: &[u8],
    ) -> Option<evidence::Fault> {
        let (server, status) = (&self.slot.server, response.status());
        if status < 500 {
            return None;
        }
        if server.protocol.is_relay() {
            let error = proxy_status::error_of(response.view(bytes).lines(), &server.name)?;
            return error.is_own_failure().then_some(evidence::Fault::OwnError(error));
        }
        (matches!(status, 502..=504) && self.counts(Counted::Gateway))
            .then_some(evidence::Fault::Gateway(status))
    }

    /// Whose doing it is that a response broke off while it was held. A server that closes its
    /// connection in order and lives has passed on what its origin did, which is no evidence
    /// against it, and asking another one would ask that origin again. The kernel closes a killed
    /// process's connections in order too, so that only a new connection tells. A reset is what a
    /// server's own failure looks like.
    pub(super) async fn broke_off(&self, fault: Fault) -> Kind {
        match Kind::from(fault) {
            Kind::Closed if fault == Fault::Closed && !self.local.is_dead(self.slot).await => {
                Kind::AnswerCut
            }
            kind => kind,
        }
    }

    pub(super) fn failed(&self, fault: Fault, phase: Phase, pooled: bool) -> Outcome {
        let kind = Kind::from(fault);
        self.blame_for(kind, phase, pooled);
        Outcome::Failed(Error { kind, phase, pooled })
    }

    fn blame_for(&self, kind: Kind, phase: Phase, pooled: bool) {
        // An operator cut it.
        if self.slot.cuts() != self.cuts {
            return;
        }
        let (server, settings) = (&self.slot.server.protocol, &self.backend.pool.settings);
        if let Some(fault) = held_against(server, settings, kind, phase, pooled) {
            self.blame(fault);
        }
    }

    fn counts(&self, kind: Counted) -> bool {
        self.backend.pool.settings.passive.count.contains(&kind)
    }

    pub(super) fn blame(&self, fault: evidence::Fault) {
        blame(self.local, self.slot, fault);
    }
}

/// What is held against a server that failed: against a node its own failure, against a server that
/// is not Shoal's what the bundle says.
#[must_use]
pub fn held_against(
    server: &Protocol,
    settings: &Settings,
    kind: Kind,
    phase: Phase,
    pooled: bool,
) -> Option<evidence::Fault> {
    let relay = server.is_relay();
    let counts = |kind: Counted| settings.passive.count.contains(&kind);
    // An idle connection that was just being closed is nobody's failure; nodes, which close no
    // pooled connection first, owe an answer to what was written.
    let race = pooled && (phase == Phase::NothingWritten || !relay);
    Some(match kind {
        Kind::Refused | Kind::Unreachable if relay || counts(Counted::Connect) => {
            evidence::Fault::Refused
        }
        Kind::Unproven => evidence::Fault::Unproven,
        Kind::ConnectTimeout if relay || counts(Counted::Connect) => {
            evidence::Fault::ConnectTimeout
        }
        Kind::Closed | Kind::Broken if !race && (relay || counts(Counted::Reset)) => {
            evidence::Fault::Reset
        }
        Kind::Malformed if relay || counts(Counted::Reset) => evidence::Fault::Malformed,
        Kind::Timeout if !relay && counts(Counted::Timeout) => evidence::Fault::Late,
        _ => return None,
    })
}

/// Holds it against the server.
pub fn blame(local: &Local, slot: &Slot, fault: evidence::Fault) {
    slot.counts().failures.up();
    local.shared().roster.observe(slot.server.key, Seen::Failed(fault));
}
