//! The task that makes backups by the schedule.

use std::time::Duration;

use chassis::StopSignal;
use tokio::time::{Instant, sleep};

use crate::{archive::Reason, desk::Desk, schedule::retry_after, settings::Settings, steps::Steps};

/// How long it sleeps at most: a clock that is set is noticed within this.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Makes a backup whenever one is due, until it is stopped.
pub async fn run(desk: Desk, stop: StopSignal) {
    let mut settings = desk.tools().settings.clone();
    let (mut failures, mut not_before) = (0, Instant::now());
    loop {
        let current = settings.borrow_and_update().clone();
        let wait = match remaining(&desk, &current).await {
            Some(wait) => wait.max(not_before.saturating_duration_since(Instant::now())),
            None => LOOK_EVERY,
        };
        if wait.is_zero() {
            let turn = desk.in_turn().await;
            let made = desk.create(&turn, Reason::Scheduled, &desk.tools().name, &mut Steps::unheard()).await;
            failures = if made.is_ok() { 0 } else { failures + 1 };
            not_before = Instant::now() + if made.is_ok() { Duration::ZERO } else { retry_after(failures) };
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
async fn remaining(desk: &Desk, settings: &Settings) -> Option<Duration> {
    // Also without a schedule: what there is is counted with it.
    let list = desk.list().await.inspect_err(|failed| tracing::error!("the schedule cannot be followed: {failed}")).ok()?;
    let schedule = settings.schedule.as_ref()?;
    desk.followed();
    let due = desk.due(schedule, &list.backups)?;
    Some(desk.tools().clock.now().duration_until(due).try_into().unwrap_or(Duration::ZERO))
}
