//! Names to addresses, with a cache of its own.
//!
//! Workers look into the cache themselves ([`answers`]); what is not there is asked for on the
//! control runtime, once for all who wait ([`serve`]), so that no worker ever waits for a
//! resolver's sockets or timers. Literal addresses never come here. `/etc/hosts` and `localhost`
//! are honoured.
//!
//! **Reading order**: [`Resolver`] (what a request asks) → [`share`] (whose question is next) →
//! [`serve`] → [`families`] (A and AAAA, each on its own clock) → [`client`] (servers, retries)
//! → [`message`] (octets). Beside it [`files`] (resolv.conf and hosts, and when they change).
//!
//! The client is our own, as the codec of HTTP is: a library that takes names to be host names
//! refuses those that real hosts have (RFC 2181 §11), and what a look-up may cost others has to be
//! known here.

pub mod answers;
pub mod client;
mod error;
pub mod families;
pub mod files;
pub mod message;
pub mod share;

use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub use self::error::{Error, Resolved};
use self::{
    answers::Answers,
    files::{Hosts, System},
    message::Family,
    share::{Asker, Question, Share, Shares},
};

/// Questions on their way from the workers.
const QUEUE: usize = 4096;
/// Look-ups of which one family has answered and the other may still.
const LATE: usize = 512;
/// RFC 8767 §5: who could have an expired answer waits so long for a new one.
pub const PATIENCE: Duration = Duration::from_millis(1800);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Asks for addresses. Cheap to clone; for every thread.
#[derive(Clone, Debug)]
pub struct Resolver {
    known: Arc<Known>,
    questions: mpsc::Sender<Question>,
}

/// What is known without asking.
#[derive(Debug, Default)]
struct Known {
    answers: Answers,
    hosts: ArcSwap<Hosts>,
}

impl Resolver {
    /// A resolver, and the questions that [`serve`] answers.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, receiver) = mpsc::channel(QUEUE);
        (Self { known: Arc::default(), questions }, receiver)
    }

    /// What is known now.
    #[must_use]
    pub fn cached(&self, host: &str) -> Option<Resolved> {
        if let Some(loopback) = localhost(host) {
            return Some(Ok(loopback));
        }
        if let Some(addresses) = self.known.hosts.load().get(host) {
            return Some(Ok(addresses));
        }
        self.known.answers.get(host, relay::clock::now())
    }

    /// The addresses of a name (lower case, no dot at the end), on this node's own account. The
    /// caller sets the deadline.
    pub async fn resolve(&self, host: &str) -> Resolved {
        self.resolve_for(host, Asker::Node).await
    }

    /// The same, for somebody, out of whose share it is taken.
    pub async fn resolve_for(&self, host: &str, asker: Asker) -> Resolved {
        match self.cached(host) {
            Some(known) => known,
            None => self.ask(host, asker, false).await,
        }
    }

    /// The addresses of a name once both families have answered or are late: more than an answer of
    /// a moment ago may have had.
    pub async fn whole(&self, host: &str, asker: Asker) -> Resolved {
        if localhost(host).is_some() || self.known.hosts.load().get(host).is_some() {
            return self.resolve_for(host, asker).await;
        }
        self.ask(host, asker, true).await
    }

    async fn ask(&self, host: &str, asker: Asker, whole: bool) -> Resolved {
        let (answer, answered) = oneshot::channel();
        // A full queue means that the control runtime is stuck.
        self.questions
            .try_send(Question { host: host.into(), asker, whole, answer })
            .map_err(|_| Error::Failed)?;
        answered.await.unwrap_or(Err(Error::Failed))
    }

    /// Addresses that have expired: who has them waits for no more than [`PATIENCE`], and goes on
    /// with them ([`Self::or_expired`]).
    #[must_use]
    pub fn expired(&self, host: &str) -> Option<Arc<[IpAddr]>> {
        self.known.answers.expired(host, relay::clock::now())
    }

    /// The answer, or what has expired where there is none (RFC 8767); then nobody waits for that
    /// name again for a while.
    pub fn or_expired(
        &self,
        host: &str,
        answer: Resolved,
        expired: Option<Arc<[IpAddr]>>,
    ) -> Resolved {
        match (answer, expired) {
            (Err(problem), Some(addresses)) if problem != Error::NotFound => {
                self.known.answers.postpone(host, relay::clock::now());
                Ok(addresses)
            }
            (answer, _) => answer,
        }
    }

    /// The hosts file is another now, and the servers may be.
    pub fn renew(&self, hosts: Hosts) {
        self.known.hosts.store(Arc::new(hosts));
        self.known.answers.expire(relay::clock::now());
    }

    fn remember(&self, host: &str, resolved: &Resolved, ttl: Duration) {
        self.known.answers.put(host, resolved, ttl, relay::clock::now());
    }
}

/// `localhost` and everything under it is loopback, whatever a server says (RFC 6761 §6.3).
pub fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn localhost(host: &str) -> Option<Arc<[IpAddr]>> {
    is_localhost(host).then(|| [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into())
}

/// Tells what a look-up has before it has everything.
#[derive(Debug)]
pub struct Early {
    host: Box<str>,
    told: mpsc::Sender<(Box<str>, Resolved, Duration)>,
    late: Arc<Semaphore>,
}

impl Early {
    /// Tells it to those who wait, who go on with it. While the permit is held the look-up goes on,
    /// in nobody's share; `None`: it is not worth it.
    pub fn tell(self, resolved: Resolved, ttl: Duration) -> Option<OwnedSemaphorePermit> {
        let permit = self.late.try_acquire_owned().ok()?;
        self.told.try_send((self.host, resolved, ttl)).ok()?;
        Some(permit)
    }
}

/// Who waits for a look-up.
#[derive(Debug, Default)]
struct Waiting {
    /// For what there is first.
    first: Vec<Question>,
    /// For all of it.
    whole: Vec<Question>,
    /// Until somebody has been told something.
    share: Option<Share>,
}

/// Answers questions until all [`Resolver`]s are gone. `lookup` resolves one name and tells how
/// long the answer counts.
pub async fn serve<F>(
    resolver: Resolver,
    questions: &mut mpsc::Receiver<Question>,
    lookup: impl Fn(Box<str>, Early) -> F,
) where
    F: Future<Output = (Resolved, Duration)>,
{
    let (told, mut early) = mpsc::channel(LATE);
    let late = Arc::new(Semaphore::new(LATE));
    let mut under_way = FuturesUnordered::new();
    let mut owner =
        Owner { resolver, shares: Shares::default(), waiting: HashMap::new(), due: Vec::new() };
    loop {
        for host in owner.due.drain(..) {
            let found = lookup(
                host.clone(),
                Early { host: host.clone(), told: told.clone(), late: late.clone() },
            );
            under_way.push(async move {
                let (resolved, ttl) = found.await;
                (host, resolved, ttl)
            });
        }
        tokio::select! {
            // What is told early was known before what is told last.
            biased;
            Some((host, resolved, ttl)) = early.recv() => owner.tell_early(&host, &resolved, ttl),
            Some((host, resolved, ttl)) = under_way.next(), if !under_way.is_empty() => {
                owner.tell(&host, &resolved, ttl);
            }
            question = questions.recv() => match question {
                Some(question) => owner.receive(question),
                None => return,
            },
        }
    }
}

/// What is being looked up, and for whom.
struct Owner {
    resolver: Resolver,
    shares: Shares,
    waiting: HashMap<Box<str>, Waiting>,
    /// Names whose look-up is to be started.
    due: Vec<Box<str>>,
}

impl Owner {
    fn receive(&mut self, question: Question) {
        if let Some(question) = self.settle(question)
            && let Some((question, share)) = self.shares.take(question)
        {
            self.start(question, share);
        }
    }

    /// Answers a question that needs no look-up, or adds it to one that is under way. Gives it back
    /// if neither is.
    fn settle(&mut self, question: Question) -> Option<Question> {
        let waiting = self.waiting.get_mut(&question.host);
        match (waiting, self.resolver.cached(&question.host)) {
            (Some(waiting), _) if question.whole => waiting.whole.push(question),
            (_, Some(known)) => question.tell(known),
            (Some(waiting), None) => waiting.first.push(question),
            (None, None) => return Some(question),
        }
        None
    }

    fn start(&mut self, question: Question, share: Share) {
        // It may have been answered, or asked by somebody else, while it waited for its turn.
        let Some(question) = self.settle(question) else { return self.shares.give_back(share) };
        let host = question.host.clone();
        let (first, whole) = if question.whole {
            (Vec::new(), vec![question])
        } else {
            (vec![question], Vec::new())
        };
        self.waiting.insert(host.clone(), Waiting { first, whole, share: Some(share) });
        self.due.push(host);
    }

    fn tell_early(&mut self, host: &str, resolved: &Resolved, ttl: Duration) {
        self.resolver.remember(host, resolved, ttl);
        let Some(waiting) = self.waiting.get_mut(host) else { return };
        waiting.first.drain(..).for_each(|question| question.tell(resolved.clone()));
        let share = waiting.share.take();
        self.free(share);
    }

    fn tell(&mut self, host: &str, resolved: &Resolved, ttl: Duration) {
        self.resolver.remember(host, resolved, ttl);
        let Some(waiting) = self.waiting.remove(host) else { return };
        waiting
            .first
            .into_iter()
            .chain(waiting.whole)
            .for_each(|question| question.tell(resolved.clone()));
        self.free(waiting.share);
    }

    fn free(&mut self, share: Option<Share>) {
        if let Some(share) = share {
            self.shares.give_back(share);
        }
        while let Some((question, share)) = self.shares.turn() {
            self.start(question, share);
        }
    }
}

/// One look-up with the servers of this host.
pub async fn look_up(system: Arc<System>, host: Box<str>, early: Early) -> (Resolved, Duration) {
    let servers = system.servers.load_full();
    let (v4, v6) = (
        system.client.ask(&servers, &host, Family::V4),
        system.client.ask(&servers, &host, Family::V6),
    );
    families::both(v4, v6, |resolved, ttl| early.tell(resolved, ttl)).await
}

/// Looks at the files again and again.
pub async fn follow(system: Arc<System>, resolver: Resolver) {
    loop {
        tokio::time::sleep(LOOK).await;
        let looking = system.clone();
        // Disks can be slow.
        if let Ok(Some(hosts)) = tokio::task::spawn_blocking(move || looking.refresh()).await {
            resolver.renew(hosts);
        }
    }
}

#[cfg(test)]
mod tests;
