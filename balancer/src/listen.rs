//! Frontends: what is served where clients come in ([`dataplane::listen`]).

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use chassis::{Inherited, Predecessor, takeover::Handed};
use cluster_config::document::balancer::{Bind, Frontend as Settings};
use dataplane::{
    ledger::Ledger,
    listen::{self, Change, Listening, Open, Ready, Wanted},
};
use relay::listen::{Address, unix::Access};
use tokio::sync::watch;

use crate::stats::{FrontendCounts, PerWorker};

/// A frontend where clients come in.
pub type Listener = listen::Listener<Frontend>;

/// What is served on a listener.
pub struct Frontend {
    /// Its name in the bundle.
    pub name: String,
    /// One of the places that the bundle asks for.
    pub asked: Bind,
    address: Address,
    /// What it is announced as.
    endpoint: String,
    /// The address moves between balancers: it does not say where this one is.
    moves: bool,
    /// Its counters; they outlive a change of address.
    pub counts: Arc<PerWorker<FrontendCounts>>,
}

impl Frontend {
    /// The address with its real port.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }
}

/// Is told every address that is bound, with the frontend's name.
pub type Announce = Box<dyn Fn(&str, SocketAddr) + Send + Sync>;

/// What the sockets of frontends are handed over as.
const FRONTEND: &str = "frontend";

/// Where sockets come from that are there already, and what was counted.
#[derive(Default)]
pub struct Sources {
    /// Sockets that outlive the process.
    pub inherited: Inherited,
    /// The process that this one takes over from.
    pub predecessor: Option<Predecessor>,
    pub ledger: Ledger,
}

/// Frontends that were bound and not published yet.
pub type Bound = Change<Frontend>;

/// Owns the frontends.
pub struct Frontends {
    workers: usize,
    /// Announces an address that was bound.
    announce: Announce,
    /// Counters of frontends that were ever bound.
    counts: Mutex<BTreeMap<String, Arc<PerWorker<FrontendCounts>>>>,
    ledger: Ledger,
    listening: Listening<Frontend>,
}

impl Frontends {
    /// None yet. `announce` is told every address that is bound. Where there is a predecessor,
    /// nobody accepts until they [begin](Self::begin).
    #[must_use]
    pub fn new(workers: usize, announce: Announce, sources: Sources) -> Self {
        let Sources { inherited, predecessor, ledger } = sources;
        let takes_over = predecessor.is_some();
        let find = move |address: &Address| {
            let handed = predecessor.as_ref().map(|it| it.take(FRONTEND, &address.to_string()));
            if let Some(resumed) = handed.and_then(|it| Ready::resumed(address, it)) {
                return Some(resumed);
            }
            match address {
                Address::Ip(address) => inherited.lend_at(*address).map(Ready::Inherited),
                Address::Unix(path) => {
                    let socket = inherited.lend_file(path)?;
                    Some(Ready::InheritedFile(Arc::clone(path), socket))
                }
            }
        };
        let listening = Listening::new(workers, Box::new(find));
        Self {
            workers,
            announce,
            counts: Mutex::default(),
            ledger,
            listening: if takes_over { listening.held() } else { listening },
        }
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
            purpose: FRONTEND.to_owned(),
            which: it.asked.to_string(),
            descriptors: it.sockets,
        });
        Ok(handed.filter(|it| !it.descriptors.is_empty()).collect())
    }

    /// A successor accepts from now on.
    pub fn hand_over(&self) {
        self.listening.hand_over();
    }

    /// What is open, for the workers to follow.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Open<Frontend>> {
        self.listening.follow()
    }

    /// How many workers accept, for them to follow.
    #[must_use]
    pub fn at_work(&self) -> watch::Receiver<usize> {
        self.listening.at_work()
    }

    /// Has so many workers accept; none: all.
    pub fn employ(&self, workers: Option<u16>) {
        self.listening.employ(workers);
    }

    /// Binds what is new; an address among those that move between balancers, although it may be
    /// another one's now. Returns a change that takes effect with [`Frontends::publish`]; dropping
    /// it leaves everything as it was.
    ///
    /// # Errors
    /// Every address that cannot be bound, with the remedy.
    pub fn prepare(&self, wanted: &[Settings], moving: &[IpAddr]) -> Result<Bound, Vec<String>> {
        let places = places(wanted, moving)?;
        let listeners = places.iter().map(|it| Wanted {
            name: &it.settings.name,
            bind: address(it.bind),
            access: it.access,
            limits: it.settings.limits,
            moves: it.moves,
        });
        let serve = |place: usize, address: &Address, before: Option<&Arc<Frontend>>| {
            let made = self.frontend(&places[place], address);
            match before {
                Some(same)
                    if (&same.name, same.moves, &same.endpoint)
                        == (&made.name, made.moves, &made.endpoint) =>
                {
                    Arc::clone(same)
                }
                _ => Arc::new(made),
            }
        };
        self.listening.prepare(listeners, |frontend| &frontend.name, serve).map_err(|problems| {
            let named = problems.iter().map(|(place, error)| {
                format!("frontend {}: {error}", places[*place].settings.name)
            });
            named.collect()
        })
    }

    fn frontend(&self, place: &Place<'_>, address: &Address) -> Frontend {
        let name = &place.settings.name;
        Frontend {
            name: name.clone(),
            asked: place.bind.clone(),
            address: address.clone(),
            endpoint: place.endpoint.clone(),
            moves: place.moves,
            counts: self.counts_of(name),
        }
    }

    /// Lets the workers accept on these, and on no others. Addresses that move are not announced:
    /// they do not lead to this process.
    pub fn publish(&self, bound: &Bound) {
        for frontend in bound.served().filter(|it| !it.moves) {
            if let Some(address) = frontend.address.ip() {
                (self.announce)(&frontend.endpoint, address);
            }
        }
        self.listening.publish(bound);
    }

    fn counts_of(&self, name: &str) -> Arc<PerWorker<FrontendCounts>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let made = counts.entry(name.to_owned()).or_insert_with(|| {
            let counts = Arc::new(PerWorker::new(self.workers));
            self.ledger.enter(format!("frontend/{name}"), counts.clone());
            counts
        });
        Arc::clone(made)
    }
}

/// One of the places where a frontend listens.
struct Place<'a> {
    settings: &'a Settings,
    bind: &'a Bind,
    access: Access,
    /// The frontend's name, and a number from its second address on.
    endpoint: String,
    /// The address moves between balancers.
    moves: bool,
}

/// All of them, in the order of the bundle.
fn places<'a>(wanted: &'a [Settings], moving: &[IpAddr]) -> Result<Vec<Place<'a>>, Vec<String>> {
    let (mut places, mut problems) = (Vec::new(), Vec::new());
    for settings in wanted {
        let (name, unix) = (&settings.name, &settings.unix);
        let access = if settings.bind.iter().all(|bind| bind.ip().is_some()) {
            Access::OWN
        } else {
            Access::named(unix.mode, unix.user.as_deref(), unix.group.as_deref()).unwrap_or_else(
                |unknown| {
                    problems.push(format!("frontend {name}: {unknown}"));
                    Access::OWN
                },
            )
        };
        for (number, bind) in settings.bind.iter().enumerate() {
            let before = settings.bind[..number].iter().filter(|it| it.ip().is_some()).count();
            let endpoint =
                if before == 0 { name.clone() } else { format!("{name}-{}", before + 1) };
            let moves = bind.ip().is_some_and(|it| moving.contains(&it.ip()));
            places.push(Place { settings, bind, access, endpoint, moves });
        }
    }
    if problems.is_empty() { Ok(places) } else { Err(problems) }
}

fn address(bind: &Bind) -> Address {
    match bind {
        Bind::Ip(address) => (*address).into(),
        Bind::Unix(path) => Address::unix(Path::new(path)),
    }
}

#[cfg(test)]
mod tests;
