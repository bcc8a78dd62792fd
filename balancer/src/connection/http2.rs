//! HTTP/2 with a client (RFC 9113): each stream is one request or tunnel, served by the same code
//! as any other ([`stream`]).
//!
//! The `h2` crate speaks the protocol: frames, header compression, flow control, the states of
//! streams. Here is what a proxy has to add: the translation into HTTP/1.1 ([`request`]) and back
//! ([`answer`]), so that there is one parser that judges requests, and one transaction; deadlines
//! ([`wire`]) and bounds of what a client can have us do ([`frames`]); and the end of a connection,
//! which is said (GOAWAY) before it comes.
//!
//! A connection is one task, and each of its streams another. A stream counts as one more
//! connection of its client, with everything that a client's share means.

pub mod answer;
mod download;
pub mod frames;
pub mod request;
mod stream;
mod upload;
pub mod wire;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use cluster_config::document::balancer::{self as document, ClientTimeouts, Http2};
use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http::Request;
use relay::{
    method::Method,
    proxy_status::ErrorType,
    stream::{Duplex, Stream},
    wheel::Kind,
    worker::Phase,
};

use self::{
    frames::{Offence, PREFACE},
    request::Own,
    wire::{Outlet, Verdict, Watched, Wire},
};
use super::{Connection, LINGER, Refused, Requests, http as http1};
use crate::{
    listen::{Frontend, Listener},
    local::Local,
    record,
    stats::FrontendCounts,
    tls::{self, told::Told},
};

/// What a client may send on a stream, and on all of a connection's together, that nobody has taken
/// up yet.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// What waits for a client's connection to take it, of each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Each field of a head counts for so much more than its bytes (RFC 9113 §6.5.2), and there may be
/// a thousand. Whether a head is too large, the parser decides.
const FIELDS: u32 = 32 * 1024;
/// Streams that ended by what the client did wrong, as `h2` counts them.
const ERRORS: usize = 200;
/// Streams that were reset before anybody looked at them.
const UNSEEN: usize = 100;

/// Of what is no request, or no HTTP/2.
const MALFORMED: record::Error = record::Error::Answered(ErrorType::HttpRequestError);

/// Whether clients of a frontend may speak it.
#[must_use]
pub fn may_be_spoken(frontend: &document::Frontend) -> bool {
    let Http2 { enabled, prior_knowledge, .. } = frontend.http2;
    let asked_for = if frontend.tls.is_some() { enabled } else { prior_knowledge };
    asked_for && frontend.mode == document::Mode::Http
}

/// Whether a client speaks it, where it may. What has been read stays where it is.
pub async fn is_spoken(local: &Local, frontend: &Frontend, client: &mut Stream) -> bool {
    if client.announces_its_end() {
        return client.agreed_protocol() == Some(tls::HTTP2);
    }
    let timeouts = http1::timeouts(local.table().served(frontend));
    loop {
        let input = client.input();
        let some = input.len().min(PREFACE.len());
        if input[..some] != PREFACE[..some] || some == PREFACE.len() {
            return input.starts_with(PREFACE);
        }
        let (kind, within) = if some == 0 {
            (Kind::Idle, timeouts.client_idle)
        } else {
            (Kind::Head, timeouts.request_head)
        };
        // Whatever ends it, the reader of requests will find.
        if !matches!(client.fill(kind, within).await, Ok(1..)) {
            return false;
        }
    }
}

/// Where a connection came in, and what is said of it there.
pub struct Entrance {
    local: Local,
    listener: Arc<Listener>,
    opened: Arc<Frontend>,
    peer: SocketAddr,
    told: Option<Rc<Told>>,
    settings: Http2,
    timeouts: ClientTimeouts,
    /// Bytes of a head.
    head: u64,
}

impl Entrance {
    /// As things are now.
    #[must_use]
    pub fn new(
        local: &Local,
        listener: &Arc<Listener>,
        opened: &Arc<Frontend>,
        (peer, told): (SocketAddr, Option<Rc<Told>>),
    ) -> Self {
        let table = local.table();
        let said = table.served(opened).map(|it| it.settings);
        Self {
            local: local.clone(),
            listener: Arc::clone(listener),
            opened: Arc::clone(opened),
            peer,
            told,
            settings: said.map_or_else(Http2::default, |it| it.http2),
            timeouts: http1::timeouts(table.served(opened)),
            head: said.map_or(0, |it| it.request_header_max_size),
        }
    }

    /// For streams that come where this is served.
    fn connection(&self, frontend: &Arc<Frontend>) -> Rc<Connection> {
        Connection::over_http2(&self.local, frontend, self.peer, self.told.clone())
    }

    fn counts(&self) -> &FrontendCounts {
        self.opened.counts.of(self.local.worker().index())
    }
}

/// Serves a connection to its end.
pub async fn serve(entrance: Entrance, client: Stream, requests: Rc<Requests>) {
    entrance.counts().http2.connections.up();
    let watched = Watched::new();
    let client = Rc::new(RefCell::new(client));
    let outlet = Outlet::new(&client, &watched, &entrance.timeouts);
    let wire = Wire::new(Rc::clone(&outlet), entrance.timeouts);
    let handshake = builder(&entrance).handshake::<_, Bytes>(wire);
    let Some(connection) = shake_hands(handshake, &watched, &outlet).await else {
        return entrance.counts().refused.up();
    };
    let address = client.borrow().local_addr().ok();
    let session = Session {
        address,
        current: entrance.connection(&entrance.opened),
        entrance,
        client,
        watched,
        outlet,
        requests,
        served: 0,
        goodbye: Goodbye::NotYet,
    };
    session.run(connection).await;
}

fn builder(entrance: &Entrance) -> server::Builder {
    let mut builder = server::Builder::new();
    let streams = entrance.settings.max_concurrent_streams;
    // At most 96 KiB, by the schema.
    let head = u32::try_from(entrance.head).unwrap_or(u32::MAX).saturating_add(FIELDS);
    builder
        .max_concurrent_streams(streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(head)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(UNSEEN)
        .max_local_error_reset_streams(Some(ERRORS));
    builder
}

/// The preface. None: it did not come, or not in time.
async fn shake_hands(
    handshake: server::Handshake<Wire, Bytes>,
    watched: &Watched,
    outlet: &Outlet,
) -> Option<server::Connection<Wire, Bytes>> {
    let mut handshake = pin!(handshake);
    poll_fn(|cx| {
        if let Poll::Ready(done) = handshake.as_mut().poll(cx) {
            return Poll::Ready(done.ok());
        }
        let broken = matches!(outlet.poll_drain(cx), Poll::Ready(Err(_)));
        if broken || watched.verdict().is_some() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// What the client has been told of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    NotYet,
    /// What is under way ends in peace.
    Said,
    /// It ends now.
    Last,
}

/// A connection, once its preface is there.
struct Session {
    entrance: Entrance,
    client: Rc<RefCell<Stream>>,
    watched: Rc<Watched>,
    outlet: Rc<Outlet>,
    requests: Rc<Requests>,
    /// Where it came in.
    address: Option<SocketAddr>,
    /// For streams that come now.
    current: Rc<Connection>,
    /// Streams so far.
    served: u64,
    goodbye: Goodbye,
}

impl Session {
    async fn run(mut self, mut wire: server::Connection<Wire, Bytes>) {
        let worker = self.entrance.local.worker().clone();
        let mut leaving = pin!(worker.reached(Phase::Leaving));
        let mut finishing = pin!(worker.reached(Phase::Finishing));
        let (mut leaves, mut finishes) = (false, false);
        poll_fn(|cx| {
            leaves = leaves || leaving.as_mut().poll(cx).is_ready();
            finishes = finishes || finishing.as_mut().poll(cx).is_ready();
            loop {
                self.watched.sleeps(cx);
                let accepted = self.poll_accept(cx, &mut wire);
                self.entrance.counts().http2.resets.add(self.watched.take_resets());
                if accepted.is_ready() {
                    return Poll::Ready(());
                }
                let Some(reason) = self.farewell(leaves, finishes) else {
                    let broken = matches!(self.outlet.poll_drain(cx), Poll::Ready(Err(_)));
                    return if broken { Poll::Ready(()) } else { Poll::Pending };
                };
                match reason {
                    Some(reason) => {
                        if reason == Reason::ENHANCE_YOUR_CALM {
                            self.flooded();
                        } else if reason != Reason::NO_ERROR {
                            self.refuse(MALFORMED, ("", ""));
                        }
                        wire.abrupt_shutdown(reason);
                    }
                    None => wire.graceful_shutdown(),
                }
            }
        })
        .await;
        drop(wire);
        // What was said last; that it does not get there harms nobody.
        poll_fn(|cx| self.outlet.poll_drain(cx)).await.unwrap_or_default();
        drop(self.outlet);
        // What it still sends is read, so that it reads why the connection ends.
        if let Ok(client) = Rc::try_unwrap(self.client) {
            client.into_inner().close(LINGER.bytes, LINGER.time).await;
        }
    }

    /// Takes what streams there are. Ready: the connection has ended.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut server::Connection<Wire, Bytes>,
    ) -> Poll<()> {
        loop {
            match ready!(wire.poll_accept(cx)) {
                Some(Ok((request, respond))) => self.accept(request, respond),
                // What `h2` has found too much itself.
                Some(Err(error))
                    if error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
                        && !error.is_remote()
                        && self.goodbye != Goodbye::Last =>
                {
                    self.flooded();
                    return Poll::Ready(());
                }
                // Frames that `h2` cannot read, or that must not come.
                Some(Err(error)) if error.is_go_away() && !error.is_remote() => {
                    if error.reason() != Some(Reason::NO_ERROR) && self.goodbye != Goodbye::Last {
                        self.refuse(MALFORMED, ("", ""));
                    }
                    return Poll::Ready(());
                }
                // Whatever ends it: streams hear of it themselves, and have their records.
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    }

    /// What is to be said of the end now, if anything: a reason to end at once, or none of it.
    fn farewell(&mut self, leaves: bool, finishes: bool) -> Option<Option<Reason>> {
        if self.goodbye == Goodbye::Last {
            return None;
        }
        let idle = self.watched.active() == 0;
        let at_once = match self.watched.verdict() {
            Some(Verdict::Offence(Offence::NoSettings)) => Some(Reason::PROTOCOL_ERROR),
            Some(Verdict::Offence(Offence::Size)) => Some(Reason::FRAME_SIZE_ERROR),
            Some(Verdict::Offence(_)) => Some(Reason::ENHANCE_YOUR_CALM),
            Some(Verdict::Idle | Verdict::Late) => Some(Reason::NO_ERROR),
            None => (finishes && idle && self.served > 0).then_some(Reason::NO_ERROR),
        };
        if at_once.is_some() {
            self.goodbye = Goodbye::Last;
            return Some(at_once);
        }
        // A client that has just come may have its first request on the way.
        let now = self.goodbye == Goodbye::NotYet && leaves && self.served > 0;
        now.then(|| {
            self.goodbye = Goodbye::Said;
            None
        })
    }

    /// Serves a stream, in a task of its own.
    fn accept(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        self.served += 1;
        let Self { entrance, client, watched, .. } = self;
        let counts = entrance.counts();
        counts.http2.streams.up();
        let (parts, body) = request.into_parts();
        let head = {
            let own = Own {
                name: entrance.told.as_ref().and_then(|told| told.sni.as_deref()),
                address: self.address,
                secure: entrance.told.is_some(),
            };
            request::translate(&parts, body.is_end_stream(), own)
        };
        let Ok(head) = head else {
            counts.refused.up();
            watched.offended();
            respond.send_reset(Reason::PROTOCOL_ERROR);
            let target = parts.uri.to_string();
            return self.refuse(MALFORMED, (parts.method.as_str(), &target));
        };
        // A stream that was reset ends a little later here than for the client.
        let room = watched.active() < entrance.settings.max_concurrent_streams.saturating_mul(2);
        let (theirs, ours) = Duplex::pair(stream::BETWEEN);
        let Some(served) = client.borrow().beside(theirs).filter(|_| room) else {
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        self.follow();
        let parts = stream::Parts {
            connection: Rc::clone(&self.current),
            head,
            method: Method::from_text(parts.method.as_str().as_bytes()),
            body,
            respond,
            patience: self.entrance.timeouts.client,
            active: self.watched.enter(),
            ends: (served, ours),
        };
        let task = stream::run(parts, Rc::clone(&self.requests));
        self.entrance.local.worker().spawn(task);
    }

    /// The client sends much that asks for nothing.
    fn flooded(&self) {
        self.entrance.counts().http2.floods.up();
        self.refuse(record::Error::Flood, ("", ""));
    }

    /// Writes down what is no request, as far as there have not been too many.
    fn refuse(&self, error: record::Error, line: (&str, &str)) {
        let refused = Refused { peer: self.entrance.peer, error: Some(error), http2: Some(line) };
        refused.record(&self.entrance.local, &self.current.frontend);
    }

    /// What is served here may have changed since the stream before.
    fn follow(&mut self) {
        let served = self.entrance.listener.served();
        if !Arc::ptr_eq(&served, &self.current.frontend) {
            self.current = self.entrance.connection(&served);
        }
    }
}
