//! The one owner of a child: started, started again when it dies, ended when asked.

use std::{io, process::ExitStatus, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child as Process,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{plan::Child, spawn::spawn};

/// What became of a child.
#[derive(Debug)]
pub enum Event {
    /// It runs.
    Started {
        /// Name of the child.
        name: String,
        /// Its process.
        pid: u32,
    },
    /// It ended, or could not be started.
    Ended {
        /// Name of the child.
        name: String,
        /// In words for people: `exit status: 1`.
        how: String,
        /// When it is started again; none: never.
        again: Option<Duration>,
    },
}

/// What an owner shall do, each more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Keep the child running.
    Run,
    /// Let it drain and end.
    Drain,
    /// End it now.
    Kill,
}

/// The way to the task that owns a child.
#[derive(Debug)]
pub struct Handle {
    /// The child.
    pub child: Child,
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

/// A child that lived so long was well; its next death begins a new series.
const STEADY: Duration = Duration::from_secs(10);
/// How long a child may take to drain.
pub const DRAIN: Duration = Duration::from_secs(12);

impl Handle {
    /// Starts the child. `events` hears of everything that happens to it.
    #[must_use]
    pub fn start(child: Child, restart: Restart, events: mpsc::Sender<Event>) -> Self {
        let (orders, receiver) = watch::channel(Order::Run);
        let task = tokio::spawn(keep(child.clone(), restart, events, receiver));
        Self { child, orders, task }
    }

    /// Gives an order; a weaker one than before changes nothing.
    pub fn order(&self, order: Order) {
        self.orders.send_if_modified(|current| {
            let stronger = order > *current;
            *current = (*current).max(order);
            stronger
        });
    }

    /// Waits until the child has ended after an order to do so.
    pub async fn ended(&mut self) {
        // The task ends by itself; if it panicked, dropping it has killed the child.
        (&mut self.task).await.ok();
    }
}

/// What happens when a child dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is started again, later after every death.
    Always,
    /// It stays dead.
    Never,
}

async fn keep(
    child: Child,
    restart: Restart,
    events: mpsc::Sender<Event>,
    mut orders: watch::Receiver<Order>,
) {
    let mut deaths = 0;
    loop {
        let started = Instant::now();
        let how = match spawn(&child) {
            Ok(mut process) => {
                let pid = process.id().unwrap_or_default();
                tell(&events, Event::Started { name: child.name.clone(), pid }).await;
                tokio::select! {
                    status = process.wait() => describe(status),
                    () = ordered(&mut orders, Order::Drain) => return end(process, orders).await,
                }
            }
            Err(error) => format!("it cannot be started: {error}"),
        };
        deaths = if started.elapsed() >= STEADY { 0 } else { deaths + 1 };
        let again = (restart == Restart::Always).then(|| backoff(deaths));
        tell(&events, Event::Ended { name: child.name.clone(), how, again }).await;
        let Some(pause) = again else { return };
        tokio::select! {
            () = sleep(pause) => {}
            () = ordered(&mut orders, Order::Drain) => return,
        }
    }
}

/// Nobody listens any more while the lab ends.
async fn tell(events: &mpsc::Sender<Event>, event: Event) {
    events.send(event).await.ok();
}

async fn ordered(orders: &mut watch::Receiver<Order>, at_least: Order) {
    // An error means that the lab is gone: then everything ends.
    orders.wait_for(|order| *order >= at_least).await.ok();
}

async fn end(mut process: Process, mut orders: watch::Receiver<Order>) {
    if let Some(pid) = process.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It has not been waited for, so the id is still its own; if it is dead already, nothing is
        // to be done.
        kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
    }
    let patience = async {
        timeout(DRAIN, ordered(&mut orders, Order::Kill)).await.ok();
    };
    tokio::select! {
        _ = process.wait() => {}
        () = patience => {
            process.kill().await.ok();
        }
    }
}

fn describe(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| format!("its end is unknown: {error}"), |status| status.to_string())
}

/// How long to wait after so many deaths in a row: at once after the first, then longer and longer.
fn backoff(deaths: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(10);
    (Duration::from_millis(100) * 2_u32.saturating_pow(deaths.saturating_sub(1).min(16)))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cluster::Service;

    use super::*;

    fn shell(scratch: &tempfile::TempDir, script: &str) -> Child {
        Child {
            name: "child-1".into(),
            service: Service::ProxyNode,
            argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            env: BTreeMap::new(),
            cwd: scratch.path().into(),
            log: scratch.path().join("child.log"),
            endpoints: BTreeMap::new(),
        }
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        let waits: Vec<_> = (0..6).map(|deaths| backoff(deaths).as_millis()).collect();
        assert_eq!(waits, [100, 100, 200, 400, 800, 1600]);
        assert_eq!(backoff(u32::MAX), Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_dead_child_is_started_again_and_ends_when_asked() {
        let scratch = tempfile::tempdir().unwrap();
        let (events, mut heard) = mpsc::channel(8);
        let mut handle = Handle::start(
            shell(&scratch, "echo here; read line < /dev/zero; sleep 600"),
            Restart::Always,
            events,
        );
        let Some(Event::Started { pid: first, .. }) = heard.recv().await else {
            panic!("not started")
        };
        kill(Pid::from_raw(i32::try_from(first).unwrap()), Signal::SIGKILL).unwrap();
        let Some(Event::Ended { how, again: Some(_), .. }) = heard.recv().await else {
            panic!("not ended")
        };
        assert!(how.contains("signal: 9"), "{how}");
        let Some(Event::Started { pid: second, .. }) = heard.recv().await else {
            panic!("not started again")
        };
        assert_ne!(first, second);
        handle.order(Order::Drain);
        handle.ended().await;
        assert!(
            kill(Pid::from_raw(i32::try_from(second).unwrap()), None).is_err(),
            "it still runs"
        );
    }

    #[tokio::test]
    async fn a_child_that_will_not_end_is_killed_on_order() {
        let scratch = tempfile::tempdir().unwrap();
        let (events, mut heard) = mpsc::channel(8);
        let script = "trap '' TERM; echo > trapped; while :; do read line < /dev/zero; done";
        let mut handle = Handle::start(shell(&scratch, script), Restart::Never, events);
        assert!(matches!(heard.recv().await, Some(Event::Started { .. })));
        while !scratch.path().join("trapped").exists() {
            tokio::task::yield_now().await;
        }
        handle.order(Order::Drain);
        handle.order(Order::Kill);
        handle.order(Order::Run);
        handle.ended().await;
    }

    #[tokio::test]
    async fn without_restart_it_stays_dead() {
        let scratch = tempfile::tempdir().unwrap();
        let (events, mut heard) = mpsc::channel(8);
        let mut handle = Handle::start(shell(&scratch, "exit 3"), Restart::Never, events);
        assert!(matches!(heard.recv().await, Some(Event::Started { .. })));
        let Some(Event::Ended { how, again: None, .. }) = heard.recv().await else {
            panic!("not ended")
        };
        assert!(how.contains('3'), "{how}");
        handle.ended().await;
        assert!(heard.recv().await.is_none());
    }
}
