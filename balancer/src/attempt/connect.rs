//! A connection to the server: a pooled one, or a new one that both sides have proved.

use relay::{
    fault::Fault,
    method::Method,
    pool::Reuse,
    stream::{Ahead, Stream},
};

use super::Attempt;
use crate::upstream::{self, Whose};

/// Why there is no connection to a server.
pub(super) enum Unconnected {
    /// The server cannot be reached, or there is no descriptor for it.
    Server(Fault),
    /// The client has not waited for it.
    ClientLeft(Fault),
}

impl Attempt<'_> {
    /// A connection to the server, and whether it had been idle in the pool.
    pub(super) async fn connection(
        &self,
        client: &mut Stream,
        releases: u64,
    ) -> Result<(Stream, bool), Unconnected> {
        let (server, settings) = (&self.slot.server, &self.backend.pool.settings);
        let reuse = match self.request.method() {
            // Before its 2xx it may be asked for again.
            Method::Connect => Reuse::Replayable,
            method => Reuse::of(method),
        };
        if !self.afresh
            && settings.keepalive > 0
            && self.is_shared()
            && let Some(upstream) = self.local.idle().take(&server.key, 0, reuse)
        {
            self.slot.counts().connections_reused.up();
            return Ok((upstream, true));
        }
        Ok((self.connect(client, releases).await?, false))
    }

    /// Whether the connection may be, or become, another client's. No two share one that says whose
    /// it is, and only a node's outlives a tunnel.
    pub(super) fn is_shared(&self) -> bool {
        self.backend.pool.settings.send_proxy.is_none()
            && (self.request.method() != Method::Connect || self.slot.server.protocol.is_relay())
    }

    /// Whether a node is asked to carry a tunnel in frames.
    pub(super) fn asks_for_frames(&self) -> bool {
        self.request.method() == Method::Connect
            && self.is_shared()
            && self.backend.pool.settings.keepalive > 0
    }

    /// A new connection.
    async fn connect(&self, client: &mut Stream, releases: u64) -> Result<Stream, Unconnected> {
        let whose = (!self.is_shared()).then(|| Whose {
            client: self.request.peer,
            told: self.request.told,
            frontend: upstream::reached(client, self.request.frontend_address),
        });
        let (slot, settings) = (self.slot, &self.backend.pool.settings);
        let open =
            || upstream::open(self.local, slot, settings, whose, releases, || self.has_others());
        tokio::select! {
            biased;
            connected = upstream::with_descriptors(self.local, settings.timeouts.connect, open) => {
                connected.map_err(Unconnected::Server)
            }
            fault = client.left(Ahead::OfAnswer) => Err(Unconnected::ClientLeft(fault)),
        }
    }
}
