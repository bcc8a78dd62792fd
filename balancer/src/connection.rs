//! One client's connection, from its first byte to its end.

pub mod http;
pub mod tcp;

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use cluster_config::document::balancer::Mode;
use dataplane::{
    connection::{self, Linger},
    scratch::Futures,
};
use relay::{stream::Stream, wheel::Kind};

use self::http::Ended;
use crate::{
    listen::{Frontend, Listener},
    local::Local,
    stats::Raised,
    tunnel,
};

/// What a refused client still sends is read, up to this much and for this long, so that it reads
/// the answer (RFC 9112 §9.6).
const LINGER: Linger = Linger { bytes: 256 * 1024, time: Duration::from_secs(1) };

/// Whose connection it is, and where it came in.
pub struct Connection {
    pub local: Local,
    pub frontend: Arc<Frontend>,
    pub peer: SocketAddr,
    /// The client's address as text.
    name: Text,
}

impl Connection {
    fn new(local: &Local, frontend: &Arc<Frontend>, peer: SocketAddr) -> Rc<Self> {
        let (local, frontend) = (local.clone(), Arc::clone(frontend));
        Rc::new(Self { local, frontend, peer, name: Text::of(peer.ip().to_canonical()) })
    }
}

/// Serves a connection to its end. `request` is [`http::request`]; what it makes is kept in
/// `requests`.
pub async fn serve<F: Future<Output = Ended>>(
    local: Local,
    listener: Arc<Listener>,
    mut client: Stream,
    peer: SocketAddr,
    requests: Rc<Futures<F>>,
    request: fn(Rc<Connection>, Stream) -> F,
) {
    let opened = Arc::clone(&listener.served());
    let counts = opened.counts.of(local.worker().index());
    counts.connections.up();
    let _active = Raised::new(&counts.active_connections);
    let (mode, peer) = match enter(&local, &listener, &mut client, peer) {
        Entry::Open(mode) => (mode, peer),
        // On the heap, as everything that few connections need.
        Entry::Said(mode, within) => {
            match Box::pin(said(&listener, &mut client, peer, within)).await {
                Some(client) => (mode, client),
                None => return counts.refused.up(),
            }
        }
    };
    if mode == Mode::Tcp {
        return Box::pin(tcp::serve(Connection::new(&local, &opened, peer), client)).await;
    }
    let connection = RefCell::new(Connection::new(&local, &opened, peer));
    let idle = || (Kind::Idle, http::idle(&local, &connection.borrow().frontend));
    let request = |client| {
        let mut connection = connection.borrow_mut();
        // What is served here may have changed while the connection idled.
        if !Arc::ptr_eq(&listener.served(), &connection.frontend) {
            *connection = Connection::new(&local, &listener.served(), peer);
        }
        request(Rc::clone(&connection), client)
    };
    let served = connection::serve(client, &requests, LINGER, idle, request).await;
    if let Some((client, open)) = served {
        let frontend = Arc::clone(&connection.borrow().frontend);
        Box::pin(tunnel::run(&local, &frontend, client, peer, open)).await;
    }
}

/// What a connection has to begin with.
enum Entry {
    /// What is spoken here.
    Open(Mode),
    /// The PROXY header of a load balancer in front, within this time; then that.
    Said(Mode, Duration),
}

fn enter(local: &Local, listener: &Listener, client: &mut Stream, peer: SocketAddr) -> Entry {
    let table = local.table();
    let frontend = listener.served();
    let Some(served) = table.served(&frontend) else { return Entry::Open(Mode::Http) };
    let settings = served.settings;
    let address = peer.ip().to_canonical();
    if !settings.proxy_protocol.iter().any(|network| network.contains(&address)) {
        return Entry::Open(settings.mode);
    }
    // Its connections are many clients', each of which is counted as soon as it is known.
    client.exempt();
    Entry::Said(settings.mode, settings.timeouts.request_head)
}

/// Whose connection it is, as the load balancer in front says. None: it says nothing of the kind,
/// or that client has its share.
async fn said(
    listener: &Listener,
    client: &mut Stream,
    peer: SocketAddr,
    within: Duration,
) -> Option<SocketAddr> {
    let (header, _) = client.read_proxy_header(within).await?;
    // A connection of its own, such as a check, is its own.
    let source = header.addresses.map_or(peer, |addresses| addresses.source);
    client.enter(source.ip(), listener.allowance()).then_some(source)
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
