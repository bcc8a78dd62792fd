//! The task that makes backups by the schedule.

use std::time::Duration;

use chassis::StopSignal;
use tokio::time::{Instant, sleep};

use crate::{backups::Backups, schedule::retry_after, settings::Settings};

/// How long it sleeps at most: a clock that is set is noticed within this.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Until it looks again when another backup-service is about to make what is due.
const AFTER_ANOTHER: Duration = Duration::from_secs(1);

/// Makes a backup whenever one is due, until it is stopped.
pub async fn run(backups: Backups, stop: StopSignal) {
    let mut settings = backups.tools().settings.clone();
    let (mut failures, mut not_before) = (0, Instant::now());
    loop {
        let current = settings.borrow_and_update().clone();
        let wait = match remaining(&backups, &current).await {
            Some(wait) => wait.max(not_before.saturating_duration_since(Instant::now())),
            None => LOOK_EVERY,
        };
        if wait.is_zero() {
            let Some(schedule) = &current.schedule else { continue };
            let permit = backups.permit().await;
            let made = backups.create_if_due(&permit, schedule).await;
            failures = if made.is_ok() { 0 } else { failures + 1 };
            not_before = Instant::now()
                + match made {
                    Ok(Some(_)) => Duration::ZERO,
                    // Another backup-service writes to the same store: what it makes is looked at
                    // then.
                    Ok(None) => AFTER_ANOTHER,
                    Err(_) => retry_after(failures),
                };
            continue;
        }
        tokio::select! {
            () = stop.wait() => return,
            () = sleep(wait.min(LOOK_EVERY)) => {}
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

/// Until the next one is due; none without a schedule.
async fn remaining(backups: &Backups, settings: &Settings) -> Option<Duration> {
    // Also without a schedule: what there is is counted with it.
    let list = backups
        .list()
        .await
        .inspect_err(|failed| tracing::error!("the schedule cannot be followed: {failed}"))
        .ok()?;
    let schedule = settings.schedule.as_ref()?;
    backups.followed();
    let due = backups.due(schedule, &list.backups)?;
    Some(backups.tools().clock.now().duration_until(due).try_into().unwrap_or(Duration::ZERO))
}
