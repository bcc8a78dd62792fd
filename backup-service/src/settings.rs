//! The document that the config-service rendered, as this process understands it. Published whole;
//! a bad one leaves the old in force.

use std::path::Path;

use cluster_config::{
    BackupDocument,
    document::backup::{Keep, Plan},
};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    schedule::{self, Schedule},
    store::Store,
};

/// Where backups go that somebody asks for while the bundle says nothing.
const DEFAULT_STORE: &str = "file:backups";

/// What is done by itself, and where to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When; `None`: only when somebody asks.
    pub schedule: Option<Schedule>,
    /// How many of those are kept; `None`: all.
    pub keep: Option<Keep>,
    /// Where days begin.
    pub zone: TimeZone,
    /// At least one.
    pub stores: Vec<Store>,
}

impl Settings {
    /// While nothing was ever configured.
    #[must_use]
    pub fn unconfigured(data_dir: &Path) -> Self {
        Self {
            schedule: None,
            keep: None,
            zone: TimeZone::UTC,
            stores: Store::new(DEFAULT_STORE, data_dir).into_iter().collect(),
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// This machine cannot do what it says.
    pub fn new(
        document: &BackupDocument,
        data_dir: &Path,
        now: Timestamp,
    ) -> Result<Self, schedule::Bad> {
        let Some(Plan { schedule, time_zone, keep, stores }) = &document.plan else {
            return Ok(Self::unconfigured(data_dir));
        };
        let schedule = Schedule::new(schedule, time_zone, now)?;
        let stores = stores.iter().filter_map(|url| Store::new(url, data_dir)).collect();
        Ok(Self { zone: schedule.zone().clone(), schedule: Some(schedule), keep: *keep, stores })
    }
}
