//! Metric names of the backup-service.

use ::metrics::{counter, describe_counter, describe_gauge, gauge};
use jiff::Timestamp;

/// When the newest good backup that the schedule made was made, in seconds since 1970. 0: there is
/// none.
pub const LAST_SCHEDULED: &str = "shoal_backup_last_scheduled_success_timestamp_seconds";
/// When the newest good backup of any kind was made, in seconds since 1970. 0: there is none.
pub const LAST: &str = "shoal_backup_last_success_timestamp_seconds";
/// Backups that were tried. Labels `reason` (scheduled, asked-for, before-restore) and `result`
/// (ok, failed).
pub const RUNS: &str = "shoal_backup_runs_total";
/// Restores that were tried. Label `result` (ok, failed).
pub const RESTORES: &str = "shoal_backup_restores_total";
/// Backups that are there.
pub const KEPT: &str = "shoal_backup_kept";
/// Backups that are there and known to be damaged.
pub const DAMAGED: &str = "shoal_backup_damaged";
/// Size of the newest, in bytes.
pub const SIZE: &str = "shoal_backup_last_size_bytes";

/// Describes them to the recorder.
pub fn describe() {
    describe_gauge!(
        LAST_SCHEDULED,
        "When the schedule last made a good backup, in seconds since 1970"
    );
    describe_gauge!(LAST, "When the newest good backup was made, in seconds since 1970");
    describe_counter!(RUNS, "Backups that were tried, by reason and result");
    describe_counter!(RESTORES, "Restores that were tried, by result");
    describe_gauge!(KEPT, "Backups that are there");
    describe_gauge!(DAMAGED, "Backups that are there and damaged");
    describe_gauge!(SIZE, "Size of the newest backup in bytes");
}

/// `ok` or `failed`.
pub(crate) fn run(reason: &'static str, well: bool) {
    counter!(RUNS, "reason" => reason, "result" => if well { "ok" } else { "failed" }).increment(1);
}

pub(crate) fn restored(well: bool) {
    counter!(RESTORES, "result" => if well { "ok" } else { "failed" }).increment(1);
}

/// What there is.
pub(crate) fn kept(backups: &[crate::catalog::Listed]) {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    gauge!(KEPT).set(count(backups.len()));
    gauge!(DAMAGED).set(count(backups.iter().filter(|backup| backup.problem().is_some()).count()));
    let good = || backups.iter().filter(|backup| backup.problem().is_none());
    let at = |backup: Option<&crate::catalog::Listed>| {
        backup.and_then(|backup| backup.manifest.as_ref().ok()).map(|made| made.created_at)
    };
    let seconds = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_second);
    // Seconds since 1970 are exact in a double for longer than this lasts.
    let set = |name: &'static str, at: Option<Timestamp>| gauge!(name).set(seconds(at) as f64);
    set(LAST, at(good().next()));
    set(LAST_SCHEDULED, at(good().find(|backup| backup.is_scheduled())));
    gauge!(SIZE).set(good().next().map_or(0, |backup| backup.size) as f64);
}
