//! What operators want of servers: written through to the registry, kept here as drift when that is
//! out of reach and offered to it again, and shown as soon as the roster has it.

mod drift;
pub mod registry;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use cluster::{AdminState, instance::MAX_WEIGHT};
use tokio::time::Instant;

use crate::{
    evidence::{Fault, Seen},
    membership::{Desired, desired_key},
    snapshot::{Listed, Pool},
    standing::Reason,
    view::View,
};
use registry::{Registry, Reply};

/// A change that the registry took shows here within this time, or is answered as far as it is
/// known.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such backend.
    #[error("there is no backend {asked:?}; there are: {}", .known.join(", "))]
    NoBackend {
        /// The name that was given.
        asked: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The backend has no such server.
    #[error("backend {backend} has no server {asked:?}; it has: {}", .known.join(", "))]
    NoServer {
        backend: String,
        /// The name that was given.
        asked: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// Its address is the registry's.
    #[error(
        "{server} was found in the registry, and where it is the process says itself: start it \
         with another address"
    )]
    Discovered {
        /// Its name.
        server: String,
    },
    /// The weight is none.
    #[error("weight is 0 to {MAX_WEIGHT}")]
    Weight,
    /// The registry does not want it.
    #[error(transparent)]
    Refused(#[from] Reply),
}

/// A change that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The server's backend; empty: the first.
    pub backend: String,
    pub server: String,
    /// What is wanted of it.
    pub desired: Desired,
    /// Although no usable server would be left.
    pub force: bool,
}

impl Change {
    /// In words, for the registry's records and for audits.
    #[must_use]
    pub fn reason(&self) -> String {
        let Self { server, desired: Desired { admin, weight, address }, .. } = self;
        let admin = admin.map(|admin| format!("{admin:?}"));
        let weight = weight.map(|weight| format!("weight {weight}"));
        let address = address.map(|address| format!("address {address}"));
        let what: Vec<_> = [admin, weight, address].into_iter().flatten().collect();
        format!("{server}: {}, by a balancer", what.join(", "))
    }
}

/// A server as the roster shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub pool: Arc<Pool>,
    index: usize,
}

impl Shown {
    #[must_use]
    pub fn listed(&self) -> &Listed {
        &self.pool.servers[self.index]
    }
}

fn is_as(listed: &Listed, desired: Desired) -> bool {
    desired.admin.is_none_or(|it| it == listed.admin)
        && desired.weight.is_none_or(|it| it == listed.weight)
        && desired.address.is_none_or(|it| it == listed.server.address)
}

/// Takes what operators want. Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    view: View,
    registry: Registry,
}

impl Operator {
    /// Over what can be seen here and the registry.
    #[must_use]
    pub const fn new(view: View, registry: Registry) -> Self {
        Self { view, registry }
    }

    /// A server by the names that operators use.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn find(&self, backend: &str, server: &str) -> Result<Shown, Error> {
        let snapshot = self.view.snapshot();
        let pool = if backend.is_empty() { snapshot.pools.first() } else { snapshot.pool(backend) };
        let pool = pool.ok_or_else(|| Error::NoBackend {
            asked: backend.to_owned(),
            known: snapshot.pools.iter().map(|pool| pool.settings.name.clone()).collect(),
        })?;
        let index =
            pool.servers.iter().position(|it| it.server.name == server).ok_or_else(|| {
                Error::NoServer {
                    backend: pool.settings.name.clone(),
                    asked: server.to_owned(),
                    known: pool.servers.iter().map(|it| it.server.name.clone()).collect(),
                }
            })?;
        Ok(Shown { pool: Arc::clone(pool), index })
    }

    /// Makes a change: in the registry if the server is from there and the registry can be asked,
    /// here otherwise. Returns the server as it is shown then.
    ///
    /// # Errors
    /// There is no such server, or the registry refuses.
    pub async fn set(&self, change: &Change) -> Result<Shown, Error> {
        if change.desired.weight.is_some_and(|weight| weight > MAX_WEIGHT) {
            return Err(Error::Weight);
        }
        let before = self.find(&change.backend, &change.server)?;
        let (backend, discovered) = (&before.pool.settings.name, before.listed().server.discovered);
        if discovered && change.desired.address.is_some() {
            return Err(Error::Discovered { server: change.server.clone() });
        }
        let key = desired_key(backend, &change.server, discovered);
        let number = self.view.snapshot().number;
        if discovered {
            match self
                .registry
                .write(&change.server, change.desired, &change.reason(), change.force)
                .await
            {
                Ok(()) => self.view.roster.written(&key).await,
                Err(registry::Error::OutOfReach(why)) => {
                    tracing::warn!(
                        server = change.server,
                        "kept here, as the registry is out of reach: {why}"
                    );
                    self.view.roster.set(&key, change.desired).await;
                }
                Err(registry::Error::Refused(refused)) => return Err(refused.into()),
            }
        } else {
            self.view.roster.set(&key, change.desired).await;
        }
        self.shown(backend, &change.server, change.desired, number).await
    }

    /// Has this balancer ask a server's agent no more, or again. What the agent said last lasts.
    pub fn pause_agent(&self, shown: &Shown, pause: bool) {
        shown.listed().server.tally.checks.agent_paused.store(pause, Relaxed);
    }

    /// Says in a server's agent's place that it is up, or down, until the agent says otherwise.
    ///
    /// # Errors
    /// There is no such server any more.
    pub async fn say_as_agent(&self, shown: &Shown, up: bool) -> Result<Shown, Error> {
        let (backend, listed) = (&shown.pool.settings.name, shown.listed());
        let number = self.view.snapshot().number;
        let word = if up { "up" } else { "down # an operator said so" };
        self.view.roster.agent_said(listed.server.key, Some(word.to_owned())).await;
        let down = |it: &Listed| {
            let said = |it: &Reason| matches!(it, Reason::Failed(Fault::Agent(_)));
            it.judgement.reasons.iter().any(said)
        };
        self.until(backend, &listed.server.name, |it| down(it) != up, number).await
    }

    /// Sets how many requests and tunnels a server may have at a time; 0: any number. It holds for
    /// this balancer alone, until it ends or the bundle says something new of that server.
    ///
    /// # Errors
    /// There is no such server.
    pub async fn set_maxconn(
        &self,
        backend: &str,
        server: &str,
        most: u32,
    ) -> Result<Shown, Error> {
        let most = Some(most).filter(|most| *most > 0);
        let backend = self.find(backend, server)?.pool.settings.name.clone();
        let number = self.view.snapshot().number;
        self.view.roster.set_maxconn(&backend, server, most).await;
        self.until(&backend, server, |it| it.maxconn == most, number).await
    }

    /// Has this balancer think that a server is well, or that it is not, until checks and traffic
    /// say otherwise.
    pub fn say(&self, shown: &Shown, well: bool) {
        let seen = if well { Seen::SaidToBeWell } else { Seen::Failed(Fault::Told) };
        self.view.roster.observe(shown.listed().server.key, seen);
    }

    /// Has this balancer's own checks of a server rest, or go on.
    pub fn pause_checks(&self, shown: &Shown, pause: bool) {
        shown.listed().server.tally.checks.paused.store(pause, Relaxed);
    }

    /// Ends what is under way at a server through this balancer. Requests of which nothing was
    /// answered may be tried on another one, as when a server dies.
    pub fn cut(&self, shown: &Shown) {
        shown.listed().server.signs.cut();
    }

    /// Waits until the roster shows what was set.
    async fn shown(
        &self,
        backend: &str,
        server: &str,
        desired: Desired,
        number: u64,
    ) -> Result<Shown, Error> {
        self.until(backend, server, |it| is_as(it, desired), number).await
    }

    async fn until(
        &self,
        backend: &str,
        server: &str,
        is: impl Fn(&Listed) -> bool,
        mut number: u64,
    ) -> Result<Shown, Error> {
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let now = self.find(backend, server)?;
            if is(now.listed())
                || !matches!(
                    tokio::time::timeout_at(deadline, self.view.roster.newer_than(number)).await,
                    Ok(true)
                )
            {
                return Ok(now);
            }
            number = self.view.snapshot().number;
        }
    }
}

/// An admin state wanted, and nothing else.
impl From<AdminState> for Desired {
    fn from(admin: AdminState) -> Self {
        Self { admin: Some(admin), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_it_is() {
        let change = |desired| {
            Change { backend: String::new(), server: "node-1".to_owned(), desired, force: false }
                .reason()
        };
        assert_eq!(change(AdminState::Drain.into()), "node-1: Drain, by a balancer");
        assert_eq!(
            change(Desired { weight: Some(7), ..Desired::default() }),
            "node-1: weight 7, by a balancer"
        );
        assert_eq!(
            change(Desired { weight: Some(7), ..AdminState::Ready.into() }),
            "node-1: Ready, weight 7, by a balancer"
        );
    }
}
