//! What a service manager is told (sd_notify(3)): ready, stopping, one line of status, and that the
//! process lives. Nothing, when there is no `NOTIFY_SOCKET`.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    lifecycle::Lifecycle,
    status::{Status, StatusHandle},
};

/// How long the manager may take to receive a message before it is given up.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Where the process stands, as far as a service manager is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    /// It serves, or it has come as far as it can by itself: a host that waits for its first
    /// configuration is up, and its boot is over.
    ready: bool,
    stopping: bool,
    line: String,
}

impl Standing {
    fn of(status: &Status, stopping: bool) -> Self {
        let revision = &status.applied_revision;
        let line = match (stopping, status.ready) {
            (true, _) => "draining: finishing what is under way".to_owned(),
            (false, true) if revision.is_empty() => "serving".to_owned(),
            (false, true) => format!("serving, revision {revision}"),
            (false, false) if status.unconfigured && revision.is_empty() => {
                "not serving yet: waiting for the registry and the first configuration (`shoal \
                 config apply DIR`)"
                    .to_owned()
            }
            (false, false) if revision.is_empty() => "starting".to_owned(),
            (false, false) => format!("starting, revision {revision}"),
        };
        Self { ready: status.ready || status.unconfigured, stopping, line }
    }

    /// What has to be said after `before` was. READY is said once: systemd knows no way back from
    /// it but STOPPING.
    fn message(&self, before: Option<&Self>) -> Vec<NotifyState<'_>> {
        let was = |state: fn(&Self) -> bool| before.is_some_and(state);
        let mut message = Vec::new();
        if self.ready && !was(|before| before.ready) {
            message.push(NotifyState::Ready);
        }
        if self.stopping && !was(|before| before.stopping) {
            message.push(NotifyState::Stopping);
        }
        if before.is_none_or(|before| before.line != self.line) {
            message.push(NotifyState::Status(&self.line));
        }
        message
    }
}

/// Whether there is anybody to be told.
pub(crate) fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells the service manager, until the drain closes the process or another one goes on: whose
/// word it is then.
pub(crate) async fn tell(status: StatusHandle, lifecycle: Lifecycle) {
    let stop = lifecycle.stop();
    let mut status = status.subscribe();
    let mut alive = sd_notify::watchdog_enabled().map(heartbeat);
    let mut said: Option<Standing> = None;
    while !lifecycle.is_handed_over() {
        let now = Standing::of(&status.borrow_and_update(), stop.is_stopping());
        say(now.message(said.as_ref())).await;
        let stopping = now.stopping;
        said = Some(now);
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = stop.wait(), if !stopping => {}
            () = beat(&mut alive) => say(vec![NotifyState::Watchdog]).await,
        }
    }
}

/// The process of this service is another one from now on.
pub(crate) fn is_now(pid: u32) {
    if is_listening()
        && let Err(error) = sd_notify::notify(&[NotifyState::MainPid(pid)])
    {
        tracing::warn!("cannot tell the service manager who has taken over: {error}");
    }
}

/// Twice within the time after which the manager gives the process up.
fn heartbeat(within: Duration) -> Interval {
    let mut beats = interval((within / 2).max(Duration::from_millis(10)));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

async fn beat(alive: &mut Option<Interval>) {
    match alive {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    }
}

async fn say(message: Vec<NotifyState<'_>>) {
    if message.is_empty() {
        return;
    }
    // As text, because what waits for a busy manager must not hold up the runtime.
    let text = message.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let sending =
        tokio::task::spawn_blocking(move || sd_notify::notify(&[NotifyState::Custom(&text)]));
    match tokio::time::timeout(TOLD_WITHIN, sending).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!("cannot tell the service manager: {error}"),
        Ok(Err(_)) | Err(_) => tracing::warn!("the service manager does not listen"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_and_stopping_are_said_once_and_every_change_of_the_line() {
        let status = |ready, revision: &str| Status {
            ready,
            applied_revision: revision.to_owned(),
            ..Status::default()
        };
        let at = |ready, revision: &str, stopping| Standing::of(&status(ready, revision), stopping);
        let unconfigured = |ready, revision: &str| {
            Standing::of(&Status { unconfigured: true, ..status(ready, revision) }, false)
        };
        let waiting = "STATUS=not serving yet: waiting for the registry and the first \
            configuration (`shoal config apply DIR`)";
        let steps = [
            (at(false, "", false), "STATUS=starting"),
            (at(false, "7", false), "STATUS=starting, revision 7"),
            (at(true, "7", false), "READY=1 STATUS=serving, revision 7"),
            (at(true, "7", false), ""),
            (at(true, "8", false), "STATUS=serving, revision 8"),
            (at(true, "8", true), "STOPPING=1 STATUS=draining: finishing what is under way"),
            (at(false, "8", true), ""),
        ];
        said(steps);
        said([
            (at(false, "", false), "STATUS=starting"),
            (unconfigured(false, ""), &format!("READY=1 {waiting}")),
            (unconfigured(false, "1"), "STATUS=starting, revision 1"),
            (unconfigured(true, "1"), "STATUS=serving, revision 1"),
        ]);
    }

    fn said<const N: usize>(steps: [(Standing, &str); N]) {
        let mut before = None;
        for (now, expected) in steps {
            let message: Vec<_> =
                now.message(before.as_ref()).iter().map(ToString::to_string).collect();
            assert_eq!(message.join(" "), expected);
            before = Some(now);
        }
    }
}
