//! One attempt at one server: connect or take a pooled connection, send, wait for the head, relay
//! the rest.

mod blame;
mod connect;
mod exchange;
mod heads;
mod hedge;
pub mod outcome;
mod span;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use dataplane::trace::Context;
use relay::{
    exchange::{Side, Upload},
    fault::Fault,
    retry::{self, Cause, Decision, Phase, Reason},
    stream::Stream,
};

use crate::{
    local::{Backend, Local, Scratch, Slot},
    queue::Retry,
    record::Timers,
    request::Request,
};
pub use blame::{blame, held_against};
use connect::Unconnected;
use exchange::{Answer, Ask, Broken, Exchanged};
pub use hedge::Hedged;
pub use outcome::{Error, Kind, Outcome};
pub use span::Span;

pub struct Attempt<'a> {
    /// What its worker has.
    pub local: &'a Local,
    pub request: &'a Request<'a>,
    pub backend: &'a Backend,
    pub slot: &'a Rc<Slot>,
    /// Keys of the servers that were tried, this one included.
    pub tried: &'a [u64],
    /// Which attempt it is, from 1.
    pub number: u32,
    /// Never on a pooled connection: the last attempt at this server failed on one.
    pub afresh: bool,
    /// What the server hears of the trace, if the request is sampled.
    pub trace: Option<Context>,
    /// How often what was under way at the server had been cut when it began.
    pub cuts: u64,
    /// The connection had been used before.
    pub reused: Cell<bool>,
    /// It has the right to make retries.
    pub may_retry: bool,
    /// That right, if it was taken here.
    pub retry: Cell<Option<Retry>>,
    /// How long its steps took, as far as it came.
    pub timers: Cell<Timers>,
    /// The answer of the server, which was asked beside the one before.
    pub given: Cell<Option<Box<Hedged>>>,
    /// That of a server that was asked beside this one, and was quicker.
    pub hedged: RefCell<Option<Box<Hedged>>>,
}

impl Attempt<'_> {
    pub async fn run(
        &self,
        client: &mut Stream,
        upload: &mut Upload,
        scratch: &mut Scratch,
    ) -> Outcome {
        if let Some(given) = self.given.take() {
            return self.take_over(*given, client, upload, scratch).await;
        }
        let releases = self.slot.server.signs.releases();
        // The first one begins when the request's head is complete: the clock need not be asked
        // again.
        let now = if self.number == 1 { self.request.began } else { relay::clock::now() };
        let owing = self.slot.owing(now);
        let counts = self.slot.counts();
        counts.requests.up();
        let (mut upstream, pooled) = match self.connection(client, releases).await {
            Ok(connection) => connection,
            Err(Unconnected::ClientLeft(fault)) => return Outcome::ClientFailed(fault),
            Err(Unconnected::Server(fault)) => {
                counts.connect_errors.up();
                return self.failed(fault, Phase::NothingWritten, false);
            }
        };
        self.reused.set(pooled);
        let connect = if pooled { Duration::ZERO } else { relay::clock::since(now) };
        self.timers.set(Timers { connect: Some(connect), ..self.timers.get() });
        let (received, sent) = (upstream.received(), upstream.sent());
        let exchanging = self.slot.exchanging(&upstream);
        let ask = Ask::Send { releases };
        let outcome = self.exchange(client, &mut upstream, upload, scratch, ask, &owing).await;
        drop(exchanging);
        counts.bytes_in.add(upstream.received() - received);
        counts.bytes_out.add(upstream.sent() - sent);
        self.ended(outcome, upstream, pooled).await
    }

    /// What an exchange comes to.
    async fn ended(
        &self,
        outcome: Result<Exchanged, Broken>,
        upstream: Stream,
        pooled: bool,
    ) -> Outcome {
        match outcome {
            Ok(Exchanged::Tunnel { status, framed }) => {
                Outcome::Tunnel { upstream: Box::new(upstream), status, framed }
            }
            Ok(Exchanged::Done { status, keep, reusable }) => {
                // Not to a server that has left, drains or failed meanwhile.
                let shared = self.backend.pool.settings.send_proxy.is_none();
                if keep && shared && self.local.may_be_pooled(self.slot.server.key) {
                    self.local.idle().put(self.slot.server.key, 0, upstream);
                }
                Outcome::Relayed { status, reusable }
            }
            Ok(Exchanged::OwnFailure) => Outcome::OwnFailure,
            Err(Broken { failure, .. }) if failure.side == Side::Client => {
                Outcome::ClientFailed(failure.fault)
            }
            Err(Broken { failure, answer: Some(Answer { status, framing }) })
                if failure.phase == Phase::ResponseRelayed =>
            {
                Outcome::Cut { status, kind: Kind::from(failure.fault), framing }
            }
            Err(Broken { failure, answer: Some(_) }) => Outcome::Failed(Error {
                kind: self.broke_off(failure.fault).await,
                phase: failure.phase,
                pooled,
            }),
            Err(Broken { failure, answer: None }) => match self.hedged.take() {
                Some(hedged) if failure.fault == Fault::Released => Outcome::Overtaken(hedged),
                _ => self.failed(failure.fault, failure.phase, pooled),
            },
        }
    }

    /// Whether somebody else is asked instead of sending this failure on.
    fn may_ask_another(&self, phase: Phase, cause: Cause, replayable: bool) -> bool {
        let attempt = retry::Attempt {
            phase,
            method: self.request.method(),
            body: if replayable { retry::Body::Replayable } else { retry::Body::Gone },
            cause,
            on: self.backend.retry_on,
            number: self.number,
            of: self.backend.pool.settings.retry.attempts,
        };
        self.has_others() && self.takes_retry() && self.decide(&attempt) == Decision::Retry
    }

    /// What the table says.
    fn decide(&self, attempt: &retry::Attempt) -> Decision {
        let decision = retry::decide(attempt, &mut self.backend.budget.borrow_mut());
        if decision == Decision::GiveUp(Reason::Budget) {
            self.slot.backend_counts().over_budget.up();
        }
        decision
    }

    /// Whether a retry more is within the bounds of the backend.
    fn takes_retry(&self) -> bool {
        if self.may_retry {
            return true;
        }
        let retry = self.backend.pool.queue.retry();
        retry.is_ok_and(|retry| {
            self.retry.set(retry);
            true
        })
    }

    /// Whether somebody else is there to ask, as things are now.
    fn has_others(&self) -> bool {
        self.local
            .backend(self.request.frontend, self.request.question())
            .is_some_and(|backend| backend.has_others(self.tried))
    }
}
