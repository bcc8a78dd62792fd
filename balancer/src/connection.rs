//! One client's connection, from its first byte to its end.

pub mod http;
pub mod http2;
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
    scratch::Runners,
};
use relay::{fault::Fault, head::Version, listen::is_of_this_host, stream::Stream, wheel::Kind};

use self::http::Ended;
use crate::{
    listen::{Frontend, Listener},
    local::Local,
    record::{self, Details, Protocol, Record},
    stats::Raised,
    tls::{Acceptor, told::Told},
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
    /// What TLS told of the client.
    pub told: Option<Rc<Told>>,
    /// Its requests come as streams of HTTP/2.
    pub http2: bool,
    /// The client's address as text.
    name: Text,
}

impl Connection {
    fn new(
        local: &Local,
        frontend: &Arc<Frontend>,
        peer: SocketAddr,
        told: Option<Rc<Told>>,
    ) -> Rc<Self> {
        Rc::new(Self::of(local, frontend, peer, told))
    }

    fn over_http2(
        local: &Local,
        frontend: &Arc<Frontend>,
        peer: SocketAddr,
        told: Option<Rc<Told>>,
    ) -> Rc<Self> {
        Rc::new(Self { http2: true, ..Self::of(local, frontend, peer, told) })
    }

    fn of(
        local: &Local,
        frontend: &Arc<Frontend>,
        peer: SocketAddr,
        told: Option<Rc<Told>>,
    ) -> Self {
        let (local, frontend) = (local.clone(), Arc::clone(frontend));
        let name = Text::of(peer.ip().to_canonical());
        Self { local, frontend, peer, told, http2: false, name }
    }
}

/// What serves the requests of a worker's connections.
pub type Requests = Runners<(Rc<Connection>, Stream), Ended>;

/// What serves them as [`http::request`] does.
#[must_use]
pub fn requests() -> Requests {
    Runners::new(|(connection, client)| http::request(connection, client))
}

/// Serves a connection to its end.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function has what it takes by value in its future twice; an idle \
              connection is little more than this future"
)]
pub fn serve(
    local: Local,
    listener: Arc<Listener>,
    mut client: Stream,
    mut peer: SocketAddr,
    requests: Rc<Requests>,
) -> impl Future<Output = ()> {
    async move {
        let opened = Arc::clone(&listener.served());
        let counts = opened.counts.of(local.worker().index());
        counts.connections.up();
        let _active = Raised::new(&counts.active_connections);
        let (mode, http2, entry) = Entry::of(&local, &listener, peer).parts();
        // On the heap, as everything that few connections need.
        if let Some(entry) = entry {
            match Box::pin(entry.pass(&listener, client, peer)).await {
                Ok(passed) => (client, peer) = passed,
                Err(refused) => {
                    counts.refused.up();
                    return refused.record(&local, &opened);
                }
            }
        }
        let told = Told::of(&client);
        if mode == Mode::Tcp {
            return Box::pin(tcp::serve(Connection::new(&local, &opened, peer, told), client))
                .await;
        }
        if http2 && Box::pin(http2::is_spoken(&local, &opened, &mut client)).await {
            let entrance = http2::Entrance::new(&local, &listener, &opened, (peer, told));
            return Box::pin(http2::serve(entrance, client, requests)).await;
        }
        let connection = RefCell::new(Connection::new(&local, &opened, peer, told));
        let idle = || (Kind::Idle, http::idle(&local, &connection.borrow().frontend));
        let request = |client| {
            let mut connection = connection.borrow_mut();
            // What is served here may have changed while the connection idled.
            if !Arc::ptr_eq(&listener.served(), &connection.frontend) {
                let told = connection.told.clone();
                *connection = Connection::new(&local, &listener.served(), peer, told);
            }
            (Rc::clone(&connection), client)
        };
        let served = connection::serve(client, &requests, &LINGER, &idle, &request).await;
        if let Some((client, open)) = served {
            let frontend = Arc::clone(&connection.borrow().frontend);
            Box::pin(tunnel::run(&local, &frontend, client, peer, open)).await;
        }
    }
}

/// What a connection has to begin with, before what is spoken here.
struct Entry {
    mode: Mode,
    /// A load balancer in front says whose it is.
    proxied: bool,
    /// TLS.
    acceptor: Option<Arc<Acceptor>>,
    /// HTTP/2 may be spoken.
    http2: bool,
    /// Each of them within this time.
    within: Duration,
}

impl Entry {
    fn of(local: &Local, listener: &Listener, peer: SocketAddr) -> Self {
        let table = local.table();
        let Some(served) = table.served(&listener.served()) else {
            let (mode, within) = (Mode::Http, Duration::ZERO);
            return Self { mode, proxied: false, acceptor: None, http2: false, within };
        };
        let (settings, address) = (served.settings, peer.ip().to_canonical());
        Self {
            mode: settings.mode,
            proxied: if is_of_this_host(address) {
                settings.proxy_protocol_unix
            } else {
                settings.proxy_protocol.iter().any(|network| network.contains(&address))
            },
            acceptor: served.acceptor.map(Arc::clone),
            http2: http2::may_be_spoken(settings),
            within: settings.timeouts.request_head,
        }
    }

    /// What is spoken, whether that may be HTTP/2, and what comes before; none: nothing does.
    fn parts(self) -> (Mode, bool, Option<Box<Self>>) {
        let open = !self.proxied && self.acceptor.is_none();
        (self.mode, self.http2, (!open).then(|| Box::new(self)))
    }

    /// The connection behind it, and whose it is. An error: it began otherwise, or not in time, or
    /// its client has its share.
    async fn pass(
        self,
        listener: &Listener,
        mut client: Stream,
        mut peer: SocketAddr,
    ) -> Result<(Stream, SocketAddr), Refused<'static>> {
        let refused = |peer, error| Refused { peer, error, http2: None };
        if self.proxied {
            // Its connections are many clients', each of which is counted as soon as it is known.
            client.exempt();
            let header = client.read_proxy_header(self.within).await;
            // A connection that says nothing is a check, as load balancers make them.
            let said = (client.received() > 0).then_some(record::Error::ProxyHeader);
            let (header, _) = header.ok_or(refused(peer, said))?;
            // A connection of its own, such as a check, is its own.
            peer = header.addresses.map_or(peer, |addresses| addresses.source);
            if !client.enter(peer.ip(), listener.allowance()) {
                return Err(refused(peer, None));
            }
        }
        if let Some(acceptor) = self.acceptor {
            let accepted = client.accept_tls(acceptor.config(), self.within).await;
            client = accepted.map_err(|fault| {
                // Whoever only connects and leaves is a check.
                let left = matches!(fault, Fault::Closed | Fault::Reset);
                refused(peer, (!left).then_some(record::Error::Handshake))
            })?;
        }
        Ok((client, peer))
    }
}

/// What a client is refused before there is a request: its connection, or a stream of it.
struct Refused<'a> {
    peer: SocketAddr,
    /// None: there is nothing to be said of it.
    error: Option<record::Error>,
    /// Method and target, as far as they can be seen, where HTTP/2 is spoken.
    http2: Option<(&'a str, &'a str)>,
}

impl Refused<'_> {
    /// Writes it down, as far as there have not been too many: who is refused costs nothing and may
    /// come as often as it likes.
    fn record(&self, local: &Local, frontend: &Frontend) {
        let Some(error) = self.error.filter(|_| local.may_record_refusal()) else { return };
        let name = Text::of(self.peer.ip().to_canonical());
        let (method, target) = self.http2.unwrap_or_default();
        let record = Record {
            id: local.ids().next(relay::clock::wall()),
            client: name.as_str(),
            frontend: &frontend.name,
            method,
            target,
            status: 0,
            bytes: 0,
            took: Duration::ZERO,
            server: "",
            attempts: 0,
            error: Some(error),
            details: Details {
                port: self.peer.port(),
                frontend: Some(frontend),
                protocol: Protocol::of(Version::default(), self.http2.is_some()),
                ..Details::default()
            },
        };
        local.record(&record, None);
    }
}

/// A client's address as text; who came through a file has none.
struct Text(Storage);

enum Storage {
    /// Of IPv4, whose longest has 15 characters: without an allocation, and small enough for what
    /// the allocator has left beside the tasks of connections ([`Connection`] has 88 bytes).
    Here {
        bytes: [u8; 15],
        length: u8,
    },
    Heap(Box<str>),
}

impl Text {
    fn of(address: IpAddr) -> Self {
        use std::io::Write as _;
        if is_of_this_host(address) {
            return Self(Storage::Heap("unix".into()));
        }
        let mut bytes = [0; 15];
        let mut rest = &mut bytes[..];
        if address.is_ipv4() && write!(rest, "{address}").is_ok() {
            let length = (15 - rest.len()) as u8;
            return Self(Storage::Here { bytes, length });
        }
        Self(Storage::Heap(address.to_string().into()))
    }

    fn as_str(&self) -> &str {
        match &self.0 {
            Storage::Here { bytes, length } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default()
            }
            Storage::Heap(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_address_is_text() {
        for text in ["1.2.3.4", "255.255.255.255", "2001:db8::1", "ffff::1:2:3:4:5:6"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Text::of(address).as_str(), address.to_string());
        }
        assert_eq!(Text::of(relay::listen::THIS_HOST).as_str(), "unix");
    }

    #[test]
    fn what_an_idle_connection_has_beside_its_task_is_small() {
        // With the two counts of an `Rc` and a word of the allocator's 112.
        assert!(size_of::<Connection>() <= 88, "{}", size_of::<Connection>());
    }
}
