//! The doors: bound once for the process, served by every worker, opened and closed as the
//! configuration says.

use std::{
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use chassis::Inherited;
use cluster_config::document::proxy::Listen;
use relay::{
    listen::{BindError, Listeners, Named, Options, Step, overlap, plan},
    worker::{Phase, Worker},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

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

impl Door {
    fn proxy(bind: SocketAddr, listeners: Listeners) -> Arc<Self> {
        Arc::new(Self { entrance: Entrance::Proxy(bind), listeners })
    }

    fn named(&self) -> Option<Named<'static>> {
        let Entrance::Proxy(asked) = self.entrance else { return None };
        Some(("", asked))
    }
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
    pub fn new(
        relay: TcpListener,
        proxy: TcpListener,
        workers: usize,
        inherited: Inherited,
    ) -> Result<Self, BindError> {
        let listeners = match relay.local_addr().ok().and_then(|address| inherited.lend_at(address))
        {
            Some(lent) => Listeners::adopt(lent, workers)?,
            None => Listeners::share(relay, workers, &Options::default())?,
        };
        // A client at the address of a balancer must not take the balancer's connections.
        listeners.allowance().set_apart();
        let relay = Door { entrance: Entrance::Relay, listeners };
        Ok(Self {
            workers,
            inherited,
            open: watch::Sender::new(Arc::new(vec![Arc::new(relay)])),
            held: Mutex::new(Some(proxy)),
        })
    }

    /// Makes the proxy doors those that are `wanted`. What cannot be bound is an error, and then
    /// nothing changes. What is bound anew listens before anything is closed: workers see to it.
    pub fn reconcile(&self, wanted: &[Listen]) -> Result<(), Vec<BindError>> {
        let now = self.open.borrow().clone();
        let (mut next, before): (Vec<Arc<Door>>, Vec<Arc<Door>>) =
            now.iter().cloned().partition(|door| matches!(door.entrance, Entrance::Relay));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // A door that nobody wants must not be in the way of one that somebody does.
        let unwanted = |address| !wanted.iter().any(|listen| listen.bind == address);
        drop(held.take_if(|held| held.local_addr().is_ok_and(unwanted)));
        let open: Vec<_> = before.iter().filter_map(|door| door.named()).collect();
        let steps = plan(&open, &wanted.iter().map(|listen| ("", listen.bind)).collect::<Vec<_>>());
        let mut problems = Vec::new();
        for (Listen { bind, .. }, step) in wanted.iter().zip(steps) {
            let held = held.take_if(|held| held.local_addr().is_ok_and(|address| address == *bind));
            let opened = match step {
                Step::Keep(index) => Ok(before[index].clone()),
                // The door for balancers is no part of this, and stays what it is.
                Step::Bind
                    if next.iter().any(|door| {
                        door.entrance == Entrance::Relay
                            && overlap(door.listeners.local_addr(), *bind)
                    }) =>
                {
                    Err(BindError::InUse(*bind))
                }
                Step::Bind => self.bind(*bind, held).map(|listeners| Door::proxy(*bind, listeners)),
            };
            match opened {
                Ok(door) => next.push(door),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        for door in &next {
            let limits = wanted
                .iter()
                .find(|listen| door.entrance == Entrance::Proxy(listen.bind))
                .map(|listen| listen.limits);
            let limits = limits.unwrap_or_default();
            door.listeners.allowance().set(&dataplane::limits::bounds(&limits));
        }
        self.open.send_replace(Arc::new(next));
        Ok(())
    }

    fn bind(&self, bind: SocketAddr, held: Option<TcpListener>) -> Result<Listeners, BindError> {
        match (self.inherited.lend_at(bind), held) {
            (Some(lent), _) => Listeners::adopt(lent, self.workers),
            (None, Some(held)) => Listeners::share(held, self.workers, &Options::default()),
            (None, None) => Listeners::open(bind, self.workers, &Options::default()),
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

/// A door that a worker serves. Dropping it ends that; its connections go on.
struct Serving {
    door: Arc<Door>,
    task: JoinHandle<()>,
    _wanted: oneshot::Sender<()>,
}

/// A worker's part: serves every door until the drain closes them.
pub async fn serve(
    worker: Worker,
    local: Rc<Local>,
    mut doors: watch::Receiver<Arc<Vec<Arc<Door>>>>,
) {
    let mut serving: Vec<Serving> = Vec::new();
    loop {
        let open = doors.borrow_and_update().clone();
        for door in open.iter() {
            if !serving.iter().any(|it| Arc::ptr_eq(&it.door, door)) {
                serving.extend(accept(&worker, &local, door));
            }
        }
        // Last, so that no port is closed in between; each empties its backlog.
        serving.retain(|it| open.iter().any(|door| Arc::ptr_eq(door, &it.door)));
        tokio::select! {
            () = worker.reached(Phase::Closing) => break,
            changed = doors.changed() => if changed.is_err() {
                worker.reached(Phase::Closing).await;
                break;
            }
        }
    }
    for door in serving {
        // It empties its backlog and ends by itself.
        drop(door.task.await);
    }
}

/// Listens from now on.
fn accept(worker: &Worker, local: &Rc<Local>, door: &Arc<Door>) -> Option<Serving> {
    let entrance = door.entrance;
    let listener = door.listeners.take(worker);
    let listener = listener
        .inspect_err(|error| tracing::error!(?entrance, worker = worker.index(), %error, "this worker does not serve a door"))
        .ok()?;
    let (wanted, unwanted) = oneshot::channel::<()>();
    let unwanted = async {
        // Sent, or the worker's loop has gone: both mean the same.
        drop(unwanted.await);
    };
    let (serving, local) = (worker.clone(), local.clone());
    let task = tokio::task::spawn_local(async move {
        serving
            .serve_until(listener, unwanted, move |_, stream, peer| {
                connection::serve(local.clone(), stream, peer, entrance)
            })
            .await;
    });
    Some(Serving { door: door.clone(), task, _wanted: wanted })
}
