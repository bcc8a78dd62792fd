//! One client connection: the proof that a relay listener demands, then request after request.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Buf;
use dataplane::{
    connection::{self, ConnectionEnd},
    scratch::Runners,
    trace::Onward,
};
use relay::{
    fault::Fault,
    head::Limits,
    proof::{self, Confirmation},
    proxy_protocol::{Command, Header},
    stream::{Patience, Stream},
    wheel::{Kind, Timer},
};

use crate::{
    clock::unix_millis,
    dispatch::{self, Accounted},
    local::Local,
    node::Node,
    protocol::{LINGER, Protocol},
    request::Sender,
    respond::{self, Circumstances, Error},
    transaction::{Request, Transaction},
    tunnel,
};

/// How long a connection may take to prove itself.
const PROOF: Duration = Duration::from_secs(5);
/// A connection that a balancer pools is the balancer's to close; this only bounds what a lost peer
/// costs.
const POOLED_IDLE: Duration = Duration::from_secs(3600);

/// How a request ended, with the client's connection.
type Ended = (Stream, ConnectionEnd<Box<tunnel::Open>>);

/// A request of which nothing was read yet: the connection that it comes on, and whose it is.
type Incoming = (Rc<Local>, Stream, Sender, IpAddr, Protocol);

/// What serves the requests of a worker's connections.
pub type Requests = Runners<Incoming, Ended>;

/// What serves them as [`request`] does.
#[must_use]
pub fn requests() -> Requests {
    Runners::new(request)
}

/// Serves a connection to its end.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function has what it takes by value in its future twice; an idle \
              connection is little more than this future"
)]
pub fn serve(
    local: Rc<Local>,
    mut stream: Stream,
    peer: SocketAddr,
    protocol: Protocol,
    requests: Rc<Requests>,
) -> impl Future<Output = ()> {
    async move {
        local.node.metrics.active_connections.add(1);
        let _open = Open(local.clone());
        if protocol == Protocol::Relay {
            // A balancer that closes has left: it never only says that its request was all.
            stream.set_whole();
        }
        // Boxed, as everything that does not last: thousands of idle connections should cost
        // little.
        let entered = Box::pin(enter(&local, &mut stream, peer, protocol)).await;
        let Some((sender, source)) = entered else { return };
        let idle = || match sender {
            Sender::BalancerPooled | Sender::Node => (Kind::Pooled, POOLED_IDLE),
            _ => (Kind::Idle, local.node.current.load().document.timeouts.client_idle),
        };
        let request = |stream| (local.clone(), stream, sender, source, protocol);
        loop {
            let served = connection::serve(stream, &requests, &LINGER, &idle, &request).await;
            let Some((client, open)) = served else { return };
            let outlives = Box::pin(tunnel::run(&local, client, open)).await;
            let Some(outlives) = outlives else { return };
            stream = outlives;
        }
    }
}

/// Counts a connection as open.
struct Open(Rc<Local>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.node.metrics.active_connections.subtract(1);
    }
}

/// Who sends on this connection, once the listener has what it demands. `None`: closed without a
/// word.
async fn enter(
    local: &Local,
    stream: &mut Stream,
    peer: SocketAddr,
    protocol: Protocol,
) -> Option<(Sender, IpAddr)> {
    let header = match protocol {
        Protocol::Relay => {
            let proved = Timer::new(local.worker.wheel())
                .within(Kind::Head, PROOF, prove(local, stream))
                .await;
            let header = proved.unwrap_or(Err(Stranger::NoProof));
            if let Err(stranger) = header {
                refused(&local.node, peer, stranger);
                return None;
            }
            // A balancer's connections are many clients', and it bounds them itself.
            stream.exempt();
            header.ok()?
        }
        Protocol::Proxy(bind) => {
            let generation = local.node.current.load_full();
            let trusted = generation.trusted_downstreams.contains(peer.ip());
            if trusted {
                stream.exempt();
            }
            let listen = generation.document.listen.iter().find(|listen| listen.bind == bind);
            if !listen.is_some_and(|listen| listen.proxy_protocol) {
                return Some((Sender::Client, peer.ip().to_canonical()));
            }
            if !trusted {
                return None;
            }
            stream.read_proxy_header(PROOF).await?.0
        }
    };
    let source =
        header.addresses.map_or(peer.ip(), |addresses| addresses.source.ip()).to_canonical();
    let sender = match (protocol, header.command) {
        (Protocol::Proxy(_), _) => Sender::Client,
        (Protocol::Relay, Command::Local) if header.of_node => Sender::Node,
        (Protocol::Relay, Command::Local) => Sender::BalancerPooled,
        (Protocol::Relay, Command::Proxy) => Sender::BalancerForOne,
    };
    Some((sender, source))
}

/// Who is no balancer of ours.
#[derive(Clone, Copy)]
enum Stranger {
    /// It did not begin as a balancer of this version does, or left.
    NoProof,
    /// What it sent proves nothing.
    WrongProof,
}

/// Both sides prove that they hold the cluster key: ours is sent first, so that a balancer sends
/// nothing to somebody who has it not.
async fn prove(local: &Local, stream: &mut Stream) -> Result<Header, Stranger> {
    let (header, bytes) = stream.read_proxy_header(PROOF).await.ok_or(Stranger::NoProof)?;
    if header.nonce.is_none() {
        return Err(Stranger::NoProof);
    }
    let nonce = stream.worker().nonce().map_err(|_| Stranger::NoProof)?;
    let (key, name) = (&local.node.cluster_key, &local.node.name);
    stream
        .write_all(&[&proof::answer(key, name, &nonce, &bytes)], PROOF)
        .await
        .map_err(|_| Stranger::NoProof)?;
    while stream.input().len() < size_of::<Confirmation>() {
        if !matches!(stream.fill(Kind::Head, PROOF).await, Ok(1..)) {
            // It has seen our proof and says no more: it is of another key, or we are.
            return Err(Stranger::WrongProof);
        }
    }
    let mut confirmation = Confirmation::default();
    stream.input().copy_to_slice(&mut confirmation);
    if proof::confirms(key, name, &nonce, &bytes, &confirmation) {
        Ok(header)
    } else {
        Err(Stranger::WrongProof)
    }
}

/// Counts and says who was turned away at the relay listener.
fn refused(node: &Node, peer: SocketAddr, stranger: Stranger) {
    node.metrics.relay_refused.add(1);
    if matches!(stranger, Stranger::NoProof) {
        return tracing::debug!(%peer, "no PROXY header that a proof could follow");
    }
    node.metrics.wrong_proofs.add(1);
    if node.refusals.is_due(node.steady.seconds()) {
        let so_far = node.metrics.wrong_proofs.get();
        tracing::warn!(%peer, so_far, "refused at the relay listener: the peer has another cluster \
            key than this node, or means a node of another name; a balancer that is refused sends \
            nothing here");
    }
}

/// Reads and answers one request.
fn request(incoming: Incoming) -> impl Future<Output = Ended> {
    let (local, mut stream, sender, source, protocol) = incoming;
    async move {
        let end = answer(&local, &mut stream, sender, source, protocol).await;
        (stream, end)
    }
}

async fn answer(
    local: &Rc<Local>,
    stream: &mut Stream,
    sender: Sender,
    source: IpAddr,
    protocol: Protocol,
) -> ConnectionEnd<Box<tunnel::Open>> {
    let generation = local.node.current.load_full();
    let timeouts = &generation.document.timeouts;
    let mut head = local.heads.take();
    let patience =
        Patience { idle_kind: Kind::Idle, idle: timeouts.client_idle, head: timeouts.request_head };
    // At most 96 KiB, by the schema. What a balancer has read is larger by what it adds.
    let limits = Limits::of(generation.document.request_header_max_size as usize);
    let limits = if sender == Sender::Client { limits } else { limits.with_room() };
    let bytes = match stream.read_request(&mut head, &limits, &patience).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return ConnectionEnd::Abort,
        Err(fault) => return Box::pin(unreadable(local, stream, source, fault)).await,
    };
    let mut request = Request { head, bytes, onward: Onward::default() };
    let sent_before = stream.sent();
    let mut transaction = Transaction::new(local, generation, sender, source, &mut request);
    // By reference: what an async function takes by value is in its future twice, and the future of
    // a request is copied once for each.
    let (end, accounted) = dispatch::run(&mut transaction, stream, &request, protocol).await;
    let client_is_done = request.head.is_last() && stream.input().is_empty();
    let framed = tunnel::framed(sender, &request);
    local.heads.give(request.head);
    match end.tunnel() {
        Ok(upstream) => ConnectionEnd::Tunnel(Box::new(tunnel::Open::new(
            transaction,
            upstream,
            framed,
            sent_before,
        ))),
        Err(end) => {
            if accounted == Accounted::Yes {
                transaction.finish(stream.sent().saturating_sub(sent_before));
            }
            match end {
                ConnectionEnd::Close if accounted == Accounted::Yes => {
                    ConnectionEnd::answered(false, client_is_done)
                }
                end => end,
            }
        }
    }
}

/// Answers a request whose head cannot be read, where somebody is there to hear it.
async fn unreadable<T>(
    local: &Local,
    stream: &mut Stream,
    source: IpAddr,
    fault: Fault,
) -> ConnectionEnd<T> {
    let failure = match fault {
        Fault::Malformed(malformed) => Error::Malformed(malformed),
        // Its client has its share.
        Fault::Timeout(Kind::Displaced) => return ConnectionEnd::Abort,
        Fault::Timeout(_) => Error::RequestTimeout,
        _ => return ConnectionEnd::Abort,
    };
    let node = &local.node;
    node.metrics.requests.add(1);
    node.metrics.errors.add(1);
    node.answers.of(local.worker.index()).note(failure.status(), None);
    let generation = node.current.load_full();
    let millis = unix_millis();
    let now = UNIX_EPOCH + Duration::from_millis(millis);
    let id = local.ids.next(now);
    let (client, id_text) = (source.to_string(), id.to_string());
    let circumstances = Circumstances {
        node: &node.name,
        visible_hostname: &generation.document.visible_hostname,
        revision: &generation.revision,
        request_id: &id_text,
        url: "",
        method: "",
        client: &client,
        rule: "",
        page: None,
    };
    let mut out = Vec::new();
    respond::write(&mut out, failure, &circumstances, now, false, true);
    let written = stream.write_all(&[&out], generation.document.timeouts.write).await;
    if generation.logged {
        let (method, url) = dataplane::unreadable::request_line(stream.input());
        let record = crate::record::Record {
            id,
            method: method.into(),
            url: url.into(),
            ended_at: millis,
            client: Some(source),
            outcome: crate::record::Outcome::None,
            status: failure.status(),
            bytes: out.len() as u64,
            media_type: "text/html".into(),
            ..Default::default()
        };
        node.recorder.record(record);
    }
    if written.is_ok() { ConnectionEnd::Close } else { ConnectionEnd::Abort }
}
