//! Frontends: what is served where clients come in ([`dataplane::listen`]).

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use chassis::Inherited;
use cluster_config::document::balancer::Frontend as Settings;
use dataplane::listen::{self, Change, Listening, Open, Ready, Wanted};
use tokio::sync::watch;

use crate::stats::{FrontendCounts, PerWorker};

/// A frontend where clients come in.
pub type Listener = listen::Listener<Frontend>;

/// What is served on a listener.
pub struct Frontend {
    /// Its name in the bundle.
    pub name: String,
    /// The address that the bundle asks for.
    pub asked: SocketAddr,
    address: SocketAddr,
    /// The address moves between balancers: it does not say where this one is.
    moves: bool,
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

/// Is told every address that is bound, with the frontend's name.
pub type Announce = Box<dyn Fn(&str, SocketAddr) + Send + Sync>;

/// Frontends that were bound and not published yet.
pub type Bound = Change<Frontend>;

/// Owns the frontends.
pub struct Frontends {
    workers: usize,
    /// Announces an address that was bound.
    announce: Announce,
    /// Counters of frontends that were ever bound.
    counts: Mutex<BTreeMap<String, Arc<PerWorker<FrontendCounts>>>>,
    listening: Listening<Frontend>,
}

impl Frontends {
    /// None yet. `announce` is told every address that is bound.
    #[must_use]
    pub fn new(workers: usize, announce: Announce, inherited: Inherited) -> Self {
        let find = move |address| inherited.lend_at(address).map(Ready::Inherited);
        Self {
            workers,
            announce,
            counts: Mutex::default(),
            listening: Listening::new(workers, Box::new(find)),
        }
    }

    /// What is open, for the workers to follow.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Open<Frontend>> {
        self.listening.follow()
    }

    /// Binds what is new; an address among those that move between balancers, although it may be
    /// another one's now. Returns a change that takes effect with [`Frontends::publish`]; dropping
    /// it leaves everything as it was.
    ///
    /// # Errors
    /// Every address that cannot be bound, with the remedy.
    pub fn prepare(&self, wanted: &[Settings], moving: &[IpAddr]) -> Result<Bound, Vec<String>> {
        let moves = |it: &Settings| moving.contains(&it.bind.ip());
        let listeners = wanted.iter().map(|it| Wanted {
            name: &it.name,
            bind: it.bind,
            limits: it.limits,
            moves: moves(it),
        });
        let serve = |place: usize, address, before: Option<&Arc<Frontend>>| {
            let settings = &wanted[place];
            let moves = moves(settings);
            match before {
                Some(same) if (&same.name, same.moves) == (&settings.name, moves) => {
                    Arc::clone(same)
                }
                _ => self.frontend(settings, address, moves),
            }
        };
        self.listening.prepare(listeners, |frontend| &frontend.name, serve).map_err(|problems| {
            let named = problems
                .iter()
                .map(|(place, error)| format!("frontend {}: {error}", wanted[*place].name));
            named.collect()
        })
    }

    fn frontend(&self, settings: &Settings, address: SocketAddr, moves: bool) -> Arc<Frontend> {
        let Settings { name, bind, .. } = settings;
        let counts = self.counts_of(name);
        Arc::new(Frontend { name: name.clone(), asked: *bind, address, moves, counts })
    }

    /// Lets the workers accept on these, and on no others. Addresses that move are not announced:
    /// they do not lead to this process.
    pub fn publish(&self, bound: &Bound) {
        for frontend in bound.served().filter(|it| !it.moves) {
            (self.announce)(&frontend.name, frontend.address);
        }
        self.listening.publish(bound);
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

    use cluster_config::document::{
        Limits,
        balancer::{ClientTimeouts, Mode},
    };

    use super::*;

    fn wanted(name: &str, bind: SocketAddr) -> Settings {
        Settings {
            name: name.to_owned(),
            bind,
            mode: Mode::Http,
            proxy_protocol: Vec::new(),
            tls: None,
            use_backend: Vec::new(),
            backend: "b".to_owned(),
            health_path: None,
            stats: None,
            request_header_max_size: 65_536,
            limits: Limits::default(),
            timeouts: ClientTimeouts {
                client: Duration::ZERO,
                client_idle: Duration::ZERO,
                request_head: Duration::ZERO,
            },
        }
    }

    #[test]
    fn a_frontend_keeps_its_counters_wherever_it_is_served() {
        let announced = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&announced);
        let announce: Announce =
            Box::new(move |name, address| told.lock().unwrap().push((name.to_owned(), address)));
        let frontends = Frontends::new(2, announce, Inherited::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let step = |settings: &[Settings]| {
            frontends.publish(&frontends.prepare(settings, &[]).expect("bound"));
            let open = frontends.follow().borrow().clone();
            open.iter().map(|it| it.served().clone()).collect::<Vec<_>>()
        };
        let [a, b] = &step(&[wanted("a", any), wanted("b", any)])[..] else { panic!("two") };
        assert_eq!(*announced.lock().unwrap(), [a, b].map(|it| (it.name.clone(), it.address)));
        let swapped = step(&[wanted("b", a.address), wanted("a", b.address)]);
        assert_eq!(swapped.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert!(Arc::ptr_eq(&swapped[1].counts, &a.counts));
    }

    #[test]
    fn an_address_that_moves_is_bound_and_not_announced() {
        let announced = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&announced);
        let announce: Announce =
            Box::new(move |name, _| told.lock().unwrap().push(name.to_owned()));
        let frontends = Frontends::new(2, announce, Inherited::default());
        let elsewhere = SocketAddr::from(([192, 0, 2, 100], 0));
        let settings =
            [wanted("moves", elsewhere), wanted("stays", SocketAddr::from(([127, 0, 0, 1], 0)))];
        let bound = frontends.prepare(&settings, &[elsewhere.ip()]).expect("bound");
        frontends.publish(&bound);
        assert_eq!(*announced.lock().unwrap(), ["stays"]);
        assert_eq!(frontends.follow().borrow().len(), 2);
        let other = SocketAddr::from(([192, 0, 2, 101], 0));
        assert!(frontends.prepare(&[wanted("fixed", other)], &[]).is_err());
    }

    #[test]
    fn what_cannot_be_bound_is_named() {
        let frontends = Frontends::new(1, Box::new(|_, _| ()), Inherited::default());
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = wanted("c", stranger.local_addr().expect("bound"));
        let problems = frontends.prepare(&[taken], &[]).map(|_| ()).expect_err("in use");
        assert!(
            problems[0].contains("frontend c") && problems[0].contains("in use"),
            "{problems:?}"
        );
    }
}
