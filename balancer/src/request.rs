//! One request from its head to its end: who may get it, attempt after attempt, and what the client hears.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use cluster_config::document::balancer::{ClientTimeouts, ForwardedFor};
use dataplane::trace::Trace;
use relay::{
    exchange::Upload,
    fault::Fault,
    framing::BodyFraming,
    head::{Request, RequestHead},
    method::Method,
    respond::Canned,
    retry::{self, Decision, Phase},
    rewrite::Persistence,
    stream::Stream,
    via,
};
use uuid::Uuid;

use crate::{
    attempt::{Attempt, Failed, Loss, Outcome, Scratch, Span},
    desk::{Backend, Desk, Slot},
    listen::Frontend,
    look,
    record::Record,
    respond::Refusal,
    stats::FrontendCounts,
    tunnel::Open,
};

/// Servers remembered as tried without an allocation; more attempts than this are not made.
const MOST_ATTEMPTS: usize = 16;

/// What was asked, by whom and where.
pub struct Asked<'a> {
    /// The frontend.
    pub frontend: &'a Frontend,
    /// Its address.
    pub frontend_address: SocketAddr,
    /// The index of the head.
    pub head: &'a RequestHead,
    /// The head.
    pub bytes: &'a Bytes,
    /// The client.
    pub peer: SocketAddr,
    /// The client's address as text.
    pub client: &'a str,
    /// Names it everywhere.
    pub id: Uuid,
    /// When its head was complete.
    pub began: Instant,
    /// What Max-Forwards says to the next hop, for the methods that know it.
    pub max_forwards: Option<u64>,
    /// Max-Forwards says that it goes no further.
    pub ends_here: bool,
    /// What the client had been sent on its connection before.
    pub sent_before: u64,
    /// How long its client may take.
    pub timeouts: ClientTimeouts,
    /// What becomes of its X-Forwarded-For.
    pub forwarded_for: ForwardedFor,
    /// Its span, if it is sampled.
    pub trace: Option<Trace>,
}

impl Asked<'_> {
    /// The worker's counters of the frontend.
    #[must_use]
    pub fn counts(&self, desk: &Desk) -> &FrontendCounts {
        self.frontend.counts.of(desk.worker().index())
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.head.method()
    }

    /// The head with its index.
    #[must_use]
    pub fn view(&self) -> Request<'_> {
        self.head.view(self.bytes)
    }

    /// The id as text, without an allocation.
    pub fn with_id<T>(&self, use_it: impl FnOnce(&[u8]) -> T) -> T {
        let mut buffer = Uuid::encode_buffer();
        use_it(self.id.hyphenated().encode_lower(&mut buffer).as_bytes())
    }
}

/// What becomes of the client's connection.
pub enum Next {
    /// Another request may come.
    Stay,
    /// It is closed in order; the client may still be sending.
    Close,
    /// It is reset: nobody is there to read on.
    Abort,
    /// What the client got, framed like this, is not whole: it gets all that was sent, and can tell.
    Cut(BodyFraming),
    /// It has ended.
    Over,
    /// It is a tunnel from now on.
    Tunnel(Box<Open>),
}

/// The keys of the servers that were tried, in order.
struct Tried {
    list: [u64; MOST_ATTEMPTS],
    count: usize,
}

impl Tried {
    const fn none() -> Self {
        Self { list: [0; MOST_ATTEMPTS], count: 0 }
    }

    fn add(&mut self, key: u64) {
        self.list[self.count] = key;
        self.count += 1;
    }

    fn forget(&mut self, key: u64) {
        if let Some(at) = self.as_slice().iter().position(|&it| it == key) {
            self.list.copy_within(at + 1..self.count, at);
            self.count -= 1;
        }
    }

    const fn is_full(&self) -> bool {
        self.count == MOST_ATTEMPTS
    }

    fn as_slice(&self) -> &[u64] {
        &self.list[..self.count]
    }
}

/// How a request ended.
struct Ending {
    next: Next,
    status: u16,
    server: Option<Rc<Slot>>,
    attempts: u32,
    error: &'static str,
}

/// A request on its way through the servers of its backend.
struct Passage<'a> {
    desk: &'a Desk,
    asked: &'a Asked<'a>,
    /// As things are now: read anew for each attempt.
    backend: Rc<Backend>,
    tried: Tried,
    number: u32,
    /// A server that failed on a pooled connection, which may only have been a closing one: asked once more when nobody else is left.
    again: Option<u64>,
}

/// Serves one request. `backend` is that of its frontend now.
pub async fn serve(desk: &Desk, asked: &Asked<'_>, backend: Option<Rc<Backend>>, client: &mut Stream) -> Next {
    let sent = client.sent();
    let mut scratch = desk.scratch();
    asked.counts(desk).requests.up();
    let ending = answer(desk, asked, backend, client, &mut scratch).await;
    desk.give(scratch);
    // Its record is written when it ends.
    if let Next::Tunnel(_) = ending.next {
        return ending.next;
    }
    let (view, took) = (asked.view(), asked.began.elapsed());
    asked.counts(desk).answers.note(ending.status, Some(took));
    let record = Record {
        id: asked.id,
        client: asked.client,
        frontend: &asked.frontend.name,
        method: view.method_text(),
        target: view.target_text(),
        status: ending.status,
        bytes: client.sent() - sent,
        took,
        server: ending.server.as_ref().map_or("", |slot| &slot.server.name),
        attempts: ending.attempts,
        error: ending.error,
    };
    desk.record(&record, asked.trace.as_ref());
    ending.next
}

async fn answer(desk: &Desk, asked: &Asked<'_>, backend: Option<Rc<Backend>>, client: &mut Stream, scratch: &mut Scratch) -> Ending {
    if via::passed_through(asked.view().lines(), &desk.shared().pseudonym) {
        return refuse(desk, asked, client, scratch, &Refusal::Loop, 0).await;
    }
    if asked.ends_here {
        return answer_options(desk, asked, client, scratch).await;
    }
    let Some(backend) = backend else {
        asked.counts(desk).failed.up();
        return refuse(desk, asked, client, scratch, &Refusal::NoBackend, 0).await;
    };
    backend.budget.borrow_mut().deposit();
    let passage = Passage { desk, asked, backend, tried: Tried::none(), number: 0, again: None };
    passage.run(client, scratch).await
}

impl Passage<'_> {
    async fn run(mut self, client: &mut Stream, scratch: &mut Scratch) -> Ending {
        let asked = self.asked;
        let mut upload = Upload::new(asked.head.framing(), asked.head.expects_continue());
        let mut last: Option<(Failed, Rc<Slot>)> = None;
        // Why it is tried again, for the trace.
        let mut reason = "";
        loop {
            let Some((slot, afresh)) = self.next() else {
                return self.give_up(client, scratch, last).await;
            };
            let slot = &slot;
            self.number += 1;
            let span = Span::begin(self.desk, asked);
            let attempt = Attempt {
                desk: self.desk,
                asked,
                backend: &self.backend,
                slot,
                tried: self.tried.as_slice(),
                number: self.number,
                afresh,
                trace: span.as_ref().map(Span::context),
                reused: Cell::default(),
            };
            let outcome = attempt.run(client, &mut upload, scratch).await;
            if let Some(span) = span {
                reason = span.end(&attempt, &outcome, reason);
            }
            match outcome {
                Outcome::Relayed { status, reusable } => {
                    let next = if reusable {
                        Next::Stay
                    } else if asked.head.is_last() && client.input().is_empty() {
                        Next::Over
                    } else {
                        Next::Close
                    };
                    return self.end(next, status, slot, "");
                }
                Outcome::Tunnel { upstream, status } => {
                    let open = Open {
                        upstream,
                        slot: Rc::clone(slot),
                        idle: self.backend.pool.settings.timeouts.tunnel_idle,
                        id: asked.id,
                        began: asked.began,
                        target: asked.view().target_text().into(),
                        status,
                        attempts: self.number,
                        trace: asked.trace,
                        method: asked.view().method_text().into(),
                    };
                    return self.end(Next::Tunnel(Box::new(open)), status, slot, "");
                }
                Outcome::Cut { status, loss, framing } => return self.cut(status, slot, loss, framing).await,
                Outcome::ClientFailed(fault) => return self.client_failed(client, scratch, slot, fault).await,
                Outcome::OwnFailure => slot.counts().retries_away.up(),
                Outcome::Failed(failed) => {
                    if failed.pooled {
                        self.again = Some(slot.server.key);
                    }
                    let retry = self.decide(&failed, upload.rewind()) == Decision::Retry;
                    // After interim responses alone, a refusal is still an answer.
                    last = Some((failed, Rc::clone(slot)));
                    if !retry {
                        return self.give_up(client, scratch, last).await;
                    }
                    slot.counts().retries_away.up();
                }
            }
        }
    }

    /// The server to ask now, and whether only a new connection to it will do.
    fn next(&mut self) -> Option<(Rc<Slot>, bool)> {
        if self.tried.is_full() {
            return None;
        }
        if self.number > 0
            && let Some(now) = self.desk.backend(self.asked.frontend, self.asked.view())
        {
            self.backend = now;
        }
        let (slot, afresh) = match self.backend.pick(self.asked.view(), self.asked.peer.ip(), self.tried.as_slice()) {
            Some(slot) => (Rc::clone(slot), false),
            None => {
                let key = self.again.take()?;
                let slot = self.backend.slots.iter().find(|slot| slot.server.key == key)?;
                self.tried.forget(key);
                (Rc::clone(slot), true)
            }
        };
        self.tried.add(slot.server.key);
        Some((slot, afresh))
    }

    fn decide(&self, failed: &Failed, replayable: bool) -> Decision {
        let attempt = retry::Attempt {
            phase: failed.phase,
            method: self.asked.method(),
            body: if replayable { retry::Body::Replayable } else { retry::Body::Gone },
            cause: failed.loss.cause(),
            number: self.number,
            of: self.backend.pool.settings.retry.attempts,
        };
        retry::decide(&attempt, &mut self.backend.budget.borrow_mut())
    }

    fn end(&self, next: Next, status: u16, slot: &Rc<Slot>, error: &'static str) -> Ending {
        Ending { next, status, server: Some(Rc::clone(slot)), attempts: self.number, error }
    }

    async fn give_up(&self, client: &mut Stream, scratch: &mut Scratch, last: Option<(Failed, Rc<Slot>)>) -> Ending {
        let refusal = match &last {
            None => Refusal::NoServer,
            Some((failed, slot)) => Refusal::Failed {
                loss: failed.loss,
                server: slot.server.name.clone(),
                attempts: self.number,
                uncertain: failed.phase == Phase::Written && !self.asked.method().is_idempotent() && self.asked.method() != Method::Connect,
            },
        };
        // What an origin did is no failure of the backend.
        if !matches!(refusal, Refusal::Failed { loss: Loss::AnswerCut, .. }) {
            self.asked.counts(self.desk).failed.up();
        }
        refuse(self.desk, self.asked, client, scratch, &refusal, self.number).await
    }

    /// A response that broke off. Whether the server died or its origin did is worth a look, as they are counted apart.
    async fn cut(&self, status: u16, slot: &Rc<Slot>, loss: Loss, framing: BodyFraming) -> Ending {
        let died = loss != Loss::Timeout && look::is_dead(self.desk, slot).await;
        if died {
            self.asked.counts(self.desk).cut_responses.up();
        }
        self.end(Next::Cut(framing), status, slot, if died { "response_cut" } else { "response_incomplete" })
    }

    async fn client_failed(&self, client: &mut Stream, scratch: &mut Scratch, slot: &Rc<Slot>, fault: Fault) -> Ending {
        match fault {
            // A malformed body: what follows on this connection has no meaning any more.
            Fault::Malformed(malformed) if client.sent() == self.asked.sent_before => {
                self.asked.counts(self.desk).refused.up();
                refuse(self.desk, self.asked, client, scratch, &Refusal::Malformed(malformed), self.number).await
            }
            Fault::Timeout(_) => self.end(Next::Abort, 0, slot, "client_timeout"),
            _ => self.end(Next::Abort, 0, slot, "client_aborted"),
        }
    }
}

/// Answers with a refusal.
async fn refuse(desk: &Desk, asked: &Asked<'_>, client: &mut Stream, scratch: &mut Scratch, refusal: &Refusal, attempts: u32) -> Ending {
    scratch.out.clear();
    refusal.write(&mut scratch.out, &desk.shared().name, asked.id, asked.method(), SystemTime::now());
    let next = match client.write_all(&[&scratch.out], asked.timeouts.client).await {
        Ok(()) => Next::Close,
        Err(_) => Next::Abort,
    };
    Ending { next, status: refusal.status(), server: None, attempts, error: refusal.error() }
}

/// The last recipient that Max-Forwards allows answers itself (RFC 9110 §7.6.2).
async fn answer_options(desk: &Desk, asked: &Asked<'_>, client: &mut Stream, scratch: &mut Scratch) -> Ending {
    scratch.out.clear();
    let status = if asked.method() == Method::Options { 200 } else { 501 };
    let mut buffer = Uuid::encode_buffer();
    let id = &*asked.id.hyphenated().encode_lower(&mut buffer);
    let fields = [("Via", desk.shared().via.as_str()), ("Shoal-Request-Id", id)];
    // Whatever body came with it is not read: the connection ends.
    let answer = Canned { status, now: SystemTime::now(), content_type: "", fields: &fields, body: b"", persistence: Persistence::Close };
    answer.write(&mut scratch.out);
    let next = match client.write_all(&[&scratch.out], asked.timeouts.client).await {
        Ok(()) => Next::Close,
        Err(_) => Next::Abort,
    };
    Ending { next, status, server: None, attempts: 0, error: "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tried_servers() {
        let mut tried = Tried::none();
        for index in [3, 1, 2] {
            tried.add(index);
        }
        tried.forget(1);
        assert_eq!(tried.as_slice(), [3, 2]);
        tried.forget(7);
        (0..MOST_ATTEMPTS as u64 - 2).for_each(|key| tried.add(10 + key));
        assert!(tried.is_full());
    }
}
