//! The requests of a connection: each is read, routed and served.

mod page;

use std::{cell::OnceCell, rc::Rc, sync::Arc, time::Duration};

use cluster_config::document::balancer::{ClientTimeouts, ForwardedFor};
use dataplane::{
    limits::{self, Refused},
    trace::Context,
};
use relay::{
    clock,
    fault::Fault,
    field::Field,
    head::{Limits, RequestHead, Version},
    method::Method,
    stream::{Patience, Stream},
    wheel::Kind,
};

use super::Connection;
use crate::{
    fields::Rewrites,
    health,
    listen::Frontend,
    local::{Backend, Local, Routed, Served},
    record::{Details, Protocol, Record},
    request::Request,
    respond::Error,
    route::Question,
    transaction,
    tunnel::ConnectionEnd,
};

/// Before anything is configured for a frontend.
const UNCONFIGURED: ClientTimeouts = ClientTimeouts {
    client: Duration::from_secs(10),
    client_idle: Duration::from_secs(10),
    request_head: Duration::from_secs(10),
};

/// How a request ended, with the client's connection.
pub type Ended = (Stream, ConnectionEnd);

/// Reads and serves one request.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function has what it takes by value in its future twice"
)]
pub fn request(connection: Rc<Connection>, mut client: Stream) -> impl Future<Output = Ended> {
    async move {
        // What has been read ahead belongs to the next request.
        let received = |client: &mut Stream| client.received() - client.input().len() as u64;
        let (came, sent) = (received(&mut client), client.sent());
        let end = transaction(&connection, &mut client).await;
        let counts = connection.frontend.counts.of(connection.local.worker().index());
        counts.bytes_in.add(received(&mut client).saturating_sub(came));
        counts.bytes_out.add(client.sent() - sent);
        (client, end)
    }
}

/// For how long a connection of this frontend may wait for a request.
pub(super) fn idle(local: &Local, frontend: &Frontend) -> Duration {
    timeouts(local.table().served(frontend)).client_idle
}

/// One request, whose first byte is there.
async fn transaction(connection: &Connection, client: &mut Stream) -> ConnectionEnd {
    let Connection { local, frontend, .. } = connection;
    let mut head = local.head();
    let (patience, limits) = {
        let table = local.table();
        let served = table.served(frontend);
        // At most 96 KiB, by the schema.
        let limits = served.map_or_else(Limits::default, |it| {
            Limits::of(it.settings.request_header_max_size as usize)
        });
        let timeouts = timeouts(served);
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
            let question = Question {
                client: Some(connection.peer.ip()),
                request: Some(head.view(&bytes)),
                sni: None,
            };
            let served = table.served(frontend);
            let routed = served.and_then(|it| table.route(it, question));
            let (timeouts, rewrites) = (timeouts(served), served.and_then(|it| it.rewrites));
            let rewrites = rewrites.map(Arc::clone);
            // Checks and statistics are not clients' requests.
            let admitted = match routed {
                Some(Routed::Backend(_)) | None => admit(served, connection, &head),
                Some(Routed::Health(_) | Routed::Stats(_) | Routed::Pac) => Admitted::default(),
            };
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
                Some(Routed::Stats(settings)) => {
                    let read = (&*head, &bytes);
                    let question = page::statistics(&settings, read);
                    page::answer(local, question, read, client, timeouts.client).await
                }
                Some(Routed::Pac) => {
                    let read = (&*head, &bytes);
                    let question = page::pac(frontend, read, client);
                    page::answer(local, question, read, client, timeouts.client).await
                }
                other => {
                    let backend = if let Some(Routed::Backend(backend)) = other {
                        Some(backend)
                    } else {
                        None
                    };
                    let read = (&*head, &bytes);
                    let with = (timeouts, rewrites, admitted);
                    let request = describe(connection, read, client, with, backend.as_deref());
                    transaction::serve(local, &request, backend, client).await
                }
            };
            local.give_head(head);
            end
        }
        Ok(None) => ConnectionEnd::Over,
        Err(Fault::Malformed(malformed)) => {
            refuse(connection, client, &Error::Malformed(malformed)).await
        }
        // Its client has its share.
        Err(Fault::Timeout(Kind::Displaced)) => ConnectionEnd::Abort,
        Err(Fault::Timeout(_)) => refuse(connection, client, &Error::HeadTimeout).await,
        Err(_) => ConnectionEnd::Over,
    }
}

pub(super) fn timeouts(served: Option<Served<'_>>) -> ClientTimeouts {
    served.map_or(UNCONFIGURED, |it| it.settings.timeouts)
}

/// What its frontend's limits say of a request.
#[derive(Clone, Copy)]
struct Admitted {
    refused: Option<Refused>,
    body_most: u64,
}

impl Default for Admitted {
    fn default() -> Self {
        Self { refused: None, body_most: u64::MAX }
    }
}

fn admit(served: Option<Served<'_>>, connection: &Connection, head: &RequestHead) -> Admitted {
    let Connection { local, peer, .. } = connection;
    served.map_or_else(Admitted::default, |it| {
        let limits = &it.settings.limits;
        let clients = local.worker().clients();
        Admitted {
            refused: limits::admit(clients, limits, peer.ip(), head).err(),
            body_most: limits.request_body_max_size.unwrap_or(u64::MAX),
        }
    })
}

/// What its transaction has to know of a request.
fn describe<'a>(
    connection: &'a Connection,
    (head, bytes): (&'a RequestHead, &'a bytes::Bytes),
    client: &Stream,
    (timeouts, rewrites, admitted): (ClientTimeouts, Option<Arc<Rewrites>>, Admitted),
    backend: Option<&Backend>,
) -> Request<'a> {
    let Connection { local, frontend, peer, told, name, http2 } = connection;
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
        frontend_address: frontend.address().ip_or_this_host(),
        protocol: Protocol::of(head.version(), *http2),
        head,
        bytes,
        peer: *peer,
        client: name.as_str(),
        id,
        id_text: OnceCell::new(),
        began: relay::clock::now(),
        max_forwards: forwards.and_then(|it| it.checked_sub(1)),
        ends_here: forwards == Some(0),
        sent_before: client.sent(),
        timeouts,
        told: told.as_deref(),
        rewrites,
        forwarded_for: backend
            .map_or_else(ForwardedFor::default, |it| it.pool.settings.forwarded_for),
        trace,
        refused: admitted.refused,
        body_most: admitted.body_most,
    }
}

/// Answers what is no request, and writes down what can be seen of it.
async fn refuse(connection: &Connection, client: &mut Stream, error: &Error) -> ConnectionEnd {
    let Connection { local, frontend, name, .. } = connection;
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
        client: name.as_str(),
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
        details: Details {
            port: connection.peer.port(),
            frontend: Some(frontend),
            protocol: Protocol::of(Version::default(), connection.http2),
            ..Details::default()
        },
    };
    let trace = local
        .shared()
        .tracer
        .as_ref()
        .and_then(|tracer| tracer.begin(id, None, false, || local.ids().span()));
    local.record(&record, trace.as_ref());
    if written.is_ok() { ConnectionEnd::Close } else { ConnectionEnd::Abort }
}
