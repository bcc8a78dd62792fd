//! Where clients come in: frontends are bound when the configuration says so, and only those whose address changed are bound anew.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use chassis::Inherited;
use cluster_config::document::balancer::Frontend as Settings;
use relay::listen::{BindError, Listeners, Options};
use tokio::sync::watch;

use crate::stats::{FrontendCounts, PerWorker};

/// One bound frontend.
pub struct Frontend {
    /// Its name in the bundle.
    pub name: String,
    /// The address that the bundle asks for.
    asked: SocketAddr,
    /// One socket for each worker.
    pub listeners: Listeners,
    /// Its counters; they outlive a change of address.
    pub counts: Arc<PerWorker<FrontendCounts>>,
}

impl Frontend {
    /// The address with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listeners.local_addr()
    }
}

/// Is told every address that is bound, with the frontend's name.
pub type Announce = Box<dyn Fn(&str, SocketAddr) + Send + Sync>;

/// All frontends that are bound now, by name.
pub type Bound = BTreeMap<String, Arc<Frontend>>;

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
        Self { workers, announce, inherited, counts: Mutex::default(), bound: watch::Sender::new(Bound::new()) }
    }

    /// What is bound, for the workers to follow.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Bound> {
        self.bound.subscribe()
    }

    /// Binds what is new or has moved. Returns a change that takes effect with [`Frontends::publish`]; dropping it leaves everything as it was.
    ///
    /// # Errors
    /// Every address that cannot be bound, with the remedy.
    pub fn prepare(&self, wanted: &[Settings]) -> Result<Bound, Vec<String>> {
        let before = self.bound.borrow().clone();
        let mut after = Bound::new();
        let mut problems = Vec::new();
        for settings in wanted {
            match before.get(&settings.name).filter(|it| it.asked == settings.bind) {
                Some(same) => {
                    after.insert(settings.name.clone(), Arc::clone(same));
                }
                None => match self.listeners(settings.bind) {
                    Ok(listeners) => {
                        let counts = self.counts_of(&settings.name);
                        let frontend = Frontend { name: settings.name.clone(), asked: settings.bind, listeners, counts };
                        after.insert(settings.name.clone(), Arc::new(frontend));
                    }
                    Err(error) => problems.push(format!("frontend {}: {error}", settings.name)),
                },
            }
        }
        if problems.is_empty() { Ok(after) } else { Err(problems) }
    }

    fn listeners(&self, bind: SocketAddr) -> Result<Listeners, BindError> {
        match self.inherited.lend_at(bind) {
            Some(lent) => Listeners::adopt(lent, self.workers),
            None => Listeners::bind(bind, self.workers, &Options::default()),
        }
    }

    /// Lets the workers accept on these, and on no others.
    pub fn publish(&self, bound: Bound) {
        for (name, frontend) in &bound {
            (self.announce)(name, frontend.address());
        }
        self.bound.send_replace(bound);
    }

    fn counts_of(&self, name: &str) -> Arc<PerWorker<FrontendCounts>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counts.entry(name.to_owned()).or_insert_with(|| Arc::new(PerWorker::new(self.workers))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, bind: SocketAddr) -> Settings {
        Settings { name: name.to_owned(), bind, backend: "b".to_owned(), health_path: None, request_header_max_size: 65_536 }
    }

    #[test]
    fn only_what_changed_is_bound_anew_and_a_failure_changes_nothing() {
        let frontends = Frontends::new(2, Box::new(|_, _| ()), Inherited::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        frontends.publish(frontends.prepare(&[wanted("a", any)]).expect("bound"));
        let first = frontends.follow().borrow()["a"].address();
        let both = frontends.prepare(&[wanted("a", any), wanted("b", any)]).expect("bound");
        assert_eq!(both["a"].address(), first);
        assert_ne!(both["b"].address(), first);
        let problems = frontends.prepare(&[wanted("a", any), wanted("c", first)]).map(|_| ()).expect_err("in use");
        assert!(problems[0].contains("frontend c") && problems[0].contains("in use"), "{problems:?}");
        assert_eq!(frontends.follow().borrow().len(), 1);
    }
}
