//! Where clients come in: bound once for the process, served by every worker, opened and closed as
//! the configuration says.
//!
//! A listener belongs to its address: what is served there may change, and then it goes on with
//! that. [`relay::listen::plan`] says what becomes of each; what is bound anew is bound before
//! anything is closed, and a change that cannot be made whole is not made at all.

mod accept;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use cluster_config::document::Limits;
use relay::{
    clients::Allowance,
    listen::{Address, BindError, Listeners, Options, Step, overlap, plan, unix::Access},
};
use tokio::sync::watch;

pub use self::accept::accept;
use crate::limits::bounds;

/// A socket for an address, which is there already.
pub enum Ready {
    /// A service manager keeps it open, and it outlives the process.
    Inherited(TcpListener),
    /// The same, of a file.
    InheritedFile(Arc<Path>, UnixListener),
    /// The process has bound it itself.
    Bound(TcpListener),
    /// Another process has bound them for its workers, and this one takes over from it.
    Resumed(Vec<TcpListener>),
    /// The same, of a file.
    ResumedFile(Arc<Path>, UnixListener),
}

/// What a process that takes over needs of one listener.
pub struct Handed {
    /// The address that was asked for.
    pub asked: Address,
    /// Of each queue one socket.
    pub sockets: Vec<OwnedFd>,
}

impl Ready {
    /// What was handed over for an address; none: nothing was.
    #[must_use]
    pub fn resumed(address: &Address, sockets: Vec<OwnedFd>) -> Option<Self> {
        match address {
            Address::Ip(_) if sockets.is_empty() => None,
            Address::Ip(_) => Some(Self::Resumed(sockets.into_iter().map(Into::into).collect())),
            Address::Unix(path) => {
                let socket = sockets.into_iter().next()?;
                Some(Self::ResumedFile(Arc::clone(path), socket.into()))
            }
        }
    }

    /// For this many workers. Clients of a file are told by the `number` of the listener.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn share(self, workers: usize, number: u16) -> Result<Listeners, BindError> {
        match self {
            Self::Resumed(sockets) => Listeners::resume(sockets, workers, &Options::default()),
            Self::ResumedFile(path, socket) => {
                Listeners::resume_file(&path, socket, workers, number)
            }
            Self::InheritedFile(path, socket) => {
                Listeners::adopt_file(&path, socket, workers, number)
            }
            Self::Inherited(socket) => Listeners::adopt(socket, workers),
            Self::Bound(socket) => Listeners::share(socket, workers, &Options::default()),
        }
    }
}

/// Answers the socket for an address if there is one.
pub type Find = Box<dyn Fn(&Address) -> Option<Ready> + Send + Sync>;

/// One address, and what is served there.
pub struct Listener<S> {
    /// One socket for each worker.
    sockets: Listeners,
    /// The address that was asked for; port 0 stands for any.
    asked: Address,
    served: ArcSwap<S>,
}

impl<S> Listener<S> {
    /// The address with its real port.
    #[must_use]
    pub const fn address(&self) -> &Address {
        self.sockets.address()
    }

    /// What one client may have here.
    #[must_use]
    pub fn allowance(&self) -> &Arc<Allowance> {
        self.sockets.allowance()
    }

    /// What is served here now. To be looked at anew for every connection, and whenever one has
    /// idled.
    #[must_use]
    pub fn served(&self) -> Guard<Arc<S>> {
        self.served.load()
    }
}

/// All listeners that are open, as workers and others see them.
pub type Open<S> = Arc<[Arc<Listener<S>>]>;

/// A listener that the configuration wants.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What it is called; empty where only its address tells it from others.
    pub name: &'a str,
    /// Where.
    pub bind: Address,
    /// Who may connect, if it is a file.
    pub access: Access,
    /// What one client may have.
    pub limits: Limits,
    /// The address may be another host's now: it moves.
    pub moves: bool,
}

/// A change that is made as soon as it is published; until then, or if it is dropped, everything is
/// as it was. Cheap to clone.
pub struct Change<S>(Arc<[Next<S>]>);

impl<S> Clone for Change<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Change<S> {
    /// What is going to be served, in the order of what was wanted.
    pub fn served(&self) -> impl Iterator<Item = &Arc<S>> {
        self.0.iter().map(|next| &next.serves)
    }
}

struct Next<S> {
    listener: Arc<Listener<S>>,
    serves: Arc<S>,
    access: Access,
    limits: Limits,
}

/// Owns the listeners of a process.
pub struct Listening<S> {
    workers: usize,
    find: Find,
    /// Open whatever the configuration says.
    always: Vec<Arc<Listener<S>>>,
    open: watch::Sender<Open<S>>,
    /// How many of the workers accept.
    at_work: watch::Sender<usize>,
    /// How many shall, once they may.
    employed: AtomicUsize,
    /// None accepts yet.
    held: AtomicBool,
}

impl<S> Listening<S> {
    /// None yet. `find` is asked for a socket before one is bound.
    #[must_use]
    pub fn new(workers: usize, find: Find) -> Self {
        let (open, at_work) = (watch::Sender::new(Open::from([])), watch::Sender::new(workers));
        Self {
            workers,
            find,
            always: Vec::new(),
            open,
            at_work,
            employed: AtomicUsize::new(workers),
            held: AtomicBool::new(false),
        }
    }

    /// Nobody accepts until it [begins](Self::begin): another process does so from the same
    /// sockets.
    #[must_use]
    pub fn held(self) -> Self {
        self.held.store(true, Ordering::Release);
        self.at_work.send_replace(0);
        self
    }

    /// From now on the workers accept.
    pub fn begin(&self) {
        self.held.store(false, Ordering::Release);
        self.at_work.send_replace(self.employed.load(Ordering::Acquire));
    }

    /// Duplicates of all sockets, for a process that takes over.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn handed(&self) -> io::Result<Vec<Handed>> {
        let open = self.open.borrow().clone();
        let handed = |it: &Arc<Listener<S>>| {
            Ok(Handed { asked: it.asked.clone(), sockets: it.sockets.duplicates()? })
        };
        open.iter().map(handed).collect()
    }

    /// Another process has the sockets: the workers let go of them, and leave alone what waits in
    /// their queues.
    pub fn hand_over(&self) {
        self.open.borrow().iter().for_each(|it| it.sockets.hand_over());
        self.open.send_replace(Open::from([]));
    }

    /// With a listener that no configuration moves or closes. Its connections count apart from
    /// those that a client at the same address has elsewhere.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn always(mut self, ready: Ready, serves: S) -> Result<Self, BindError> {
        let sockets = ready.share(self.workers, 0)?;
        sockets.allowance().set_apart();
        let served = ArcSwap::from_pointee(serves);
        let asked = sockets.address().clone();
        self.always.push(Arc::new(Listener { sockets, asked, served }));
        self.open.send_replace(self.always.clone().into());
        Ok(self)
    }

    /// What is open, for workers to follow.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Open<S>> {
        self.open.subscribe()
    }

    /// How many workers accept, for them to follow: those with the lowest numbers.
    #[must_use]
    pub fn at_work(&self) -> watch::Receiver<usize> {
        self.at_work.subscribe()
    }

    /// Has so many workers accept, of those that there are; none: all. The others keep the
    /// connections that they have until those end.
    pub fn employ(&self, workers: Option<u16>) {
        let wanted = workers.map_or(self.workers, usize::from);
        if wanted > self.workers {
            tracing::warn!(
                wanted,
                threads = self.workers,
                "the configuration wants more workers than this process has threads for: start it \
                 with --workers {wanted}"
            );
        }
        let wanted = wanted.clamp(1, self.workers.max(1));
        let changed = self.employed.swap(wanted, Ordering::AcqRel) != wanted;
        if !self.held.load(Ordering::Acquire) {
            self.at_work.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
        }
        if changed {
            tracing::info!(workers = wanted, threads = self.workers, "workers accept connections");
        }
    }

    /// Addresses of all listeners that are open, and are no files.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.open.borrow().iter().filter_map(|listener| listener.address().ip()).collect()
    }

    /// Binds what is new. `serve` says what is to be served at a real address, by the place of the
    /// wanted listener; it is told what is served there now.
    ///
    /// # Errors
    /// Every address that cannot be bound, with the place of the wanted listener.
    pub fn prepare<'a>(
        &self,
        wanted: impl IntoIterator<Item = Wanted<'a>>,
        name: impl Fn(&S) -> &str,
        serve: impl Fn(usize, &Address, Option<&Arc<S>>) -> Arc<S>,
    ) -> Result<Change<S>, Vec<(usize, BindError)>> {
        let wanted: Vec<_> = wanted.into_iter().collect();
        let before = self.open.borrow()[self.always.len()..].to_vec();
        let served: Vec<_> = before.iter().map(|it| it.served.load_full()).collect();
        let open: Vec<_> =
            served.iter().zip(&before).map(|(served, it)| (name(served), &it.asked)).collect();
        let steps = plan(&open, &wanted.iter().map(|it| (it.name, &it.bind)).collect::<Vec<_>>());
        let (mut change, mut problems) = (Vec::new(), Vec::new());
        for (place, (it, step)) in wanted.iter().zip(steps).enumerate() {
            let next = match step {
                Step::Keep(index) => {
                    let listener = Arc::clone(&before[index]);
                    let serves = serve(place, listener.address(), Some(&served[index]));
                    Ok((listener, serves))
                }
                Step::Bind => self.bind(it, place).map(|sockets| {
                    let serves = serve(place, sockets.address(), None);
                    let served = ArcSwap::new(Arc::clone(&serves));
                    (Arc::new(Listener { sockets, asked: it.bind.clone(), served }), serves)
                }),
            };
            match next {
                Ok((listener, serves)) => {
                    let Wanted { access, limits, .. } = *it;
                    change.push(Next { listener, serves, access, limits });
                }
                Err(problem) => problems.push((place, problem)),
            }
        }
        if problems.is_empty() { Ok(Change(change.into())) } else { Err(problems) }
    }

    fn bind(&self, wanted: &Wanted<'_>, place: usize) -> Result<Listeners, BindError> {
        let number = u16::try_from(place + 1).unwrap_or(u16::MAX);
        // A listener that is always open stays what it is.
        if let Some(address) = wanted.bind.ip() {
            let always = self.always.iter().filter_map(|it| it.address().ip());
            if always.into_iter().any(|it| overlap(it, address)) {
                return Err(BindError::InUse(address));
            }
        }
        if let Some(ready) = (self.find)(&wanted.bind) {
            return ready.share(self.workers, number);
        }
        match &wanted.bind {
            Address::Ip(address) => {
                let options = Options { freebind: wanted.moves, ..Options::default() };
                Listeners::open(*address, self.workers, &options)
            }
            Address::Unix(path) => Listeners::at_file(path, &wanted.access, self.workers, number),
        }
    }

    /// Lets the workers accept at the listeners of this change, and at no others.
    pub fn publish(&self, change: &Change<S>) {
        for Next { listener, serves, access, limits } in change.0.iter() {
            listener.sockets.allowance().set(&bounds(limits));
            if let Address::Unix(path) = listener.address()
                && listener.sockets.is_own_file()
                && let Err(error) = access.apply(path)
            {
                tracing::error!(path = %path.display(), "cannot say who may connect: {error}");
            }
            listener.served.store(Arc::clone(serves));
        }
        let wanted = change.0.iter().map(|next| Arc::clone(&next.listener));
        self.open.send_replace(self.always.iter().cloned().chain(wanted).collect());
    }
}

#[cfg(test)]
mod tests;
