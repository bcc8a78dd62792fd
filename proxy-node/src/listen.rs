//! Where clients, balancers and other nodes come in ([`dataplane::listen`]), and what is spoken
//! there.

use std::{
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use chassis::Inherited;
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

/// Owns the listeners of the process. Workers follow.
pub struct Listeners {
    listening: Listening<Protocol>,
    /// The proxy listener of the flags, until the first configuration says whether it is wanted.
    held: Arc<Mutex<Option<TcpListener>>>,
}

impl Listeners {
    /// The relay listener, and the proxy listener that the flags name, both bound already.
    ///
    /// # Errors
    /// The other workers cannot listen there.
    pub fn new(
        relay: TcpListener,
        proxy: TcpListener,
        workers: usize,
        inherited: Inherited,
    ) -> Result<Self, BindError> {
        let lent = relay.local_addr().ok().and_then(|address| inherited.lend_at(address));
        let relay = lent.map_or(Ready::Bound(relay), Ready::Inherited);
        let held = Arc::new(Mutex::new(Some(proxy)));
        let bound = Arc::clone(&held);
        let find = move |address: &Address| {
            let address = address.ip()?;
            let held = take_if(&bound, |at| at == address).map(Ready::Bound);
            inherited.lend_at(address).map(Ready::Inherited).or(held)
        };
        let listening = Listening::new(workers, Box::new(find)).always(relay, Protocol::Relay)?;
        Ok(Self { listening, held })
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
