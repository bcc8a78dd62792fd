//! One client's connection: request after request, in order.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cluster_config::document::balancer::{ClientTimeouts, ForwardedFor};
use dataplane::trace::Context;
use relay::{
    clock,
    fault::Fault,
    field::Field,
    head::{Limits, RequestHead},
    listen::Listener,
    method::Method,
    stream::{Patience, Stream},
    wheel::Kind,
};
use tokio::sync::oneshot;

use crate::{
    desk::{Backend, Desk, Routed, Table},
    health,
    listen::{Frontend, Socket},
    record::Record,
    request::{self, Asked, Next},
    respond::Refusal,
    stats::Count,
    tunnel,
};

/// Before anything is configured for a frontend.
const UNCONFIGURED: ClientTimeouts =
    ClientTimeouts { client: Duration::from_secs(10), client_idle: Duration::from_secs(10), request_head: Duration::from_secs(10) };
/// What a refused client still sends is read, up to this much and for this long, so that it reads the answer (RFC 9112 §9.6).
const LINGER: (u64, Duration) = (256 * 1024, Duration::from_secs(1));

struct Active<'a>(&'a Count);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// Serves a connection to its end. What lives for one request or one tunnel is boxed and gone when the connection idles, so that an idle one is
/// small.
pub async fn serve(desk: Desk, socket: Arc<Socket>, mut client: Stream, peer: SocketAddr) {
    let mut frontend = socket.frontend.load_full();
    let opened = Arc::clone(&frontend);
    let counts = opened.counts.of(desk.worker().index());
    counts.connections.up();
    counts.active_connections.up();
    let _active = Active(&counts.active_connections);
    let name = Text::of(peer.ip().to_canonical());
    loop {
        if client.input().is_empty() {
            let idle = timeouts(&desk.table(), &frontend).client_idle;
            match client.fill(Kind::Idle, idle).await {
                Ok(1..) => {}
                // Clients leave idle connections in every way there is.
                Ok(0) | Err(_) => return,
            }
        }
        // What is served here may have changed while the connection idled.
        if !Arc::ptr_eq(&socket.frontend.load(), &frontend) {
            frontend = socket.frontend.load_full();
        }
        match Box::pin(turn(&desk, &frontend, &mut client, (peer, &name))).await {
            Next::Stay => {}
            Next::Close => return Box::pin(client.close(LINGER.0, LINGER.1)).await,
            Next::Abort => return client.abort(),
            Next::Cut(framing) => return Box::pin(client.cut(framing, LINGER.0, LINGER.1)).await,
            Next::Over => return,
            Next::Tunnel(open) => return Box::pin(tunnel::run(&desk, &frontend, client, peer, open)).await,
        }
    }
}

/// One request, whose first byte is there.
async fn turn(desk: &Desk, frontend: &Frontend, client: &mut Stream, (peer, name): (SocketAddr, &Text)) -> Next {
    let mut head = desk.head();
    let (patience, limits) = {
        let table = desk.table();
        // At most 96 KiB, by the schema.
        let limits = table.served(frontend).map_or_else(Limits::default, |it| Limits::of(it.settings.request_header_max_size as usize));
        let timeouts = timeouts(&table, frontend);
        (Patience { idle_kind: Kind::Idle, idle: timeouts.client_idle, head: timeouts.request_head }, limits)
    };
    match client.read_request(&mut head, &limits, &patience).await {
        Ok(Some(bytes)) => {
            #[cfg(test)]
            crate::panic_tests::when_asked(&bytes);
            let table = desk.table();
            let (timeouts, routed) = (timeouts(&table, frontend), table.route(frontend, head.view(&bytes)));
            drop(table);
            let next = match routed {
                Some(Routed::Health(backend)) => {
                    health::answer(desk, &backend, &head, client, timeouts.client, &mut Vec::with_capacity(256)).await
                }
                other => {
                    let backend = if let Some(Routed::Backend(backend)) = other { Some(backend) } else { None };
                    let asked = asked(desk, frontend, (&head, &bytes), client, (peer, name.as_str()), timeouts, backend.as_deref());
                    request::serve(desk, &asked, backend, client).await
                }
            };
            desk.give_head(head);
            next
        }
        Ok(None) => Next::Over,
        Err(Fault::Malformed(malformed)) => refuse(desk, frontend, client, name.as_str(), &Refusal::Malformed(malformed)).await,
        // Its client has its share.
        Err(Fault::Timeout(Kind::Crowded)) => Next::Abort,
        Err(Fault::Timeout(_)) => refuse(desk, frontend, client, name.as_str(), &Refusal::HeadTimeout).await,
        Err(_) => Next::Over,
    }
}

/// A client's address as text, without an allocation.
struct Text {
    bytes: [u8; 48],
    length: usize,
}

impl Text {
    fn of(address: IpAddr) -> Self {
        use std::io::Write as _;
        let mut bytes = [0; 48];
        let mut rest = &mut bytes[..];
        // The longest IPv6 address has 45 characters.
        let length = if write!(rest, "{address}").is_ok() { 48 - rest.len() } else { 0 };
        Self { bytes, length }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

fn timeouts(table: &Table, frontend: &Frontend) -> ClientTimeouts {
    table.served(frontend).map_or(UNCONFIGURED, |it| it.settings.timeouts)
}

fn asked<'a>(
    desk: &Desk,
    frontend: &'a Frontend,
    (head, bytes): (&'a RequestHead, &'a bytes::Bytes),
    client: &Stream,
    (peer, name): (SocketAddr, &'a str),
    timeouts: ClientTimeouts,
    backend: Option<&Backend>,
) -> Asked<'a> {
    let id = desk.ids().next(clock::wall());
    let trace = desk.shared().tracer.as_ref().and_then(|tracer| {
        let carried = Context::carried(head.view(bytes).values(Field::Traceparent));
        tracer.begin(id, carried, false, || desk.ids().span())
    });
    let forwards = matches!(head.method(), Method::Options | Method::Trace).then(|| head.view(bytes).max_forwards()).flatten();
    Asked {
        frontend,
        frontend_address: frontend.address(),
        head,
        bytes,
        peer,
        client: name,
        id,
        began: Instant::now(),
        max_forwards: forwards.and_then(|it| it.checked_sub(1)),
        ends_here: forwards == Some(0),
        sent_before: client.sent(),
        timeouts,
        forwarded_for: backend.map_or_else(ForwardedFor::default, |it| it.pool.settings.forwarded_for),
        trace,
    }
}

/// Answers what is no request, and writes down what can be seen of it.
async fn refuse(desk: &Desk, frontend: &Frontend, client: &mut Stream, name: &str, refusal: &Refusal) -> Next {
    let counts = frontend.counts.of(desk.worker().index());
    counts.refused.up();
    counts.answers.note(refusal.status(), None);
    let (id, sent) = (desk.ids().next(SystemTime::now()), client.sent());
    let mut out = Vec::with_capacity(512);
    refusal.write(&mut out, &desk.shared().name, id, Method::Get, SystemTime::now());
    let written = client.write_all(&[&out], UNCONFIGURED.client).await;
    let took = client.opened().elapsed();
    let bytes = client.sent() - sent;
    let (method, target) = dataplane::unreadable::request_line(client.input());
    let record = Record {
        id,
        client: name,
        frontend: &frontend.name,
        method: &method,
        target: &target,
        status: refusal.status(),
        bytes,
        // Of a connection's first request; when a later one began is not known.
        took: if sent == 0 { took } else { Duration::ZERO },
        server: "",
        attempts: 0,
        error: refusal.error(),
    };
    let trace = desk.shared().tracer.as_ref().and_then(|tracer| tracer.begin(id, None, false, || desk.ids().span()));
    desk.record(&record, trace.as_ref());
    if written.is_ok() { Next::Close } else { Next::Abort }
}

/// Accepts what comes to a listener of this worker, until the drain or until nobody is wanted there any more.
pub async fn accept(desk: Desk, socket: Arc<Socket>, listener: Listener, unwanted: oneshot::Receiver<()>) {
    let (worker, shared) = (desk.worker().clone(), Rc::new((desk, socket)));
    let unwanted = async {
        // Sent, or the worker's loop has gone: both mean the same.
        drop(unwanted.await);
    };
    worker
        .serve_until(listener, unwanted, move |_, client, peer| {
            let (desk, socket) = (shared.0.clone(), Arc::clone(&shared.1));
            serve(desk, socket, client, peer)
        })
        .await;
}
