//! The new process's side.

use std::{
    collections::BTreeMap,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Handed, Totals,
    channel::{self, Channel},
    message::{Answer, Hello, PROTOCOL, Step, Terms, Word},
    series, socket_in,
};
use crate::error::Error;

/// How long each answer of the running process may take.
const WITHIN: Duration = Duration::from_secs(10);
/// A process whose connection has ended is gone within this time, or lives.
const GONE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Who takes over.
pub(crate) struct Claimant<'a> {
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
    pub(crate) clusters: &'a [String],
}

impl Claimant<'_> {
    pub(super) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            service: self.service.to_owned(),
            name: self.name.to_owned(),
            clusters: self.clusters.to_vec(),
            version: crate::version::VERSION.to_owned(),
            pid: std::process::id(),
        }
    }
}

/// The process from which this one takes over. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Predecessor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: String,
    state: BTreeMap<String, String>,
    handed: Mutex<Vec<Handed>>,
    channel: Mutex<Option<Channel>>,
    confirmed: watch::Sender<bool>,
}

/// Asks the process that runs with this data dir; none: there is nobody, or it has died meanwhile.
///
/// # Errors
/// It refuses, or does not answer.
pub(crate) fn claim(data_dir: &Path, own: &Claimant<'_>) -> Result<Option<Predecessor>, Error> {
    let stream = match UnixStream::connect(socket_in(data_dir)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            tracing::info!("there is no process to take over from: starting as usual");
            return Ok(None);
        }
        Err(error) => {
            return Err(Error::new(format!(
                "cannot take over from the process of {}: {error}",
                data_dir.display()
            ))
            .remedy("run as the user of that process, or restart it instead"));
        }
    };
    let mut channel = Channel::new(stream);
    match offered(&mut channel, own) {
        Ok(Ok((terms, handed))) => {
            tracing::info!(descriptors = handed.len(), "the running process offers what it has");
            Ok(Some(Predecessor(Arc::new(Shared {
                id: terms.id,
                state: terms.state,
                handed: Mutex::new(handed),
                channel: Mutex::new(Some(channel)),
                confirmed: watch::Sender::new(false),
            }))))
        }
        Ok(Err(why)) => Err(Error::new(format!("the running process does not hand over: {why}"))
            .remedy("give the data dir of that process, or restart it instead")),
        Err(channel::Error::Gone) if has_gone(&channel) => {
            tracing::warn!("the process to take over from has died: starting as usual");
            Ok(None)
        }
        Err(error) => Err(broken(&error)),
    }
}

fn offered(
    channel: &mut Channel,
    own: &Claimant<'_>,
) -> Result<Result<(Terms, Vec<Handed>), String>, channel::Error> {
    channel.send(&own.hello(), WITHIN)?;
    let terms = match channel.receive(Some(WITHIN))? {
        Answer::Refused(why) => return Ok(Err(why)),
        Answer::Offer(terms) => terms,
    };
    let count = terms.handed.iter().fold(0_usize, |sum, it| sum.saturating_add(it.count));
    let mut all = channel.receive_descriptors(count, WITHIN)?.into_iter();
    let handed = terms.handed.iter().map(|it| Handed {
        purpose: it.purpose.clone(),
        which: it.which.clone(),
        descriptors: all.by_ref().take(it.count).collect(),
    });
    let handed = handed.collect();
    Ok(Ok((terms, handed)))
}

/// Whether the process at the other end of a connection that has ended is dead.
#[allow(clippy::disallowed_methods, reason = "a few steps of a start, on no runtime")]
fn has_gone(channel: &Channel) -> bool {
    let Some(peer) = channel.peer() else { return false };
    let mut waited = Duration::ZERO;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", peer.pid()));
        // After the name, which is in parentheses: Z is dead and not buried, X dead.
        let state = stat
            .ok()
            .and_then(|it| it.rsplit_once(") ").and_then(|(_, after)| after.chars().next()));
        if matches!(state, None | Some('Z' | 'X')) {
            return true;
        }
        if waited >= GONE_WITHIN {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

fn broken(error: &channel::Error) -> Error {
    Error::new(format!("the running process hands over and does not finish: {error}"))
        .remedy("it goes on as before; look into its log, or restart it instead")
}

impl Predecessor {
    /// With which it is registered.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// The descriptors for something, which are given once.
    #[must_use]
    pub fn take(&self, purpose: &str, which: &str) -> Vec<OwnedFd> {
        self.take_if(|it| it.purpose == purpose && it.which == which)
            .map(|it| it.descriptors)
            .unwrap_or_default()
    }

    /// The descriptors for all of a kind, by what they are for; to be asked for before
    /// [`confirm`](Self::confirm), which closes what nobody has taken.
    #[must_use]
    pub fn take_all(&self, purpose: &str) -> Vec<(String, Vec<OwnedFd>)> {
        let all = std::iter::from_fn(|| self.take_if(|it| it.purpose == purpose));
        all.map(|it| (it.which, it.descriptors)).collect()
    }

    pub(crate) fn take_if(&self, is: impl Fn(&Handed) -> bool) -> Option<Handed> {
        let mut handed = lock(&self.0.handed);
        let place = handed.iter().position(is)?;
        Some(handed.swap_remove(place))
    }

    /// What it has told, by name.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<&str> {
        self.0.state.get(name).map(String::as_str)
    }

    /// This process is built and could accept: takes over, and answers what was counted. Nobody
    /// accepts between the moment in which this returns and the moment in which this process
    /// begins.
    ///
    /// # Errors
    /// The other process goes on; this one has to end.
    pub async fn confirm(&self) -> Result<Totals, Error> {
        let this = self.clone();
        let confirmed = tokio::task::spawn_blocking(move || this.confirm_now()).await;
        let totals = confirmed.unwrap_or_else(|error| {
            Err(Error::new(format!("cannot take over: {error}")).remedy("try again"))
        })?;
        // What is not wanted any more is closed: a listener of an older configuration.
        lock(&self.0.handed).clear();
        self.0.confirmed.send_replace(true);
        Ok(totals)
    }

    fn confirm_now(&self) -> Result<Totals, Error> {
        let mut channel = lock(&self.0.channel);
        let Some(open) = channel.as_mut() else { return Ok(Totals::new()) };
        let stepped = open.send(&Step::Ready, WITHIN).and_then(|()| {
            let totals = match open.receive(Some(WITHIN))? {
                Word::Go(totals) | Word::Late(totals) => Ok(totals),
                Word::Withdrawn(why) => Err(why),
            };
            if totals.is_ok() {
                open.send(&Step::Taken, WITHIN)?;
            }
            Ok(totals)
        });
        match stepped {
            Ok(Ok(mut totals)) => {
                series::continue_with(&totals.remove(series::KEY).unwrap_or_default());
                tracing::info!("taken over");
                Ok(totals)
            }
            Ok(Err(why)) => Err(Error::new(format!("the running process goes on: {why}"))
                .remedy("start again without --take-over when it has ended")),
            Err(channel::Error::Gone) if has_gone(open) => {
                *channel = None;
                tracing::warn!(
                    "the process to take over from has died: going on alone, with its sockets and \
                     without its counters"
                );
                Ok(Totals::new())
            }
            Err(error) => Err(broken(&error)),
        }
    }

    /// Returns once this process has taken over.
    pub async fn confirmed(&self) {
        // An error means that the process ends.
        drop(self.0.confirmed.subscribe().wait_for(|confirmed| *confirmed).await);
    }

    /// Hands on what the other process counts while it drains, when it ends.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn hear_late(&self, hear: impl FnOnce(Totals) + Send + 'static) -> io::Result<()> {
        let Some(mut channel) = lock(&self.0.channel).take() else { return Ok(()) };
        let thread = std::thread::Builder::new().name("take-over".to_owned());
        thread.spawn(move || match channel.receive(None) {
            Ok(Word::Late(mut totals)) => {
                totals.remove(series::KEY);
                hear(totals);
                tracing::info!("the process before this one has drained");
            }
            Ok(_) | Err(_) => tracing::warn!(
                "the process before this one has ended without a word: what it counted last is lost"
            ),
        })?;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
