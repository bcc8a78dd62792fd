//! Which connection a request goes over, and whether it goes over another one after that.
//!
//! The table of what may be tried again is [`relay::retry`]'s. A pooled connection that turns out
//! to be closed is the one case in which a node tries the same next hop again.

use relay::{
    exchange::{self, Side, Upload},
    fault::Fault,
    framing::BodyFraming,
    method::Method,
    retry::Phase,
};

use super::response::Received;
use crate::{
    parent::{self, Tried},
    request::Destination,
    respond::Error,
    transaction::{Request, Transaction},
    upstream::{From, Hop},
};

/// The attempts of one request so far.
pub(super) struct Attempts {
    /// The body of the request.
    pub(super) upload: Upload,
    /// Which connection will do for the next one.
    pub(super) from: From,
    /// The parents that were asked.
    pub(super) tried: Tried,
    /// What a parent answered in vain, while another one is asked.
    pub(super) held: Option<Received>,
}

impl Attempts {
    /// Nobody has been asked.
    pub(super) fn new(transaction: &Transaction, request: &Request) -> Self {
        let (local, parents) = (&transaction.local, &transaction.generation.parents);
        Self {
            upload: Upload::new(request.head.framing(), request.head.expects_continue())
                .at_most(transaction.body_most),
            from: From::pool_for(transaction.method),
            tried: local.parents.begin(
                parents,
                request.view().target_text(),
                transaction.client.address,
            ),
            held: None,
        }
    }

    /// The answer that the client gets. `None`: it came from a parent in vain, and another one is
    /// asked.
    pub(super) fn answered(
        &mut self,
        transaction: &Transaction,
        destination: &Destination,
        answer: Received,
        phase: Phase,
    ) -> Option<Received> {
        let (local, generation) = (&transaction.local, &transaction.generation);
        if !answer.is_in_vain(local, generation, destination, &mut self.tried)
            || !self.upload.is_done()
        {
            return Some(answer);
        }
        let method = transaction.method;
        let another = self.tried.leaves_any(&generation.parents)
            && parent::may_ask_another_after_answer(
                method,
                self.upload.rewind(),
                phase,
                &local.parents,
            );
        if !another {
            self.upload = nothing_to_send();
            return Some(answer);
        }
        self.held = Some(answer);
        self.from = From::pool_for(method);
        None
    }

    /// Whether the request goes over another connection after one has failed.
    pub(super) fn goes_on(
        &mut self,
        transaction: &Transaction,
        hop: &Hop,
        failure: &exchange::Error,
    ) -> bool {
        let (method, parents) = (transaction.method, &transaction.generation.parents);
        let replayable = self.upload.rewind();
        if hop.reused && is_stale(failure) && may_repeat(method, failure) && replayable {
            if let Some(chosen) = &hop.parent {
                self.tried.forget(chosen.index);
            }
            self.from = From::New;
            return true;
        }
        let Some(parent) = hop.parent().filter(|_| failure.side == Side::Upstream) else {
            return false;
        };
        parent.failed(Error::exchanging(&failure.fault));
        let another =
            self.tried.leaves_any(parents) && parent::may_ask_another(method, replayable, failure);
        if another {
            self.from = From::pool_for(method);
        }
        another
    }
}

/// Whether a failure is that of a pooled connection which the other side had closed.
fn is_stale(failure: &exchange::Error) -> bool {
    failure.side == Side::Upstream
        && matches!(failure.fault, Fault::Closed | Fault::Reset)
        && failure.phase != Phase::ResponseRelayed
}

/// The table of what may be tried again is [`relay::retry`]'s for whole nodes; a pooled connection
/// that turns out to be closed is the one case in which a node tries again itself.
fn may_repeat(method: Method, failure: &exchange::Error) -> bool {
    failure.phase == Phase::NothingWritten || method.is_idempotent()
}

/// Of a body that has been sent as a whole there is nothing to do.
pub(super) fn nothing_to_send() -> Upload {
    Upload::new(BodyFraming::Empty, false)
}
