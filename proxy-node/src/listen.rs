//! Where clients, balancers and other nodes come in ([`dataplane::listen`]), and what is spoken
//! there.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use chassis::{Inherited, Predecessor, takeover::Handed};
use cluster_config::document::proxy::Listen;
use dataplane::listen::{Listening, Open, Ready, Wanted, accept};
use relay::{
    listen::{Address, BindError, unix::Access},
    worker::Worker,
};
use tokio::sync::watch;

use crate::{connection, local::Local, protocol::Protocol};

/// What workers follow: what is open, and how many of them accept.
pub type Follow = (watch::Receiver<Open<Protocol>>, watch::Receiver<usize>);

/// What sockets are handed over as.
const LISTENER: &str = "listener";

/// Where a listener of the flags is.
pub enum Entrance {
    /// Bound exclusively by this process.
    Bound(TcpListener),
    /// A predecessor listens there, and hands its sockets over.
    Resumed(SocketAddr),
}

impl Entrance {
    /// The address with its real port.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Bound(listener) => listener.local_addr(),
            Self::Resumed(address) => Ok(*address),
        }
    }
}

/// Owns the listeners of the process. Workers follow.
pub struct Listeners {
    listening: Listening<Protocol>,
    /// The proxy listener of the flags, until the first configuration says whether it is wanted.
    held: Arc<Mutex<Option<TcpListener>>>,
}

impl Listeners {
    /// The relay listener, and the proxy listener that the flags name, both bound already, or to
    /// be had of a predecessor. Where there is one, nobody accepts until they
    /// [begin](Self::begin).
    ///
    /// # Errors
    /// The other workers cannot listen there.
    pub fn new(
        relay: Entrance,
        proxy: Entrance,
        workers: usize,
        (inherited, predecessor): (Inherited, Option<Predecessor>),
    ) -> Result<Self, BindError> {
        let taken = |address: SocketAddr| {
            let sockets = predecessor.as_ref()?.take(LISTENER, &address.to_string());
            Ready::resumed(&address.into(), sockets)
        };
        let lent = |address| inherited.lend_at(address).map(Ready::Inherited);
        let relay = match relay {
            Entrance::Resumed(address) => {
                taken(address).or_else(|| lent(address)).ok_or(BindError::NotLocal(address))?
            }
            Entrance::Bound(bound) => {
                bound.local_addr().ok().and_then(lent).unwrap_or(Ready::Bound(bound))
            }
        };
        let held = match proxy {
            Entrance::Bound(proxy) => Some(proxy),
            Entrance::Resumed(_) => None,
        };
        let held = Arc::new(Mutex::new(held));
        let (bound, takes_over) = (Arc::clone(&held), predecessor.is_some());
        let find = move |address: &Address| {
            let handed = predecessor.as_ref().map(|it| it.take(LISTENER, &address.to_string()));
            if let Some(resumed) = handed.and_then(|it| Ready::resumed(address, it)) {
                return Some(resumed);
            }
            let address = address.ip()?;
            let held = take_if(&bound, |at| at == address).map(Ready::Bound);
            inherited.lend_at(address).map(Ready::Inherited).or(held)
        };
        let listening = Listening::new(workers, Box::new(find)).always(relay, Protocol::Relay)?;
        let listening = if takes_over { listening.held() } else { listening };
        Ok(Self { listening, held })
    }

    /// The workers accept from now on.
    pub fn begin(&self) {
        self.listening.begin();
    }

    /// Duplicates of all sockets, for a successor.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn handed(&self) -> io::Result<Vec<Handed>> {
        let handed = self.listening.handed()?.into_iter().map(|it| Handed {
            purpose: LISTENER.to_owned(),
            which: it.asked.to_string(),
            descriptors: it.sockets,
        });
        Ok(handed.filter(|it| !it.descriptors.is_empty()).collect())
    }

    /// A successor accepts from now on.
    pub fn hand_over(&self) {
        self.listening.hand_over();
    }

    /// Makes the proxy listeners those that are `wanted`. What cannot be bound is an error, and
    /// then nothing changes.
    ///
    /// # Errors
    /// Every address that cannot be bound.
    pub fn reconcile(&self, wanted: &[Listen]) -> Result<(), Vec<BindError>> {
        // A socket that nobody wants must not be in the way of one that somebody does.
        drop(take_if(&self.held, |at| !wanted.iter().any(|listen| listen.bind == at)));
        let listeners = wanted.iter().map(|it| Wanted {
            name: "",
            bind: it.bind.into(),
            access: Access::OWN,
            limits: it.limits,
            moves: false,
        });
        let serve = |place: usize, _: &Address, _: Option<&_>| {
            Arc::new(Protocol::Proxy(wanted[place].bind))
        };
        let change = self.listening.prepare(listeners, |_| "", serve).map_err(|problems| {
            problems.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>()
        })?;
        self.listening.publish(&change);
        Ok(())
    }

    /// Addresses of all listeners.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listening.addresses()
    }

    #[must_use]
    pub fn follow(&self) -> Follow {
        (self.listening.follow(), self.listening.at_work())
    }

    /// Has so many workers accept; none: all.
    pub fn employ(&self, workers: Option<u16>) {
        self.listening.employ(workers);
    }
}

fn take_if(
    held: &Mutex<Option<TcpListener>>,
    by: impl Fn(SocketAddr) -> bool,
) -> Option<TcpListener> {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    held.take_if(|held| held.local_addr().is_ok_and(by))
}

/// A worker's part: serves every listener until the drain closes them.
pub async fn serve(worker: Worker, local: Rc<Local>, follow: Follow) {
    let requests = Rc::new(connection::requests());
    accept(&worker, follow, |listener| {
        let (local, requests) = (local.clone(), requests.clone());
        move |_, stream, peer| {
            let (local, requests) = (local.clone(), requests.clone());
            connection::serve(local, stream, peer, **listener.served(), requests)
        }
    })
    .await;
}
