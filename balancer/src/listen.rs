//! Where clients come in. A socket belongs to its address: what is served there may change, and
//! then it goes on with another frontend. [`relay::listen::plan`] says what becomes of each; what
//! is bound anew is bound before anything is closed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use chassis::Inherited;
use cluster_config::document::{Limits, balancer::Frontend as Settings};
use relay::listen::{BindError, Listeners, Options, Step, plan};
use tokio::sync::watch;

use crate::stats::{FrontendCounts, PerWorker};

/// What is served on a socket.
pub struct Frontend {
    /// Its name in the bundle.
    pub name: String,
    /// The address that the bundle asks for.
    pub asked: SocketAddr,
    address: SocketAddr,
    /// What one client may have.
    limits: Limits,
    /// Its counters; they outlive a change of address.
    pub counts: Arc<PerWorker<FrontendCounts>>,
}

impl Frontend {
    /// The address with its real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One bound address.
pub struct Socket {
    /// One socket for each worker.
    pub listeners: Listeners,
    /// What is served here now.
    pub frontend: ArcSwap<Frontend>,
}

/// A frontend and its socket.
#[derive(Clone)]
pub struct Opened {
    /// What is served.
    pub frontend: Arc<Frontend>,
    /// Where.
    pub socket: Arc<Socket>,
}

/// Is told every address that is bound, with the frontend's name.
pub type Announce = Box<dyn Fn(&str, SocketAddr) + Send + Sync>;

/// All frontends that are bound now, by name.
pub type Bound = BTreeMap<String, Opened>;

/// Owns the frontends.
pub struct Frontends {
    workers: usize,
    /// Announces an address that was bound.
    announce: Announce,
    /// Sockets that outlive this process; a frontend at the address of one of them uses it.
    inherited: Inherited,
    /// Counters of frontends that were ever bound.
    counts: Mutex<BTreeMap<String, Arc<PerWorker<FrontendCounts>>>>,
    bound: watch::Sender<Bound>,
}

impl Frontends {
    /// None yet. `announce` is told every address that is bound.
    #[must_use]
    pub fn new(workers: usize, announce: Announce, inherited: Inherited) -> Self {
        Self {
            workers,
            announce,
            inherited,
            counts: Mutex::default(),
            bound: watch::Sender::new(Bound::new()),
        }
    }

    /// What is bound, for the workers to follow.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Bound> {
        self.bound.subscribe()
    }

    /// Binds what is new. Returns a change that takes effect with [`Frontends::publish`]; dropping
    /// it leaves everything as it was.
    ///
    /// # Errors
    /// Every address that cannot be bound, with the remedy.
    pub fn prepare(&self, wanted: &[Settings]) -> Result<Bound, Vec<String>> {
        let before: Vec<Opened> = self.bound.borrow().values().cloned().collect();
        let open: Vec<_> =
            before.iter().map(|it| (it.frontend.name.as_str(), it.frontend.asked)).collect();
        let steps =
            plan(&open, &wanted.iter().map(|it| (it.name.as_str(), it.bind)).collect::<Vec<_>>());
        let (mut after, mut problems) = (Bound::new(), Vec::new());
        for (settings, step) in wanted.iter().zip(steps) {
            let opened = match step {
                Step::Keep(index) => Ok(self.moved(&before[index], settings)),
                Step::Bind => {
                    self.listeners(settings.bind).map(|listeners| self.opened(settings, listeners))
                }
            };
            match opened {
                Ok(opened) => drop(after.insert(settings.name.clone(), opened)),
                Err(error) => problems.push(format!("frontend {}: {error}", settings.name)),
            }
        }
        if problems.is_empty() { Ok(after) } else { Err(problems) }
    }

    fn listeners(&self, bind: SocketAddr) -> Result<Listeners, BindError> {
        match self.inherited.lend_at(bind) {
            Some(lent) => Listeners::adopt(lent, self.workers),
            None => Listeners::open(bind, self.workers, &Options::default()),
        }
    }

    fn frontend(&self, settings: &Settings, address: SocketAddr) -> Arc<Frontend> {
        let counts = self.counts_of(&settings.name);
        Arc::new(Frontend {
            name: settings.name.clone(),
            asked: settings.bind,
            address,
            limits: settings.limits,
            counts,
        })
    }

    fn opened(&self, settings: &Settings, listeners: Listeners) -> Opened {
        let frontend = self.frontend(settings, listeners.local_addr());
        Opened {
            socket: Arc::new(Socket { listeners, frontend: ArcSwap::new(Arc::clone(&frontend)) }),
            frontend,
        }
    }

    /// What shall be served on a socket that is open.
    fn moved(&self, from: &Opened, settings: &Settings) -> Opened {
        let same = from.frontend.name == settings.name && from.frontend.limits == settings.limits;
        let frontend = if same {
            Arc::clone(&from.frontend)
        } else {
            self.frontend(settings, from.frontend.address)
        };
        Opened { frontend, socket: Arc::clone(&from.socket) }
    }

    /// Lets the workers accept on these, and on no others.
    pub fn publish(&self, bound: Bound) {
        for (name, Opened { frontend, socket }) in &bound {
            socket.listeners.allowance().set(&dataplane::limits::bounds(&frontend.limits));
            socket.frontend.store(Arc::clone(frontend));
            (self.announce)(name, frontend.address);
        }
        self.bound.send_replace(bound);
    }

    fn counts_of(&self, name: &str) -> Arc<PerWorker<FrontendCounts>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            counts.entry(name.to_owned()).or_insert_with(|| Arc::new(PerWorker::new(self.workers))),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster_config::document::balancer::ClientTimeouts;

    use super::*;

    fn wanted(name: &str, bind: SocketAddr) -> Settings {
        Settings {
            name: name.to_owned(),
            bind,
            backend: "b".to_owned(),
            health_path: None,
            request_header_max_size: 65_536,
            limits: Limits::default(),
            timeouts: ClientTimeouts {
                client: Duration::ZERO,
                client_idle: Duration::ZERO,
                request_head: Duration::ZERO,
            },
        }
    }

    fn none() -> Frontends {
        Frontends::new(2, Box::new(|_, _| ()), Inherited::default())
    }

    #[test]
    fn only_what_changed_is_bound_anew_and_a_failure_changes_nothing() {
        let frontends = none();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        frontends.publish(frontends.prepare(&[wanted("a", any)]).expect("bound"));
        let first = frontends.follow().borrow()["a"].frontend.address();
        let both = frontends.prepare(&[wanted("a", any), wanted("b", any)]).expect("bound");
        assert_eq!(both["a"].frontend.address(), first);
        assert_ne!(both["b"].frontend.address(), first);
        let stranger = std::net::TcpListener::bind(any).expect("a port");
        let taken = stranger.local_addr().expect("bound");
        let problems = frontends
            .prepare(&[wanted("moved", any), wanted("c", taken)])
            .map(|_| ())
            .expect_err("in use");
        assert!(
            problems[0].contains("frontend c") && problems[0].contains("in use"),
            "{problems:?}"
        );
        assert!(
            frontends.follow().borrow().contains_key("a") && frontends.follow().borrow().len() == 1
        );
        assert_eq!(frontends.follow().borrow()["a"].socket.frontend.load().name, "a");
    }

    #[test]
    fn a_socket_stays_with_its_address_whatever_is_served_there() {
        let frontends = none();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = frontends.prepare(&[wanted("a", any), wanted("b", any)]).expect("bound");
        let [one, two] = [bound["a"].frontend.address(), bound["b"].frontend.address()];
        drop(bound);
        let step = |settings: &[Settings]| {
            frontends.publish(frontends.prepare(settings).expect("bound"));
            frontends.follow().borrow().clone()
        };
        let first = step(&[wanted("a", one), wanted("b", two)]);
        let renamed = step(&[wanted("c", one), wanted("b", two)]);
        assert!(
            Arc::ptr_eq(&first["a"].socket, &renamed["c"].socket)
                && renamed["c"].socket.frontend.load().name == "c"
        );
        let swapped = step(&[wanted("c", two), wanted("b", one)]);
        assert!(
            Arc::ptr_eq(&first["a"].socket, &swapped["b"].socket)
                && Arc::ptr_eq(&first["b"].socket, &swapped["c"].socket)
        );
        assert_eq!(
            (swapped["b"].frontend.address(), swapped["b"].socket.frontend.load().name.as_str()),
            (one, "b")
        );
        let wide = SocketAddr::from(([0, 0, 0, 0], one.port()));
        let widened = step(&[wanted("c", two), wanted("b", wide)]);
        assert_eq!(widened["b"].frontend.address(), wide);
        drop((first, renamed, swapped, widened));
        assert_eq!(step(&[wanted("b", one)])["b"].frontend.address(), one, "and back");
    }
}
