//! One request from its head to its end: who may get it, attempt after attempt, and what the client
//! hears.

mod admit;
mod own;
mod tried;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use relay::{
    exchange::Upload,
    fault::Fault,
    framing::BodyFraming,
    method::Method,
    retry::{self, Decision, Phase, Reason},
    stream::Stream,
    via,
};

use crate::{
    attempt::{Attempt, Error, Hedged, Kind, Outcome, Span},
    local::{Backend, Local, Scratch, Slot},
    queue::{self, Full, Permit},
    record::{self, Details, Record, Timers},
    request::Request,
    respond,
    tunnel::{ConnectionEnd, Open},
};
use admit::{Admitted, Unadmitted};
use tried::Tried;

/// How a transaction ended.
struct Ending {
    connection: ConnectionEnd,
    status: u16,
    server: Option<Rc<Slot>>,
    attempts: u32,
    error: Option<record::Error>,
    timers: Timers,
}

/// A request on its way through the servers of its backend.
struct Transaction<'a> {
    local: &'a Local,
    request: &'a Request<'a>,
    /// As things are now: read anew for each attempt.
    backend: Rc<Backend>,
    tried: Tried,
    number: u32,
    /// A server that failed on a pooled connection, which may only have been a closing one: asked
    /// once more when nobody else is left.
    again: Option<u64>,
    /// How long it has waited in the queue, and how many did before it.
    waited: Duration,
    ahead: u32,
    /// How long its head took.
    head: Duration,
    /// Where retries have a bound, the right to make one.
    retrying: Option<queue::Retry>,
    /// Of the last attempt.
    timers: Timers,
}

/// Serves one request. `backend` is where it goes now.
pub async fn serve(
    local: &Local,
    request: &Request<'_>,
    backend: Option<Rc<Backend>>,
    client: &mut Stream,
) -> ConnectionEnd {
    let sent = client.sent();
    let mut scratch = local.scratch();
    request.counts(local).requests.up();
    let pool = backend.as_ref().map(|backend| Arc::clone(&backend.pool));
    let ending = answer(local, request, backend, client, &mut scratch).await;
    local.give(scratch);
    // Its record is written when it ends.
    if let ConnectionEnd::Tunnel(_) = ending.connection {
        return ending.connection;
    }
    let (view, took) = (request.view(), relay::clock::since(request.began));
    request.counts(local).answers.note(ending.status, Some(took));
    if let Some(slot) = &ending.server {
        slot.counts().end(ending.timers.queue, ending.timers.connect, took);
    }
    let record = Record {
        id: request.id,
        client: request.client,
        frontend: &request.frontend.name,
        method: view.method_text(),
        target: view.target_text(),
        status: ending.status,
        bytes: client.sent() - sent,
        took,
        server: ending.server.as_ref().map_or("", |slot| &slot.server.name),
        attempts: ending.attempts,
        error: ending.error,
        details: Details {
            port: request.peer.port(),
            backend: pool.as_ref().map_or("", |pool| &pool.settings.name),
            protocol: request.protocol,
            timers: ending.timers,
            frontend: Some(request.frontend),
            server: ending.server.as_ref().map(|slot| &*slot.server),
        },
    };
    local.record(&record, request.trace.as_ref());
    ending.connection
}

async fn answer(
    local: &Local,
    request: &Request<'_>,
    backend: Option<Rc<Backend>>,
    client: &mut Stream,
    scratch: &mut Scratch,
) -> Ending {
    if via::passed_through(request.view().lines(), &local.shared().pseudonym) {
        return own::refuse(local, request, client, scratch, &respond::Error::Loop, 0).await;
    }
    if let Some(refused) = request.refused {
        request.counts(local).limited.up();
        return own::refuse(local, request, client, scratch, &refused.into(), 0).await;
    }
    if request.ends_here {
        return own::answer_options(local, request, client, scratch).await;
    }
    let Some(backend) = backend else {
        request.counts(local).failed.up();
        return own::refuse(local, request, client, scratch, &respond::Error::NoBackend, 0).await;
    };
    backend.budget.borrow_mut().deposit();
    let transaction = Transaction {
        local,
        request,
        backend,
        tried: Tried::none(),
        number: 0,
        again: None,
        waited: Duration::ZERO,
        ahead: 0,
        head: client.head_took(),
        retrying: None,
        timers: Timers::default(),
    };
    transaction.run(client, scratch).await
}

impl Transaction<'_> {
    async fn run(mut self, client: &mut Stream, scratch: &mut Scratch) -> Ending {
        let mut upload =
            Upload::new(self.request.head.framing(), self.request.head.expects_continue())
                .at_most(self.request.body_most);
        let mut last: Option<(Error, Rc<Slot>)> = None;
        let mut given: Option<Box<Hedged>> = None;
        // Why it is tried again, for the trace.
        let mut reason = "";
        loop {
            let Admitted { slot, afresh, permit } = match given.as_deref_mut() {
                Some(given) => self.admitted(Rc::clone(&given.slot), false, given.permit.take()),
                None => match self.admit(client).await {
                    Ok(admitted) => admitted,
                    Err(why) => return self.unadmitted(client, scratch, why, last).await,
                },
            };
            self.number += 1;
            if self.number > 1 {
                slot.backend_counts().retries.up();
            }
            let span = Span::begin(self.local, self.request);
            let attempt = self.attempt(&slot, afresh, span.as_ref());
            attempt.given.set(given.take());
            let outcome = attempt.run(client, &mut upload, scratch).await;
            let retrying = attempt.retry.take();
            if let Some(span) = span {
                reason = span.end(&attempt, &outcome, reason);
            }
            self.timers = attempt.timers.get();
            match outcome {
                Outcome::Relayed { status, reusable } => {
                    let client_is_done = self.request.head.is_last() && client.input().is_empty();
                    let connection = ConnectionEnd::answered(reusable, client_is_done);
                    return self.end(connection, status, &slot, None);
                }
                Outcome::Tunnel { upstream, status, framed } => {
                    return self.tunnel((upstream, framed), status, &slot, permit);
                }
                Outcome::Cut { status, kind, framing } => {
                    return self.cut(status, &slot, kind, framing).await;
                }
                Outcome::ClientFailed(fault) => {
                    return self.client_failed(client, scratch, &slot, fault).await;
                }
                Outcome::OwnFailure => {
                    self.retrying = self.retrying.take().or(retrying);
                    slot.counts().retries_away.up();
                    // That it can be is why it may be tried again.
                    let _kept = upload.rewind();
                }
                Outcome::Overtaken(hedged) => {
                    self.retrying = self.retrying.take().or(retrying);
                    slot.counts().retries_away.up();
                    given = Some(hedged);
                }
                Outcome::Failed(error) => {
                    if error.pooled {
                        self.again = Some(slot.server.key);
                    }
                    let retry = self.decide(&slot, &error, upload.rewind()) == Decision::Retry;
                    if retry {
                        slot.counts().retries_away.up();
                    }
                    // After interim responses alone, a refusal is still an answer.
                    last = Some((error, slot));
                    if !retry {
                        return self.give_up(client, scratch, last).await;
                    }
                }
            }
        }
    }

    fn attempt<'a>(&'a self, slot: &'a Rc<Slot>, afresh: bool, span: Option<&Span>) -> Attempt<'a> {
        let Self { local, request, backend, tried, number, .. } = self;
        let trace = span.map(Span::context);
        Attempt {
            local,
            request,
            backend,
            slot,
            tried: tried.as_slice(),
            number: *number,
            afresh,
            trace,
            cuts: slot.cuts(),
            reused: Cell::default(),
            may_retry: self.retrying.is_some(),
            retry: Cell::default(),
            timers: Cell::default(),
            given: Cell::default(),
            hedged: RefCell::default(),
        }
    }

    /// As far as it came.
    fn timers(&self) -> Timers {
        let queued = self.number > 0 || !self.waited.is_zero();
        Timers {
            head: self.head,
            queue: queued.then_some(self.waited),
            ahead: self.ahead,
            ..self.timers
        }
    }

    fn decide(&mut self, slot: &Slot, error: &Error, replayable: bool) -> Decision {
        if self.retrying.is_none() {
            match self.backend.pool.queue.retry() {
                Ok(retrying) => self.retrying = retrying,
                Err(Full) => return Decision::GiveUp(Reason::TooMany),
            }
        }
        let attempt = retry::Attempt {
            phase: error.phase,
            method: self.request.method(),
            body: if replayable { retry::Body::Replayable } else { retry::Body::Gone },
            cause: error.kind.cause(),
            on: self.backend.retry_on,
            number: self.number,
            of: self.backend.pool.settings.retry.attempts,
        };
        let decision = retry::decide(&attempt, &mut self.backend.budget.borrow_mut());
        if decision == Decision::GiveUp(Reason::Budget) {
            slot.backend_counts().over_budget.up();
        }
        decision
    }

    fn end(
        &self,
        connection: ConnectionEnd,
        status: u16,
        slot: &Rc<Slot>,
        error: Option<record::Error>,
    ) -> Ending {
        Ending {
            connection,
            status,
            server: Some(Rc::clone(slot)),
            attempts: self.number,
            error,
            timers: self.timers(),
        }
    }

    fn tunnel(
        &self,
        (upstream, framed): (Box<Stream>, bool),
        status: u16,
        slot: &Rc<Slot>,
        permit: Option<Permit>,
    ) -> Ending {
        let request = self.request;
        let open = Open {
            upstream,
            framed,
            slot: Rc::clone(slot),
            permit,
            idle: self.backend.pool.settings.timeouts.tunnel_idle,
            id: request.id,
            began: request.began,
            target: request.view().target_text().into(),
            status: Some(status),
            attempts: self.number,
            trace: request.trace,
            method: request.view().method_text().into(),
            protocol: request.protocol,
            pool: Arc::clone(&self.backend.pool),
            timers: self.timers(),
        };
        self.end(ConnectionEnd::Tunnel(Box::new(open)), status, slot, None)
    }

    async fn unadmitted(
        &self,
        client: &mut Stream,
        scratch: &mut Scratch,
        why: Unadmitted,
        last: Option<(Error, Rc<Slot>)>,
    ) -> Ending {
        let error = match why {
            Unadmitted::Nobody => return self.give_up(client, scratch, last).await,
            Unadmitted::NoRoom(error) => error,
            Unadmitted::ClientLeft => {
                let (connection, error) =
                    (ConnectionEnd::Abort, Some(record::Error::ClientAborted));
                return Ending {
                    connection,
                    status: 0,
                    server: None,
                    attempts: self.number,
                    error,
                    timers: self.timers(),
                };
            }
        };
        self.request.counts(self.local).failed.up();
        let ending =
            own::refuse(self.local, self.request, client, scratch, &error, self.number).await;
        Ending { timers: self.timers(), ..ending }
    }

    async fn give_up(
        &self,
        client: &mut Stream,
        scratch: &mut Scratch,
        last: Option<(Error, Rc<Slot>)>,
    ) -> Ending {
        let method = self.request.method();
        let error = match &last {
            None => respond::Error::NoServer,
            Some((error, slot)) => respond::Error::Servers {
                last: error.kind,
                server: slot.server.name.clone(),
                attempts: self.number,
                uncertain: error.phase == Phase::Written
                    && !method.is_idempotent()
                    && method != Method::Connect,
            },
        };
        // What an origin did is no failure of the backend.
        if !matches!(error, respond::Error::Servers { last: Kind::AnswerCut, .. }) {
            self.request.counts(self.local).failed.up();
        }
        let ending =
            own::refuse(self.local, self.request, client, scratch, &error, self.number).await;
        Ending { timers: self.timers(), ..ending }
    }

    /// A response that broke off. Whether the server died or its origin did is worth finding out,
    /// as they are counted apart.
    async fn cut(&self, status: u16, slot: &Rc<Slot>, kind: Kind, framing: BodyFraming) -> Ending {
        let died = kind != Kind::Timeout && self.local.is_dead(slot).await;
        if died {
            self.request.counts(self.local).cut_responses.up();
        }
        let error =
            if died { record::Error::ResponseCut } else { record::Error::ResponseIncomplete };
        self.end(ConnectionEnd::Cut(framing), status, slot, Some(error))
    }

    async fn client_failed(
        &self,
        client: &mut Stream,
        scratch: &mut Scratch,
        slot: &Rc<Slot>,
        fault: Fault,
    ) -> Ending {
        match fault {
            // A malformed body: what follows on this connection has no meaning any more.
            Fault::Malformed(malformed) if client.sent() == self.request.sent_before => {
                self.request.counts(self.local).refused.up();
                own::refuse(
                    self.local,
                    self.request,
                    client,
                    scratch,
                    &respond::Error::Malformed(malformed),
                    self.number,
                )
                .await
            }
            Fault::Timeout(_) => {
                self.end(ConnectionEnd::Abort, 0, slot, Some(record::Error::ClientTimeout))
            }
            _ => self.end(ConnectionEnd::Abort, 0, slot, Some(record::Error::ClientAborted)),
        }
    }
}
