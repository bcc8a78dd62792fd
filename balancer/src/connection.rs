//! One client's connection: request after request, in order.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cluster_config::document::balancer::{ClientTimeouts, ForwardedFor};
use dataplane::{connection::Linger, trace::Context};
use relay::{
    clock,
    fault::Fault,
    field::Field,
    head::{Limits, RequestHead},
    method::Method,
    stream::{Patience, Stream},
    wheel::Kind,
};

use crate::{
    health,
    listen::{Frontend, Listener},
    local::{Backend, Local, Routed, Table},
    record::Record,
    request::Request,
    respond::Error,
    stats::Raised,
    transaction,
    tunnel::{self, ConnectionEnd},
};

/// Before anything is configured for a frontend.
const UNCONFIGURED: ClientTimeouts = ClientTimeouts {
    client: Duration::from_secs(10),
    client_idle: Duration::from_secs(10),
    request_head: Duration::from_secs(10),
};
/// What a refused client still sends is read, up to this much and for this long, so that it reads
/// the answer (RFC 9112 §9.6).
const LINGER: Linger = Linger { bytes: 256 * 1024, time: Duration::from_secs(1) };

/// Serves a connection to its end. What lives for one request or one tunnel is boxed and gone when
/// the connection idles, so that an idle one is small.
pub async fn serve(local: Local, listener: Arc<Listener>, mut client: Stream, peer: SocketAddr) {
    let mut frontend = Arc::clone(&listener.served());
    let opened = Arc::clone(&frontend);
    let counts = opened.counts.of(local.worker().index());
    counts.connections.up();
    let _active = Raised::new(&counts.active_connections);
    let name = Text::of(peer.ip().to_canonical());
    loop {
        if client.input().is_empty() {
            let idle = timeouts(&local.table(), &frontend).client_idle;
            match client.fill(Kind::Idle, idle).await {
                Ok(1..) => {}
                // Clients leave idle connections in every way there is.
                Ok(0) | Err(_) => return,
            }
        }
        // What is served here may have changed while the connection idled.
        if !Arc::ptr_eq(&listener.served(), &frontend) {
            frontend = Arc::clone(&listener.served());
        }
        match Box::pin(transaction(&local, &frontend, &mut client, (peer, &name))).await {
            ConnectionEnd::Stays => {}
            ConnectionEnd::Over => return,
            ConnectionEnd::Tunnel(open) => {
                return Box::pin(tunnel::run(&local, &frontend, client, peer, open)).await;
            }
            end => return Box::pin(end.close(client, LINGER)).await,
        }
    }
}

/// One request, whose first byte is there.
async fn transaction(
    local: &Local,
    frontend: &Frontend,
    client: &mut Stream,
    (peer, name): (SocketAddr, &Text),
) -> ConnectionEnd {
    let mut head = local.head();
    let (patience, limits) = {
        let table = local.table();
        // At most 96 KiB, by the schema.
        let limits = table.served(frontend).map_or_else(Limits::default, |it| {
            Limits::of(it.settings.request_header_max_size as usize)
        });
        let timeouts = timeouts(&table, frontend);
        (
            Patience {
                idle_kind: Kind::Idle,
                idle: timeouts.client_idle,
                head: timeouts.request_head,
            },
            limits,
        )
    };
    match client.read_request(&mut head, &limits, &patience).await {
        Ok(Some(bytes)) => {
            let table = local.table();
            let (timeouts, routed) =
                (timeouts(&table, frontend), table.route(frontend, head.view(&bytes)));
            drop(table);
            let end = match routed {
                Some(Routed::Health(backend)) => {
                    health::answer(
                        local,
                        &backend,
                        &head,
                        client,
                        timeouts.client,
                        &mut Vec::with_capacity(256),
                    )
                    .await
                }
                other => {
                    let backend = if let Some(Routed::Backend(backend)) = other {
                        Some(backend)
                    } else {
                        None
                    };
                    let request = request(
                        local,
                        frontend,
                        (&head, &bytes),
                        client,
                        (peer, name.as_str()),
                        timeouts,
                        backend.as_deref(),
                    );
                    transaction::serve(local, &request, backend, client).await
                }
            };
            local.give_head(head);
            end
        }
        Ok(None) => ConnectionEnd::Over,
        Err(Fault::Malformed(malformed)) => {
            refuse(local, frontend, client, name.as_str(), &Error::Malformed(malformed)).await
        }
        // Its client has its share.
        Err(Fault::Timeout(Kind::Displaced)) => ConnectionEnd::Abort,
        Err(Fault::Timeout(_)) => {
            refuse(local, frontend, client, name.as_str(), &Error::HeadTimeout).await
        }
        Err(_) => ConnectionEnd::Over,
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

fn request<'a>(
    local: &Local,
    frontend: &'a Frontend,
    (head, bytes): (&'a RequestHead, &'a bytes::Bytes),
    client: &Stream,
    (peer, name): (SocketAddr, &'a str),
    timeouts: ClientTimeouts,
    backend: Option<&Backend>,
) -> Request<'a> {
    let id = local.ids().next(clock::wall());
    let trace = local.shared().tracer.as_ref().and_then(|tracer| {
        let carried = Context::carried(head.view(bytes).values(Field::Traceparent));
        tracer.begin(id, carried, false, || local.ids().span())
    });
    let forwards = matches!(head.method(), Method::Options | Method::Trace)
        .then(|| head.view(bytes).max_forwards())
        .flatten();
    Request {
        frontend,
        frontend_address: frontend.address(),
        head,
        bytes,
        peer,
        client: name,
        id,
        began: relay::clock::now(),
        max_forwards: forwards.and_then(|it| it.checked_sub(1)),
        ends_here: forwards == Some(0),
        sent_before: client.sent(),
        timeouts,
        forwarded_for: backend
            .map_or_else(ForwardedFor::default, |it| it.pool.settings.forwarded_for),
        trace,
    }
}

/// Answers what is no request, and writes down what can be seen of it.
async fn refuse(
    local: &Local,
    frontend: &Frontend,
    client: &mut Stream,
    name: &str,
    error: &Error,
) -> ConnectionEnd {
    let counts = frontend.counts.of(local.worker().index());
    counts.refused.up();
    counts.answers.note(error.status(), None);
    let (id, sent) = (local.ids().next(relay::clock::wall()), client.sent());
    let mut out = Vec::with_capacity(512);
    error.write(&mut out, &local.shared().name, id, Method::Get, relay::clock::wall());
    let written = client.write_all(&[&out], UNCONFIGURED.client).await;
    let took = relay::clock::since(client.opened());
    let bytes = client.sent() - sent;
    let (method, target) = dataplane::unreadable::request_line(client.input());
    let record = Record {
        id,
        client: name,
        frontend: &frontend.name,
        method: &method,
        target: &target,
        status: error.status(),
        bytes,
        // Of a connection's first request; when a later one began is not known.
        took: if sent == 0 { took } else { Duration::ZERO },
        server: "",
        attempts: 0,
        error: Some(error.kind()),
    };
    let trace = local
        .shared()
        .tracer
        .as_ref()
        .and_then(|tracer| tracer.begin(id, None, false, || local.ids().span()));
    local.record(&record, trace.as_ref());
    if written.is_ok() { ConnectionEnd::Close } else { ConnectionEnd::Abort }
}
