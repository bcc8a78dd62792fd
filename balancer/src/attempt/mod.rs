//! One attempt at one server: connect or take a pooled connection, send, wait for the head, relay the rest.

mod heads;
mod span;

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cluster_config::document::balancer::Failure as Count;
use dataplane::trace::Context;
use relay::{
    exchange::{Deadlines, Exchange, Failure, Side, Upload},
    fault::Fault,
    field::Field,
    framing::BodyFraming,
    head::{Limits, ResponseHead, Version},
    interims::Interims,
    malformed::Malformed,
    method::Method,
    pool::Reuse,
    proxy_status,
    retry::{self, Cause, Decision, Phase},
    rewrite::{BodyFields, HeadWriter, Persistence},
    stream::{Ahead, Stream},
    wheel::Kind,
};

use self::heads::ANSWERED;
pub use self::span::Span;
use crate::{
    desk::{Backend, Desk, Owing, Slot},
    door,
    evidence::{self, Seen},
    look,
    request::Asked,
    server::Door,
};

/// A request is in doubt only after this part of the time that makes a server late: until then nobody waits for a release.
const HEED_AFTER: u32 = 5;
/// A small response is held for so long, at most, until it is complete: a node's death in the middle can then be retried.
const HOLD: Duration = Duration::from_millis(50);
/// A pooled connection that was idle for longer does not get a request that cannot be repeated.
const FRESH_ENOUGH_FOR_ONCE: Duration = Duration::from_secs(1);
/// How long a connection that lacks a descriptor waits before it looks again.
const FOR_A_DESCRIPTOR: Duration = Duration::from_millis(20);
/// How a server failed an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It refused the connection.
    Refused,
    /// Connecting took too long.
    ConnectTimeout,
    /// There is no way to it.
    Unreachable,
    /// It is not the node that is meant, as far as it proved.
    Unproven,
    /// This process is out of descriptors or ports: nobody else's fault.
    Exhausted,
    /// It closed or reset the connection before it had answered.
    Closed,
    /// It was ejected while the request waited for it.
    Silent,
    /// It is alive and took too long.
    Timeout,
    /// Its answer was malformed.
    Malformed,
    /// Its answer broke off before anything of it was sent on, and it is well itself: what is behind it cut the answer.
    AnswerCut,
    /// Any other error of the connection.
    Broken,
}

impl Loss {
    fn of(fault: Fault) -> Self {
        match fault {
            Fault::Refused => Self::Refused,
            Fault::Timeout(Kind::Connect) => Self::ConnectTimeout,
            Fault::Unreachable => Self::Unreachable,
            Fault::Unproven => Self::Unproven,
            Fault::Exhausted => Self::Exhausted,
            Fault::Closed | Fault::Reset => Self::Closed,
            Fault::Released => Self::Silent,
            Fault::Timeout(_) => Self::Timeout,
            Fault::Malformed(_) => Self::Malformed,
            Fault::Tls(_) | Fault::Io(_) => Self::Broken,
        }
    }

    /// For the retry table.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self {
            Self::Timeout => Cause::Timeout,
            Self::Malformed => Cause::NodeAnswered,
            Self::AnswerCut => Cause::AnswerCut,
            _ => Cause::NodeLost,
        }
    }
}

/// An attempt that failed without harm to the client.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// How.
    pub loss: Loss,
    /// How far it had come.
    pub phase: Phase,
    /// On a pooled connection, which the server may have been closing just then.
    pub pooled: bool,
}

/// How an attempt ended.
pub enum Outcome {
    /// The response went to the client as a whole.
    Relayed {
        /// Its status.
        status: u16,
        /// Whether another request may come on the client's connection.
        reusable: bool,
    },
    /// A 2xx to CONNECT, or a 101, went to the client: this is the other end of the tunnel.
    Tunnel {
        /// To the server.
        upstream: Box<Stream>,
        /// The status.
        status: u16,
    },
    /// The response broke off after its first byte.
    Cut {
        /// Its status.
        status: u16,
        /// The server's doing.
        loss: Loss,
        /// How its body was framed for the client.
        framing: BodyFraming,
    },
    /// The client went away, or sent a malformed body.
    ClientFailed(Fault),
    /// It may be tried again, as far as the retry table allows.
    Failed(Failed),
    /// The server answered with a failure of its own, and somebody else may be asked.
    OwnFailure,
}

/// What an attempt uses and gives back; kept by the worker, so that a request allocates nothing for it.
pub struct Scratch {
    /// The head being written.
    pub out: Vec<u8>,
    /// The response's head.
    pub response: ResponseHead,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { out: Vec::with_capacity(2048), response: ResponseHead::new() }
    }
}

/// One attempt.
pub struct Attempt<'a> {
    /// The worker's desk.
    pub desk: &'a Desk,
    /// The request.
    pub asked: &'a Asked<'a>,
    /// Its backend.
    pub backend: &'a Backend,
    /// The server.
    pub slot: &'a Rc<Slot>,
    /// Keys of the servers that were tried, this one included.
    pub tried: &'a [u64],
    /// Which attempt it is, from 1.
    pub number: u32,
    /// Never on a pooled connection: the last attempt at this server failed on one.
    pub afresh: bool,
    /// What the server hears of the trace, if the request is sampled.
    pub trace: Option<Context>,
    /// The connection had been used before.
    pub reused: Cell<bool>,
}

/// How an exchange over a connection ended well.
enum Exchanged {
    Tunnel { status: u16 },
    Done { status: u16, keep: bool, reusable: bool },
    OwnFailure,
}

impl Attempt<'_> {
    /// Makes it.
    pub async fn run(&self, client: &mut Stream, upload: &mut Upload, scratch: &mut Scratch) -> Outcome {
        let releases = self.slot.server.signs.releases();
        // The first one begins when the request's head is complete: the clock need not be asked again.
        let now = if self.number == 1 { self.asked.began } else { Instant::now() };
        let owing = self.slot.owing(now);
        let counts = self.slot.counts();
        counts.requests.up();
        let (mut upstream, pooled) = match self.connection(client, releases).await {
            Ok(connection) => connection,
            Err(Unconnected::ClientLeft(fault)) => return Outcome::ClientFailed(fault),
            Err(Unconnected::Server(fault)) => return self.failed(fault, Phase::NothingWritten, false),
        };
        self.reused.set(pooled);
        let (received, sent) = (upstream.received(), upstream.sent());
        let outcome = self.exchange(client, &mut upstream, upload, scratch, releases, &owing).await;
        counts.bytes_in.add(upstream.received() - received);
        counts.bytes_out.add(upstream.sent() - sent);
        match outcome {
            Ok(Exchanged::Tunnel { status }) => Outcome::Tunnel { upstream: Box::new(upstream), status },
            Ok(Exchanged::Done { status, keep, reusable }) => {
                // Not to a server that has left, drains or failed meanwhile.
                if keep && self.desk.may_be_pooled(self.slot.server.key) {
                    self.desk.idle().put(self.slot.server.key, 0, upstream);
                }
                Outcome::Relayed { status, reusable }
            }
            Ok(Exchanged::OwnFailure) => Outcome::OwnFailure,
            Err(Broken { failure, .. }) if failure.side == Side::Client => Outcome::ClientFailed(failure.fault),
            Err(Broken { failure, answer: Some(Answer { status, framing }) }) if failure.phase == Phase::ResponseRelayed => {
                Outcome::Cut { status, loss: Loss::of(failure.fault), framing }
            }
            Err(Broken { failure, answer: Some(_) }) => {
                Outcome::Failed(Failed { loss: self.broke_off(failure.fault).await, phase: failure.phase, pooled })
            }
            Err(Broken { failure, answer: None }) => self.failed(failure.fault, failure.phase, pooled),
        }
    }

    /// A connection to the server, and whether it had been idle in the pool.
    async fn connection(&self, client: &mut Stream, releases: u64) -> Result<(Stream, bool), Unconnected> {
        let method = self.asked.method();
        let (server, settings) = (&self.slot.server, &self.backend.pool.settings);
        if method == Method::Connect {
            return Ok((self.connect(client, releases).await?, false));
        }
        if !self.afresh && settings.keepalive > 0 {
            let reuse = if method.is_idempotent() { Reuse::Replayable } else { Reuse::Fresh(FRESH_ENOUGH_FOR_ONCE) };
            if let Some(upstream) = self.desk.idle().take(&server.key, 0, reuse) {
                self.slot.counts().connections_reused.up();
                return Ok((upstream, true));
            }
        }
        Ok((self.connect(client, releases).await?, false))
    }

    /// A new connection. A descriptor that is wanting is taken from an idle connection, or waited for: no other server could be asked without.
    async fn connect(&self, client: &mut Stream, releases: u64) -> Result<Stream, Unconnected> {
        tokio::select! {
            biased;
            connected = self.connect_in_time(releases) => connected.map_err(Unconnected::Server),
            fault = client.left(Ahead::OfAnswer) => Err(Unconnected::ClientLeft(fault)),
        }
    }

    async fn connect_in_time(&self, releases: u64) -> Result<Stream, Fault> {
        let began = Instant::now();
        loop {
            match self.connect_once(releases).await {
                Err(Fault::Exhausted) if self.desk.idle().give_up_one() => {}
                Err(Fault::Exhausted) if began.elapsed() < self.backend.pool.settings.timeouts.connect => {
                    self.desk.worker().wheel().sleep(FOR_A_DESCRIPTOR).await;
                }
                other => return other,
            }
        }
    }

    /// A server that does not take connections any more is found silent like one that does not answer.
    async fn connect_once(&self, releases: u64) -> Result<Stream, Fault> {
        let connecting = self.open();
        let released = self.slot.until_released(releases, || self.has_others());
        let upstream = tokio::select! {
            biased;
            connected = connecting => connected?,
            () = released => return Err(Fault::Released),
        };
        self.slot.counts().connections_opened.up();
        Ok(upstream)
    }

    /// Connects; a node has proved itself then, and hears our proof with the request.
    async fn open(&self) -> Result<Stream, Fault> {
        let (server, within) = (&self.slot.server, self.backend.pool.settings.timeouts.connect);
        let mut upstream = Stream::connect(self.desk.worker(), server.address, within).await?;
        if let Door::Relay { key } = &server.door {
            let challenge = match self.asked.method() {
                Method::Connect => door::of_client(self.asked.peer, self.asked.frontend_address)?,
                _ => door::of_our_own()?,
            };
            upstream.prove(&challenge, key, &server.name, within).await?;
        }
        Ok(upstream)
    }

    async fn exchange(
        &self,
        client: &mut Stream,
        upstream: &mut Stream,
        upload: &mut Upload,
        scratch: &mut Scratch,
        releases: u64,
        owing: &Owing,
    ) -> Result<Exchanged, Broken> {
        let deadlines = self.deadlines();
        self.write_request(&mut scratch.out);
        let mut exchange = Exchange::new(client, upstream, upload, &deadlines);
        exchange.send(&scratch.out).await?;
        let bytes = self.response(&mut exchange, scratch, releases).await?;
        self.check_switch(&scratch.response, &bytes, exchange.phase())?;
        let now = Instant::now();
        self.count_time(owing.answered(now), &scratch.response, &bytes);
        let (method, status) = (self.asked.method(), scratch.response.status());
        if let Some(words) = self.own_failure(&scratch.response, &bytes) {
            self.blame(evidence::Fault::OwnError(words));
            if self.may_ask_another(exchange.phase()) {
                return Ok(Exchanged::OwnFailure);
            }
        } else {
            self.slot.counts().answered_at.set(self.desk.shared().uptime.millis(now));
        }
        let tunnel = (method == Method::Connect && (200..=299).contains(&status)) || status == 101;
        let incoming = scratch.response.framing(method);
        let outgoing = self.outgoing(incoming);
        let stays = method != Method::Connect
            && self.asked.head.persistent()
            && outgoing != BodyFraming::UntilClose
            // An answer that overtakes the request's body says so now: what is left of the body may never be read.
            && exchange.upload_done()
            && !self.desk.worker().leaving();
        self.write_response(scratch, &bytes, incoming, outgoing, if tunnel { Persistence::Implied } else { self.persistence(stays) });
        let finished = exchange.finish(&scratch.out, incoming, outgoing).await;
        let done = finished.map_err(|failure| Broken { failure, answer: Some(Answer { status, framing: outgoing }) })?;
        if tunnel {
            return Ok(Exchanged::Tunnel { status });
        }
        let keep = done.upload_done && method != Method::Connect && scratch.response.persistent(method);
        Ok(Exchanged::Done { status, keep, reusable: stays && done.upload_done })
    }

    /// The final response's head. Interim ones are sent on.
    async fn response(&self, exchange: &mut Exchange<'_>, scratch: &mut Scratch, releases: u64) -> Result<Bytes, Failure> {
        let limits = self.reply_limits();
        let mut interims = Interims::new(self.backend.pool.settings.timeouts.server);
        if self.slot.server.door.is_relay() {
            interims = interims.with_room();
        }
        scratch.response.set_may_switch(self.asked.head.upgrades());
        loop {
            let late = || self.slot.until_released(releases, || self.has_others());
            let bytes = exchange.response(&mut scratch.response, &limits, late).await?;
            if !scratch.response.is_interim() {
                return Ok(bytes);
            }
            if let Err(malformed) = interims.admit(bytes.len(), Instant::now()) {
                return Err(Failure { side: Side::Upstream, fault: malformed.into(), phase: exchange.phase() });
            }
            // RFC 9110 §15.2: a 1.0 client knows no interim responses.
            if self.asked.head.version() == Version::Http11 {
                scratch.out.clear();
                HeadWriter::response(&mut scratch.out, scratch.response.view(&bytes), ANSWERED, BodyFields::AsReceived).finish();
                exchange.interim(&scratch.out).await?;
            }
        }
    }

    /// A node writes plainly, and whatever it lets pass passes here; other servers are origins to us.
    fn reply_limits(&self) -> Limits {
        if self.slot.server.door.is_relay() {
            return Limits::most();
        }
        let replies = &self.backend.pool.settings.replies;
        // At most 96 KiB, by the schema.
        Limits::of(replies.max_size as usize).relaxed(replies.relaxed)
    }

    /// 101 is an answer only to who asked for that protocol.
    fn check_switch(&self, response: &ResponseHead, bytes: &[u8], phase: Phase) -> Result<(), Failure> {
        let asked = self.asked.view().upgrade();
        if response.status() != 101 || asked.is_some_and(|protocol| response.view(bytes).switches_to(protocol)) {
            return Ok(());
        }
        Err(Failure { side: Side::Upstream, fault: Malformed::SwitchingProtocols.into(), phase })
    }

    /// How long the server itself took, for whoever compares servers: what a node says it waited for an origin is not its own time, and how
    /// long a client needs to send a body is nobody's.
    fn count_time(&self, took: Duration, response: &ResponseHead, bytes: &[u8]) {
        let timed = self.asked.head.framing().is_empty();
        self.slot.counts().heads.note(response.status(), timed.then_some(took));
        if !timed {
            return;
        }
        let origin = Some(&self.slot.server).filter(|server| server.door.is_relay()).and_then(|_| {
            let told = response.view(bytes).value(Field::ShoalOriginTime)?;
            std::str::from_utf8(told).ok()?.parse().ok().map(Duration::from_millis)
        });
        let own = took.saturating_sub(origin.unwrap_or_default());
        let counts = self.slot.counts();
        counts.answers.up();
        counts.own_microseconds.add(u64::try_from(own.as_micros()).unwrap_or(0));
    }

    fn deadlines(&self) -> Deadlines {
        let settings = &self.backend.pool.settings;
        let (server, client) = (settings.timeouts.server, self.asked.timeouts.client);
        Deadlines {
            late: settings.suspicion.after / HEED_AFTER,
            first_byte: server,
            head: server,
            body: server.max(client),
            write: client.max(server),
            hold: HOLD,
        }
    }

    /// What the answer says about a failure of the server itself.
    fn own_failure(&self, response: &ResponseHead, bytes: &[u8]) -> Option<String> {
        let (server, status) = (&self.slot.server, response.status());
        if status < 500 {
            return None;
        }
        if server.door.is_relay() {
            let error = proxy_status::error_of(response.view(bytes).lines(), &server.name)?;
            return proxy_status::is_own_failure(error).then(|| error.to_owned());
        }
        (matches!(status, 502..=504) && self.counts(Count::Gateway)).then(|| format!("it answered {status}"))
    }

    /// Whether somebody else is asked instead of sending this failure on.
    fn may_ask_another(&self, phase: Phase) -> bool {
        let attempt = retry::Attempt {
            phase,
            method: self.asked.method(),
            // What a failing server may have taken of a body is not sought out here.
            body: if self.asked.head.framing().is_empty() { retry::Body::Replayable } else { retry::Body::Gone },
            cause: Cause::NodeAnswered,
            number: self.number,
            of: self.backend.pool.settings.retry.attempts,
        };
        self.has_others() && retry::decide(&attempt, &mut self.backend.budget.borrow_mut()) == Decision::Retry
    }

    /// Whether somebody else is there to ask, as things are now.
    fn has_others(&self) -> bool {
        self.desk.backend(self.asked.frontend, self.asked.view()).is_some_and(|backend| backend.has_others(self.tried))
    }

    /// Whose doing it is that a response broke off while it was held. A server that closes its connection in order and lives has passed on
    /// what its origin did, which is no evidence against it, and asking another one would ask that origin again. The kernel closes a killed
    /// process's connections in order too, so that a look has to tell. A reset is what a server's own failure looks like.
    async fn broke_off(&self, fault: Fault) -> Loss {
        match Loss::of(fault) {
            Loss::Closed if fault == Fault::Closed && !look::is_dead(self.desk, self.slot).await => Loss::AnswerCut,
            loss => loss,
        }
    }

    fn failed(&self, fault: Fault, phase: Phase, pooled: bool) -> Outcome {
        let loss = Loss::of(fault);
        self.blame_for(loss, phase, pooled);
        Outcome::Failed(Failed { loss, phase, pooled })
    }

    /// What counts against a node is its own failure; against a server that is not Shoal's, what the bundle says.
    fn blame_for(&self, loss: Loss, phase: Phase, pooled: bool) {
        let relay = self.slot.server.door.is_relay();
        // An idle connection that was just being closed is nobody's failure; nodes, which close no pooled connection first, owe an answer
        // to what was written.
        let race = pooled && (phase == Phase::NothingWritten || !relay);
        let fault = match loss {
            Loss::Refused | Loss::Unreachable if relay || self.counts(Count::Connect) => evidence::Fault::Refused,
            Loss::Unproven => evidence::Fault::Unproven,
            Loss::ConnectTimeout if relay || self.counts(Count::Connect) => evidence::Fault::ConnectTimeout,
            Loss::Closed | Loss::Broken if !race && (relay || self.counts(Count::Reset)) => evidence::Fault::Reset,
            Loss::Malformed if relay || self.counts(Count::Reset) => evidence::Fault::Malformed,
            Loss::Timeout if !relay && self.counts(Count::Timeout) => evidence::Fault::Late,
            _ => return,
        };
        self.blame(fault);
    }

    fn counts(&self, kind: Count) -> bool {
        self.backend.pool.settings.passive.count.contains(&kind)
    }

    fn blame(&self, fault: evidence::Fault) {
        self.slot.counts().failures.up();
        self.desk.shared().roster.observe(self.slot.server.key, Seen::Failed(fault));
    }
}

/// Why there is no connection to a server.
enum Unconnected {
    /// The server cannot be reached, or there is no descriptor for it.
    Server(Fault),
    /// The client has not waited for it.
    ClientLeft(Fault),
}

/// A broken exchange, and the response if its head had come.
struct Broken {
    failure: Failure,
    answer: Option<Answer>,
}

/// A response whose head has come: its status, and how its body goes to the client.
#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    framing: BodyFraming,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self { failure, answer: None }
    }
}
