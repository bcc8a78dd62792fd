//! Names to addresses, with a cache of its own.
//!
//! Workers look into the cache themselves; what is not there is asked for on the control runtime, once for all who wait ([`serve`]), so that no
//! worker ever waits for a resolver's sockets or timers. Literal addresses never come here. `/etc/hosts` and `localhost` are honoured.

use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use tokio::sync::{mpsc, oneshot};

/// Names kept. A full cache forgets what has expired, and everything when that is not enough.
const MOST_NAMES: usize = 16_384;
/// Questions that wait to be taken up.
const QUEUE: usize = 1024;
/// Questions under way at a time.
const CONCURRENT: usize = 256;
/// An answer counts at least and at most so long.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);
/// A failure counts so long.
const NEGATIVE: Duration = Duration::from_secs(5);

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsProblem {
    /// There is no such name, or it has no address.
    #[error("there is no such name")]
    NotFound,
    /// No answer in time.
    #[error("the resolver did not answer in time")]
    Timeout,
    /// Too many names are being looked up for this client, or below this domain.
    #[error("too many other names are being looked up")]
    Busy,
    /// Any other failure of the resolver.
    #[error("the resolver failed")]
    Failed,
}

/// What a name resolves to.
pub type Resolved = Result<Arc<[IpAddr]>, DnsProblem>;

/// Names, what they resolve to, and until when that counts.
type Known = HashMap<Box<str>, (Resolved, Instant)>;

/// Asks for addresses. Cheap to clone; for every thread.
#[derive(Clone, Debug)]
pub struct Resolver {
    cache: Arc<Mutex<Known>>,
    questions: mpsc::Sender<Question>,
}

/// A question on its way to the control runtime.
#[derive(Debug)]
pub struct Question {
    host: Box<str>,
    answer: oneshot::Sender<Resolved>,
}

impl Resolver {
    /// A resolver, and the questions that [`serve`] answers.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, receiver) = mpsc::channel(QUEUE);
        (Self { cache: Arc::default(), questions }, receiver)
    }

    /// What the cache knows.
    #[must_use]
    pub fn cached(&self, host: &str) -> Option<Resolved> {
        if let Some(loopback) = localhost(host) {
            return Some(Ok(loopback));
        }
        let cache = self.lock();
        let (resolved, until) = cache.get(host)?;
        (Instant::now() < *until).then(|| resolved.clone())
    }

    /// The addresses of a name (lower case, no dot at the end). The caller sets the deadline.
    pub async fn resolve(&self, host: &str) -> Resolved {
        if let Some(known) = self.cached(host) {
            return known;
        }
        let (answer, answered) = oneshot::channel();
        // A full queue means that the resolver is stuck.
        self.questions.try_send(Question { host: host.into(), answer }).map_err(|_| DnsProblem::Failed)?;
        answered.await.unwrap_or(Err(DnsProblem::Failed))
    }

    fn remember(&self, host: Box<str>, resolved: &Resolved, ttl: Duration) {
        let now = Instant::now();
        let mut cache = self.lock();
        if cache.len() >= MOST_NAMES {
            cache.retain(|_, (_, until)| now < *until);
            if cache.len() >= MOST_NAMES {
                cache.clear();
            }
        }
        cache.insert(host, (resolved.clone(), now + ttl));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `localhost` and everything under it is loopback, whatever a server says (RFC 6761 §6.3).
pub fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn localhost(host: &str) -> Option<Arc<[IpAddr]>> {
    is_localhost(host).then(|| [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into())
}

/// Answers questions until all [`Resolver`]s are gone. `lookup` resolves one name and tells how long the answer counts.
pub async fn serve<F>(resolver: Resolver, questions: &mut mpsc::Receiver<Question>, lookup: impl Fn(Box<str>) -> F)
where
    F: Future<Output = (Resolved, Duration)>,
{
    let mut waiting: HashMap<Box<str>, Vec<oneshot::Sender<Resolved>>> = HashMap::new();
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some((host, resolved, ttl)) = under_way.next(), if !under_way.is_empty() => {
                let host: Box<str> = host;
                resolver.remember(host.clone(), &resolved, ttl);
                for answer in waiting.remove(&host).unwrap_or_default() {
                    drop(answer.send(resolved.clone())); // who asked may have gone
                }
            }
            question = questions.recv(), if under_way.len() < CONCURRENT => {
                let Some(Question { host, answer }) = question else { return };
                // It may have been answered while this question waited in the queue.
                if let Some(known) = resolver.cached(&host) {
                    drop(answer.send(known));
                    continue;
                }
                let others = waiting.entry(host.clone()).or_default();
                others.push(answer);
                if others.len() == 1 {
                    let found = lookup(host.clone());
                    under_way.push(async move {
                        let (resolved, ttl) = found.await;
                        (host, resolved, ttl)
                    });
                }
            }
        }
    }
}

/// The system's resolver: `/etc/resolv.conf` and `/etc/hosts`. Without a readable resolv.conf only the latter counts.
pub fn system() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
        tracing::warn!(%error, "no usable /etc/resolv.conf: names are looked up in /etc/hosts only");
        TokioResolver::builder_with_config(ResolverConfig::from_name_servers(Vec::new()), TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    options.positive_min_ttl = Some(SHORTEST);
    options.try_tcp_on_error = true;
    builder.build()
}

/// One look-up with the system's resolver.
pub async fn look_up(resolver: Arc<TokioResolver>, host: Box<str>) -> (Resolved, Duration) {
    // With the dot at the end, so that no search domain is tried: clients give full names.
    match resolver.lookup_ip(format!("{host}.")).await {
        Ok(found) => {
            let ttl = found.valid_until().saturating_duration_since(Instant::now()).clamp(SHORTEST, LONGEST);
            let addresses: Vec<IpAddr> = found.iter().collect();
            if addresses.is_empty() { (Err(DnsProblem::NotFound), NEGATIVE) } else { (Ok(addresses.into()), ttl) }
        }
        Err(error) => {
            let problem = match error {
                _ if error.is_nx_domain() || error.is_no_records_found() => DnsProblem::NotFound,
                NetError::Timeout => DnsProblem::Timeout,
                _ => DnsProblem::Failed,
            };
            tracing::debug!(%host, %error, "name not resolved");
            (Err(problem), NEGATIVE)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_question_serves_all_who_wait_and_the_answer_is_kept() {
        let (resolver, mut questions) = Resolver::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let (release, released) = tokio::sync::watch::channel(false);
        let count = asked.clone();
        let server = resolver.clone();
        tokio::spawn(async move {
            serve(server, &mut questions, |host| {
                count.fetch_add(1, Ordering::SeqCst);
                let mut released = released.clone();
                async move {
                    released.wait_for(|yes| *yes).await.unwrap();
                    match &*host {
                        "good.example" => (Ok([IpAddr::from([192, 0, 2, 1])].into()), Duration::from_secs(60)),
                        _ => (Err(DnsProblem::NotFound), NEGATIVE),
                    }
                }
            })
            .await;
        });
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                tokio::spawn({
                    let resolver = resolver.clone();
                    async move { resolver.resolve("good.example").await }
                })
            })
            .collect();
        assert!(resolver.cached("good.example").is_none());
        release.send_replace(true);
        for one in waiting {
            assert_eq!(one.await.unwrap().unwrap()[0], IpAddr::from([192, 0, 2, 1]));
        }
        assert!(resolver.cached("good.example").unwrap().is_ok());
        assert_eq!(resolver.resolve("bad.example").await, Err(DnsProblem::NotFound));
        assert_eq!(resolver.resolve("bad.example").await, Err(DnsProblem::NotFound));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn localhost_needs_no_resolver() {
        let (resolver, questions) = Resolver::new();
        drop(questions);
        assert!(resolver.resolve("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        assert!(resolver.resolve("a.localhost").await.is_ok());
        assert_eq!(resolver.resolve("elsewhere").await, Err(DnsProblem::Failed));
    }
}
