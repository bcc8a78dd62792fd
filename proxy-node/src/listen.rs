//! The doors: bound once for the process, served by every worker, opened and closed as the configuration says.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use chassis::Inherited;
use relay::{
    listen::{BindError, Listeners, Options},
    worker::{Phase, Worker},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    connection::{self, Entrance},
    node::Local,
};

/// One door, bound for all workers.
pub struct Door {
    /// What it is.
    pub entrance: Entrance,
    /// Its sockets.
    listeners: Listeners,
}

/// All doors, as the control side sees them. Workers follow.
pub struct Doors {
    workers: usize,
    /// Sockets that outlive this process; a door at the address of one of them uses it.
    inherited: Inherited,
    open: watch::Sender<Arc<Vec<Arc<Door>>>>,
    /// The proxy door of the flags, until the first configuration says whether it is wanted.
    held: Mutex<Option<TcpListener>>,
}

impl Doors {
    /// The relay door, and the proxy door that the flags name, both bound already.
    pub fn new(relay: TcpListener, proxy: TcpListener, workers: usize, inherited: Inherited) -> Result<Self, BindError> {
        let listeners = match relay.local_addr().ok().and_then(|address| inherited.lend_at(address)) {
            Some(lent) => Listeners::adopt(lent, workers)?,
            None => Listeners::share(relay, workers, &Options::default())?,
        };
        let relay = Door { entrance: Entrance::Relay, listeners };
        Ok(Self { workers, inherited, open: watch::Sender::new(Arc::new(vec![Arc::new(relay)])), held: Mutex::new(Some(proxy)) })
    }

    /// Makes the proxy doors those at `wanted`. What cannot be bound is an error, and then nothing changes.
    pub fn reconcile(&self, wanted: &[SocketAddr]) -> Result<(), Vec<BindError>> {
        let now = self.open.borrow().clone();
        let mut next: Vec<Arc<Door>> = now
            .iter()
            .filter(|door| match door.entrance {
                Entrance::Relay => true,
                Entrance::Proxy(bind) => wanted.contains(&bind),
            })
            .cloned()
            .collect();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // A door that nobody wants must not be in the way of one that somebody does.
        let unwanted = held.as_ref().and_then(|held| held.local_addr().ok()).is_some_and(|address| !wanted.contains(&address));
        if unwanted {
            held.take();
        }
        let mut problems = Vec::new();
        for bind in wanted {
            if next.iter().any(|door| door.entrance == Entrance::Proxy(*bind)) {
                continue;
            }
            let held = held.take_if(|held| held.local_addr().is_ok_and(|address| address == *bind));
            let listeners = match (self.inherited.lend_at(*bind), held) {
                (Some(lent), _) => Listeners::adopt(lent, self.workers),
                (None, Some(held)) => Listeners::share(held, self.workers, &Options::default()),
                (None, None) => Listeners::bind(*bind, self.workers, &Options::default()),
            };
            match listeners {
                Ok(listeners) => next.push(Arc::new(Door { entrance: Entrance::Proxy(*bind), listeners })),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            self.open.send_replace(Arc::new(next));
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Addresses of all open doors.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.open.borrow().iter().map(|door| door.listeners.local_addr()).collect()
    }

    /// For workers.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<Vec<Arc<Door>>>> {
        self.open.subscribe()
    }
}

/// A worker's part: serves every door until the drain closes them.
pub async fn serve(worker: Worker, local: Rc<Local>, mut doors: watch::Receiver<Arc<Vec<Arc<Door>>>>) {
    let mut serving: HashMap<Entrance, JoinHandle<()>> = HashMap::new();
    loop {
        let open = doors.borrow_and_update().clone();
        serving.retain(|entrance, accepting| {
            let wanted = open.iter().any(|door| door.entrance == *entrance);
            if !wanted {
                // Connections go on; only the listener goes.
                accepting.abort();
            }
            wanted
        });
        for door in open.iter() {
            serving.entry(door.entrance).or_insert_with(|| accept(&worker, &local, door));
        }
        tokio::select! {
            () = worker.reached(Phase::Closing) => break,
            changed = doors.changed() => if changed.is_err() {
                worker.reached(Phase::Closing).await;
                break;
            }
        }
    }
    for accepting in serving.into_values() {
        // It empties its backlog and ends by itself.
        drop(accepting.await);
    }
}

fn accept(worker: &Worker, local: &Rc<Local>, door: &Arc<Door>) -> JoinHandle<()> {
    let (worker, local, door) = (worker.clone(), local.clone(), door.clone());
    tokio::task::spawn_local(async move {
        let entrance = door.entrance;
        let listener = match door.listeners.take(&worker) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(?entrance, worker = worker.index(), %error, "this worker does not serve a door"),
        };
        drop(door);
        let serving = worker.clone();
        serving.serve(listener, move |_, stream, peer| connection::serve(local.clone(), stream, peer, entrance)).await;
    })
}
