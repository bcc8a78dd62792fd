//! The request over a connection, and its response.

use std::{cell::Cell, time::Duration};

use bytes::Bytes;
use cluster_config::document::balancer::Balance;
use relay::{
    exchange::{Deadlines, Error, Exchange, Side, Upload},
    field::Field,
    framing::BodyFraming,
    head::{Limits, ResponseHead},
    interims::Interims,
    malformed::Malformed,
    method::Method,
    retry::{Cause, Phase},
    rewrite::{BodyFields, HeadWriter, Persistence},
    stream::Stream,
    tunnel,
};

use super::{Attempt, heads::ANSWERED};
use crate::{
    local::{Owing, Scratch},
    record::Timers,
};

/// A request is in doubt only after this part of the time that makes a server late: until then
/// nobody waits for a release.
pub(super) const HEED_AFTER: u32 = 5;
/// A small response is held for so long, at most, until it is complete: a node's death in the
/// middle can then be retried.
const HOLD: Duration = Duration::from_millis(50);

/// How an exchange over a connection ended well.
pub(super) enum Exchanged {
    Tunnel { status: u16, framed: bool },
    Done { status: u16, keep: bool, reusable: bool },
    OwnFailure,
}

/// How it begins.
pub(super) enum Ask {
    /// The request is sent. `releases`: of the server, when it was picked.
    Send { releases: u64 },
    /// It has been, and this is the head of the answer.
    Answered(Box<ResponseHead>, Bytes),
}

/// A broken exchange, and the response if its head had come.
pub(super) struct Broken {
    pub(super) failure: Error,
    pub(super) answer: Option<Answer>,
}

/// A response whose head has come: its status, and how its body goes to the client.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) framing: BodyFraming,
}

impl From<Error> for Broken {
    fn from(failure: Error) -> Self {
        Self { failure, answer: None }
    }
}

impl Attempt<'_> {
    /// Sends the request, and the response to the client.
    pub(super) async fn exchange(
        &self,
        client: &mut Stream,
        upstream: &mut Stream,
        upload: &mut Upload,
        scratch: &mut Scratch,
        ask: Ask,
        owing: &Owing,
    ) -> Result<Exchanged, Broken> {
        let hedge_after = self.hedge_after();
        let deadlines = self.deadlines(hedge_after);
        let mut exchange = Exchange::new(client, upstream, upload, &deadlines);
        let bytes = match ask {
            Ask::Send { releases } => {
                self.write_request(&mut scratch.out);
                exchange.send(&scratch.out).await?;
                self.response(&mut exchange, scratch, (releases, hedge_after)).await?
            }
            Ask::Answered(head, bytes) => {
                scratch.response = *head;
                exchange.answered_before(scratch.response.dialect());
                bytes
            }
        };
        self.check_switch(&scratch.response, &bytes, exchange.phase())?;
        let now = relay::clock::now();
        let took = owing.answered(now);
        let timers = self.timers.get();
        let answer = took.saturating_sub(timers.connect.unwrap_or_default());
        self.timers.set(Timers { answer: Some(answer), ..timers });
        self.count_time(took, &scratch.response, &bytes);
        let (method, status) = (self.request.method(), scratch.response.status());
        let failure = self.own_failure(&scratch.response, &bytes);
        let retried = self.retried(status, failure.is_some());
        match failure {
            Some(fault) => self.blame(fault),
            None => self.slot.counts().answered_at.set(self.local.shared().uptime.millis(now)),
        }
        if retried.is_some_and(|cause| {
            self.may_ask_another(exchange.phase(), cause, exchange.is_replayable())
        }) {
            return Ok(Exchanged::OwnFailure);
        }
        let switched =
            (method == Method::Connect && (200..=299).contains(&status)) || status == 101;
        let incoming = scratch.response.framing(method);
        let version = self.request.head.version();
        let outgoing = incoming.for_client(version);
        let stays = method != Method::Connect
            && self.request.head.persistent()
            && outgoing != BodyFraming::UntilClose
            // An answer that overtakes the request's body says so now: what is left of the body may
            // never be read.
            && exchange.upload_done()
            && !self.local.worker().leaving();
        self.write_response(
            scratch,
            &bytes,
            incoming,
            outgoing,
            if switched { Persistence::Implied } else { Persistence::of(stays, version) },
        );
        let finished = exchange.finish(&scratch.out, incoming, outgoing).await;
        let done = finished.map_err(|failure| Broken {
            failure,
            answer: Some(Answer { status, framing: outgoing }),
        })?;
        if switched {
            let framed = self.asks_for_frames()
                && scratch.response.view(&bytes).value(Field::ShoalTunnel) == Some(tunnel::FRAMED);
            return Ok(Exchanged::Tunnel { status, framed });
        }
        let keep =
            done.upload_done && method != Method::Connect && scratch.response.persistent(method);
        Ok(Exchanged::Done { status, keep, reusable: stays && done.upload_done })
    }

    /// The final response's head. Interim ones are sent on.
    async fn response(
        &self,
        exchange: &mut Exchange<'_>,
        scratch: &mut Scratch,
        (releases, hedge_after): (u64, Option<Duration>),
    ) -> Result<Bytes, Error> {
        let (limits, interims) = (self.reply_limits(), self.interims());
        // An interim response that was sent on is part of an answer.
        let begun = Cell::new(false);
        scratch.response.set_may_switch(self.request.head.upgrades());
        exchange
            .final_response(
                &mut scratch.response,
                &limits,
                interims,
                self.request.head.version(),
                || self.until_elsewhere(releases, hedge_after.filter(|_| !begun.get())),
                |out, interim| {
                    begun.set(true);
                    HeadWriter::response(out, interim, ANSWERED, BodyFields::AsReceived).finish();
                },
            )
            .await
    }

    pub(super) fn interims(&self) -> Interims {
        let interims = Interims::new(self.backend.pool.settings.timeouts.server);
        if self.slot.server.protocol.is_relay() { interims.with_room() } else { interims }
    }

    /// By which condition an answer might be tried again, if by any.
    fn retried(&self, status: u16, own_failure: bool) -> Option<Cause> {
        let on = self.backend.retry_on;
        if own_failure && on.node_error {
            return Some(Cause::NodeAnswered);
        }
        on.has_status(status).then_some(Cause::Status(status))
    }

    /// A node writes plainly, and whatever it lets pass passes here; other servers are origins to
    /// us.
    pub(super) fn reply_limits(&self) -> Limits {
        if self.slot.server.protocol.is_relay() {
            return Limits::most();
        }
        let replies = &self.backend.pool.settings.replies;
        // At most 96 KiB, by the schema.
        Limits::of(replies.max_size as usize).relaxed(replies.relaxed)
    }

    /// 101 is an answer only to who asked for that protocol.
    fn check_switch(
        &self,
        response: &ResponseHead,
        bytes: &[u8],
        phase: Phase,
    ) -> Result<(), Error> {
        let asked = self.request.view().upgrade();
        if response.status() != 101
            || asked.is_some_and(|protocol| response.view(bytes).switches_to(protocol))
        {
            return Ok(());
        }
        Err(Error { side: Side::Upstream, fault: Malformed::SwitchingProtocols.into(), phase })
    }

    /// How long the server itself took, for whoever compares servers: what a node says it waited
    /// for an origin is not its own time, and how long a client needs to send a body is nobody's.
    fn count_time(&self, took: Duration, response: &ResponseHead, bytes: &[u8]) {
        let timed = self.request.head.framing().is_empty();
        self.slot.counts().heads.note(response.status(), timed.then_some(took));
        if !timed {
            return;
        }
        let origin =
            Some(&self.slot.server).filter(|server| server.protocol.is_relay()).and_then(|_| {
                let told = response.view(bytes).value(Field::ShoalOriginTime)?;
                std::str::from_utf8(told).ok()?.parse().ok().map(Duration::from_millis)
            });
        let own = took.saturating_sub(origin.unwrap_or_default());
        let counts = self.slot.counts();
        counts.answers.up();
        let own = u64::try_from(own.as_micros()).unwrap_or(0);
        counts.own_microseconds.add(own);
        self.note_latency(took);
        if self.backend.pool.settings.balance == Balance::ResponseTime {
            counts.took(own, self.local.shared().uptime.millis(relay::clock::now()));
        }
    }

    fn deadlines(&self, hedge_after: Option<Duration>) -> Deadlines {
        let settings = &self.backend.pool.settings;
        let late = settings.suspicion.after / HEED_AFTER;
        let (server, client) = (settings.timeouts.server, self.request.timeouts.client);
        Deadlines {
            late: hedge_after.map_or(late, |after| late.min(after)),
            first_byte: server,
            head: server,
            body: server.max(client),
            write: client.max(server),
            hold: HOLD,
        }
    }
}
