//! What every process hands over, and what it goes on with: its ports, the lock on its data dir,
//! its id, its configuration on the disk, the counters of the recorder.

use std::{io, os::fd::OwnedFd, path::Path, sync::Arc};

use cluster::{InstanceId, Service};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    configuration::owner::Current,
    data_dir::DataDir,
    error::Error,
    exposition::Exposition,
    identity::ProcessIdentity,
    lifecycle::{Lifecycle, StopSignal},
    ports::Ports,
    supervise::Supervisor,
    systemd,
    takeover::{self, Claimant, Estate, Handed, Heir, HelloOf, Offer, Predecessor, Totals, series},
};

/// What the lock on the data dir is handed over as.
const LOCK: &str = "data-dir";
const DEFECT: &str = "restart the running process instead, and report this as a defect";

/// The lock on the data dir.
///
/// # Errors
/// The running process has not given it.
pub(crate) fn lock(predecessor: &Predecessor) -> Result<OwnedFd, Error> {
    let lock = predecessor.take(LOCK, "").into_iter().next();
    lock.ok_or_else(|| {
        Error::new("the running process does not hand over its data dir").remedy(DEFECT)
    })
}

/// The same instance of the cluster.
///
/// # Errors
/// What the running process calls itself is no id.
pub(crate) fn identity(
    predecessor: &Predecessor,
    service: Service,
    name: &str,
) -> Result<ProcessIdentity, Error> {
    let id = predecessor
        .id()
        .parse()
        .map(InstanceId)
        .map_err(|_| Error::new("the running process does not say its id").remedy(DEFECT))?;
    Ok(ProcessIdentity::continuing(service, name, id))
}

/// What a successor is offered.
pub(crate) fn offer(
    identity: &ProcessIdentity,
    clusters: &[String],
    parties: (Arc<dyn Estate>, Arc<dyn takeover::Process>),
    (heir, data_dir): (Heir, &Path),
) -> Offer {
    let service = identity.service().to_string();
    let own = Claimant { service: &service, name: identity.name(), clusters };
    Offer::new(HelloOf::new(&own), identity.id().to_string(), parties, heir, data_dir)
}

/// Serves successors until the process closes. Without it the process serves all the same.
pub(crate) fn serve(offer: Arc<Offer>, tasks: &Supervisor, closing: StopSignal) {
    let _runtime = tasks.runtime().enter();
    let listener = offer.listen().and_then(tokio::net::UnixListener::from_std);
    match listener {
        Ok(listener) => {
            let listener = Arc::new(listener);
            tasks.spawn("take-over", move || {
                let (offer, listener, closing) =
                    (Arc::clone(&offer), Arc::clone(&listener), closing.clone());
                async move {
                    tokio::select! {
                        () = closing.wait() => {}
                        () = offer.serve(listener) => {}
                    }
                }
            });
        }
        Err(error) => tracing::warn!(
            path = %offer.path.display(), "nobody can take over from this process: {error}"
        ),
    }
}

/// Starts the program of this process again at each SIGUSR2, with the same arguments, to take over:
/// the way of a service manager, of whose unit the new process is a part then.
pub(crate) fn start_successors(tasks: &Supervisor, stop: StopSignal) {
    tasks.spawn("successors", move || {
        let stop = stop.clone();
        async move {
            let asked = signal(SignalKind::user_defined2());
            let Ok(mut asked) = asked.inspect_err(|error| {
                tracing::warn!("no successor is started at a signal: {error}");
            }) else {
                return stop.wait().await;
            };
            loop {
                tokio::select! {
                    () = stop.wait() => return,
                    _ = asked.recv() => start_successor(),
                }
            }
        }
    });
}

fn start_successor() {
    let mut words = std::env::args_os();
    let Some(program) = words.next() else { return };
    let mut command = std::process::Command::new(program);
    command.args(words).env("SHOAL_TAKE_OVER", "true");
    // The watchdog's time is for whoever is the main process, and sockets come from this one: those
    // of the service manager, too.
    for of_this_process in ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(of_this_process);
    }
    match command.spawn() {
        Ok(mut child) => {
            tracing::info!(pid = child.id(), "a successor is started, as asked");
            tokio::task::spawn_blocking(move || {
                if let Ok(status) = child.wait() {
                    tracing::warn!("a successor has ended: {status}");
                }
            });
        }
        Err(error) => tracing::error!("cannot start a successor: {error}"),
    }
}

/// The process, as a successor meets it.
pub(crate) struct Process {
    pub(crate) ports: Ports,
    pub(crate) data_dir: DataDir,
    pub(crate) exposition: Exposition,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) configuration: Current,
}

impl takeover::Process for Process {
    fn belongings(&self) -> io::Result<Vec<Handed>> {
        let mut handed = self.ports.handed()?;
        handed.push(Handed::one(LOCK, "", self.data_dir.lock())?);
        Ok(handed)
    }

    fn totals(&self) -> Totals {
        [(series::KEY.to_owned(), self.exposition.counters())].into()
    }

    fn prepare(&self) {
        // The successor's start with the generation in force is no second start after a crash.
        if let Some(owner) = self.configuration.get() {
            owner.stopped_cleanly();
        }
    }

    fn go_on(&self) {
        if let Some(owner) = self.configuration.get() {
            owner.goes_on();
        }
    }

    fn hand_over(&self, successor: u32) {
        if let Some(owner) = self.configuration.get() {
            owner.retire();
        }
        self.ports.release();
        systemd::is_now(successor);
        self.lifecycle.hand_over();
    }

    fn stops(&self) -> bool {
        self.lifecycle.stop().is_stopping()
    }
}
