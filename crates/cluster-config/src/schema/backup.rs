//! Section `backup`.

use super::notation::{Cron, StoreUrl, TimeZone};
use schemars::JsonSchema;
use serde::Deserialize;

/// When to back up, where to, and what to keep.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Five fields of cron.
    pub schedule: Cron,
    /// Where the schedule's clock stands, and where days, weeks and months of `keep` begin; UTC
    /// unless given.
    #[serde(default)]
    pub time_zone: Option<TimeZone>,
    /// How many of those that the schedule made are kept; without it, all are. What somebody asked
    /// for is never removed.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// Where to; every backup goes to each.
    pub stores: Vec<Store>,
}

/// How many backups are kept: the newest of each of the last so many days, weeks and months that
/// have one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// One per day.
    #[serde(default)]
    pub daily: Option<u16>,
    /// One per week (ISO 8601: from Monday).
    #[serde(default)]
    pub weekly: Option<u16>,
    /// One per month.
    #[serde(default)]
    pub monthly: Option<u16>,
}

/// A place for backups.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `file:DIRECTORY`; one that does not begin with `/` is in the backup-service's data dir.
    pub url: StoreUrl,
}
