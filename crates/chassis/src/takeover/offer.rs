//! The running process's side: whoever comes is asked who it is, and one at a time is served.

use std::{
    io,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::unistd::geteuid;

use super::{
    Belongings, Estate, Handed, Totals,
    channel::{self, Channel},
    message::{Answer, Described, Hello, Step, Terms, Word},
};

/// How long the successor may take to say who it is, and that it has taken over.
const WORD_WITHIN: Duration = Duration::from_secs(5);
/// How long it may take to be built.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// After an accept that failed for want of descriptors or memory.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What the process does around its service's part.
pub(crate) trait Process: Send + Sync + 'static {
    /// What every process hands over.
    fn belongings(&self) -> io::Result<Vec<Handed>>;
    fn totals(&self) -> Totals;
    /// A successor is being built from what is on the disk.
    fn prepare(&self);
    /// It has come to nothing.
    fn go_on(&self);
    /// It serves, by its process id.
    fn hand_over(&self, successor: u32);
    /// It is too late: the process stops.
    fn stops(&self) -> bool;
}

/// The successor, which hears at the end what was counted.
#[derive(Clone, Default)]
pub(crate) struct Heir(Arc<Mutex<Option<Channel>>>);

impl Heir {
    /// Tells it what was counted; nothing where there is none.
    pub(crate) fn tell(&self, totals: Totals) {
        let channel = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut channel) = channel
            && let Err(error) = channel.send(&Word::Late(totals), WORD_WITHIN)
        {
            tracing::warn!("the successor is not told what was counted last: {error}");
        }
    }
}

/// What is offered, and to whom.
pub(crate) struct Offer {
    pub(crate) hello: HelloOf,
    pub(crate) id: String,
    pub(crate) estate: Arc<dyn Estate>,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) heir: Heir,
    pub(crate) path: PathBuf,
    busy: AtomicBool,
}

/// Who this process is.
pub(crate) struct HelloOf(Hello);

impl HelloOf {
    pub(crate) fn new(own: &super::Claimant<'_>) -> Self {
        Self(own.hello())
    }
}

impl Offer {
    pub(crate) fn new(
        hello: HelloOf,
        id: String,
        (estate, process): (Arc<dyn Estate>, Arc<dyn Process>),
        heir: Heir,
        data_dir: &std::path::Path,
    ) -> Self {
        let (path, busy) = (super::socket_in(data_dir), AtomicBool::new(false));
        Self { hello, id, estate, process, heir, path, busy }
    }

    /// Listens at the file, in the place of whoever did before.
    ///
    /// # Errors
    /// The file cannot be made, or its path is too long.
    pub(crate) fn listen(&self) -> io::Result<UnixListener> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        std::fs::rename(&new, &self.path)?;
        Ok(listener)
    }

    /// Serves successors until one has taken over, or for ever.
    pub(crate) async fn serve(self: Arc<Self>, listener: Arc<tokio::net::UnixListener>) {
        loop {
            let accepted = listener.accept().await.and_then(|(stream, _)| stream.into_std());
            match accepted.and_then(|it| it.set_nonblocking(false).map(|()| it)) {
                Ok(stream) => {
                    let this = Arc::clone(&self);
                    tokio::task::spawn_blocking(move || this.meet(stream));
                }
                Err(error) => {
                    tracing::warn!("cannot accept who takes over: {error}");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn meet(&self, stream: UnixStream) {
        let mut channel = Channel::new(stream);
        let peer = channel.peer().map(|it| it.uid());
        // The file's mode says so too; root may open it all the same.
        if !peer.is_some_and(|uid| uid == 0 || uid == geteuid().as_raw()) {
            tracing::warn!(?peer, "another user's process may not take over");
            return;
        }
        if self.busy.swap(true, Ordering::AcqRel) {
            return self.refuse(&mut channel, "another process is taking over");
        }
        let came_to = self.negotiate(&mut channel);
        match came_to {
            Ok(Some(hello)) => {
                tracing::info!(pid = hello.pid, version = hello.version, "taken over from");
                *self.heir.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
                // For good: there is nothing left to hand over.
            }
            Ok(None) => self.busy.store(false, Ordering::Release),
            Err(error) => {
                self.busy.store(false, Ordering::Release);
                tracing::warn!("a process that took over has not come to its end: {error}");
                self.process.go_on();
            }
        }
    }

    fn refuse(&self, channel: &mut Channel, why: &str) {
        tracing::warn!("a process may not take over: {why}");
        // It may not have said anything yet, and has to be heard before it hears.
        drop(channel.receive::<Hello>(Some(WORD_WITHIN)));
        drop(channel.send(&Answer::Refused(why.to_owned()), WORD_WITHIN));
    }

    /// To the end, or back; none: it was refused.
    fn negotiate(&self, channel: &mut Channel) -> Result<Option<Hello>, channel::Error> {
        let hello: Hello = channel.receive(Some(WORD_WITHIN))?;
        let refused = hello.refused_by(&self.hello.0);
        let stops = || self.process.stops().then(|| "it is being stopped".to_owned());
        if let Some(why) = refused.or_else(stops) {
            tracing::warn!("a process may not take over: {why}");
            channel.send(&Answer::Refused(why), WORD_WITHIN)?;
            return Ok(None);
        }
        tracing::info!(pid = hello.pid, version = hello.version, "a process wants to take over");
        let Belongings { mut handed, state } =
            self.estate.belongings().map_err(channel::Error::Io)?;
        handed.extend(self.process.belongings().map_err(channel::Error::Io)?);
        let described = handed.iter().map(|it| Described {
            purpose: it.purpose.clone(),
            which: it.which.clone(),
            count: it.descriptors.len(),
        });
        let terms = Terms { id: self.id.clone(), handed: described.collect(), state };
        self.process.prepare();
        channel.send(&Answer::Offer(terms), WORD_WITHIN)?;
        let all: Vec<_> = handed.into_iter().flat_map(|it| it.descriptors).collect();
        channel.send_descriptors(&all, WORD_WITHIN)?;
        // Its own duplicates would keep sockets open that the configuration closes meanwhile.
        drop(all);
        self.expect(channel, Step::Ready, READY_WITHIN)?;
        if self.process.stops() {
            channel.send(&Word::Withdrawn("it is being stopped".to_owned()), WORD_WITHIN)?;
            return Err(channel::Error::Gone);
        }
        channel.send(&Word::Go(self.totals()), WORD_WITHIN)?;
        self.expect(channel, Step::Taken, WORD_WITHIN)?;
        // From here on there is no way back.
        self.estate.hand_over();
        self.process.hand_over(hello.pid);
        Ok(Some(hello))
    }

    #[allow(clippy::unused_self, reason = "a step of the negotiation")]
    fn expect(
        &self,
        channel: &mut Channel,
        step: Step,
        within: Duration,
    ) -> Result<(), channel::Error> {
        match channel.receive::<Step>(Some(within))? {
            said if said == step => Ok(()),
            _ => Err(channel::Error::Descriptors),
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = self.estate.totals();
        totals.extend(self.process.totals());
        totals
    }
}
