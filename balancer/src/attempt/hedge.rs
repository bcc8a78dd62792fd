//! A second server that is asked while the first one is silent (`retry.hedge`): whoever answers
//! first serves the client, and the other request is cut. Only requests without a body that may be
//! repeated, and only as many as the budget of retries has room for.
//!
//! The second server is asked within the wait for the first one's answer, so that either ends the
//! other: an answer of the first drops the second's connection, and a good answer of the second
//! releases the wait. Then the transaction goes on with the second server as with any attempt, but
//! that its answer has begun.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use relay::{
    fault::Fault,
    head::ResponseHead,
    method::Method,
    pool::Reuse,
    retry::{self, Cause, Decision, Phase},
    stream::Stream,
};

use super::{Attempt, Outcome, exchange::Ask};
use crate::{
    local::{Backend, Exchanging, Owing, Pick, Scratch, Slot},
    queue::Permit,
    record::Timers,
    standing::Standing,
    upstream,
};
use relay::exchange::Upload;

/// A server that was asked beside another one, and has answered before it.
pub struct Hedged {
    pub slot: Rc<Slot>,
    /// Where there are bounds.
    pub permit: Option<Permit>,
    head: Box<ResponseHead>,
    bytes: Bytes,
    asked: Asked,
}

/// A request on its way.
struct Asked {
    // Before the connection: it can be cut as long as that is there.
    exchanging: Exchanging,
    upstream: Stream,
    pooled: bool,
    owing: Owing,
}

impl Attempt<'_> {
    /// After how long without an answer a second server may be asked; none: never.
    pub(super) fn hedge_after(&self) -> Option<Duration> {
        let settings = &self.backend.pool.settings;
        let hedge = settings.retry.hedge.as_ref()?;
        let method = self.request.method();
        let may = self.request.head.framing().is_empty()
            && method.is_idempotent()
            && method != Method::Connect
            && !self.request.head.upgrades()
            // No two servers hear of one client over one connection each.
            && settings.send_proxy.is_none();
        let usual = match hedge.percentile {
            Some(percentile) => self.backend.latencies.borrow().of(percentile)?,
            None => Duration::ZERO,
        };
        may.then(|| hedge.after.max(usual))
    }

    /// For the percentile, where one is asked for.
    pub(super) fn note_latency(&self, took: Duration) {
        let hedge = self.backend.pool.settings.retry.hedge.as_ref();
        if hedge.is_some_and(|hedge| hedge.percentile.is_some()) {
            self.backend.latencies.borrow_mut().note(took);
        }
    }

    /// Returns once the request shall go on elsewhere: its server was ejected, or another one has
    /// answered.
    pub(super) async fn until_elsewhere(&self, releases: u64, hedge_after: Option<Duration>) {
        let released = self.slot.until_released(releases, || self.has_others());
        let Some(after) = hedge_after else { return released.await };
        tokio::select! {
            biased;
            () = released => {}
            // Boxed, as it is rare and large.
            () = Box::pin(self.until_overtaken(after)) => {}
        }
    }

    async fn until_overtaken(&self, after: Duration) {
        let late = self.backend.pool.settings.suspicion.after / super::exchange::HEED_AFTER;
        // So much of it is over.
        self.local.worker().wheel().sleep(after.saturating_sub(late)).await;
        match self.second().await {
            Some(hedged) => *self.hedged.borrow_mut() = Some(Box::new(hedged)),
            None => std::future::pending().await,
        }
    }

    /// Asks a second server, if one may be asked, and there is one in turn. None: it has no good
    /// answer either.
    async fn second(&self) -> Option<Hedged> {
        let backend = self.local.backend(self.request.frontend, self.request.question())?;
        let attempt = retry::Attempt {
            phase: Phase::Written,
            method: self.request.method(),
            body: retry::Body::Replayable,
            cause: Cause::Hedge,
            on: backend.retry_on,
            number: self.number,
            of: backend.pool.settings.retry.attempts,
        };
        if !backend.has_others(self.tried) || !self.takes_retry() {
            return None;
        }
        let (slot, permit) = self.in_turn(&backend)?;
        if self.decide(&attempt) != Decision::Retry {
            return None;
        }
        slot.backend_counts().hedges.up();
        let second = Attempt { slot: &slot, backend: &backend, ..self.beside() };
        let (asked, head, bytes) = second.ask().await?;
        slot.backend_counts().hedges_won.up();
        Some(Hedged { slot, permit, head, bytes, asked })
    }

    /// A server that carries the load and has room: backups are for when it is not carried.
    fn in_turn(&self, backend: &Backend) -> Option<(Rc<Slot>, Option<Permit>)> {
        let uptime = self.local.shared().uptime;
        let client = self.request.peer.ip();
        match backend.pick(self.request.view(), client, self.tried, uptime) {
            Pick::Server(slot, permit) => {
                let mut listed = backend.pool.servers.iter();
                let listed = listed.find(|it| it.server.key == slot.server.key)?;
                (listed.judgement.standing <= Standing::Last).then_some((slot, permit))
            }
            Pick::Full(_) | Pick::Nobody => None,
        }
    }

    /// What a second attempt has of this one.
    fn beside(&self) -> Attempt<'_> {
        Attempt {
            local: self.local,
            request: self.request,
            backend: self.backend,
            slot: self.slot,
            tried: self.tried,
            number: self.number + 1,
            afresh: false,
            trace: self.trace,
            cuts: self.cuts,
            reused: Default::default(),
            may_retry: true,
            retry: Default::default(),
            timers: Default::default(),
            given: Default::default(),
            hedged: Default::default(),
        }
    }

    /// Sends the request, and reads the head of its answer. None: it has failed, or is no good one.
    async fn ask(&self) -> Option<(Asked, Box<ResponseHead>, Bytes)> {
        let (counts, timeouts) = (self.slot.counts(), &self.backend.pool.settings.timeouts);
        let owing = self.slot.owing(relay::clock::now());
        counts.requests.up();
        let (mut upstream, pooled) = match self.connected().await {
            Ok(connected) => connected,
            Err(fault) => {
                drop(self.failed(fault, Phase::NothingWritten, false));
                return None;
            }
        };
        let exchanging = self.slot.exchanging(&upstream);
        let mut out = Vec::with_capacity(1024);
        self.write_request(&mut out);
        let (mut head, server) = (Box::new(ResponseHead::new()), timeouts.server);
        let answered = async {
            upstream.write_all(&[&out], server).await?;
            let (limits, mut interims) = (self.reply_limits(), self.interims());
            let each = (server, server);
            upstream.read_final_response(&mut head, &limits, each, &mut interims, |_| ()).await
        };
        let bytes = match answered.await {
            Ok(bytes) => bytes,
            Err(fault) => {
                drop(self.failed(fault, Phase::Written, pooled));
                return None;
            }
        };
        counts.bytes_out.add(out.len() as u64);
        if let Some(fault) = self.own_failure(&head, &bytes) {
            self.blame(fault);
            return None;
        }
        let good = head.status() < 500 && head.status() != 101;
        good.then_some((Asked { exchanging, upstream, pooled, owing }, head, bytes))
    }

    /// A connection to the server; the wait for the first one knows whether the client waits.
    async fn connected(&self) -> Result<(Stream, bool), Fault> {
        let (server, settings) = (&self.slot.server, &self.backend.pool.settings);
        let reuse = Reuse::of(self.request.method());
        if settings.keepalive > 0
            && let Some(upstream) = self.local.idle().take(&server.key, 0, reuse)
        {
            self.slot.counts().connections_reused.up();
            return Ok((upstream, true));
        }
        let releases = server.signs.releases();
        let open = || {
            upstream::open(self.local, self.slot, settings, None, releases, || self.has_others())
        };
        let opened = upstream::with_descriptors(self.local, settings.timeouts.connect, open);
        Ok((opened.await?, false))
    }

    /// Goes on with the answer of a server that has overtaken another one.
    pub(super) async fn take_over(
        &self,
        hedged: Hedged,
        client: &mut Stream,
        upload: &mut Upload,
        scratch: &mut Scratch,
    ) -> Outcome {
        let Hedged { head, bytes, asked, .. } = hedged;
        let Asked { exchanging, mut upstream, pooled, owing } = asked;
        self.reused.set(pooled);
        self.timers.set(Timers { connect: Some(Duration::ZERO), ..self.timers.get() });
        let received = upstream.received();
        let ask = Ask::Answered(head, bytes);
        let outcome = self.exchange(client, &mut upstream, upload, scratch, ask, &owing).await;
        drop(exchanging);
        self.slot.counts().bytes_in.add(upstream.received() - received);
        self.ended(outcome, upstream, pooled).await
    }
}
