//! The document of a backup-service.

use super::Unreadable;
use serde::{Deserialize, Serialize};

/// Everything that a backup-service is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDocument {
    /// What is done by itself; `None`: nothing, the bundle has no section `backup`.
    pub plan: Option<Plan>,
}

/// What is done by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Five fields of cron.
    pub schedule: String,
    /// Name in the IANA database.
    pub time_zone: String,
    /// `None`: everything is kept.
    pub keep: Option<Keep>,
    /// `file:` URLs, at least one, each once.
    pub stores: Vec<String>,
}

/// How many backups are kept, one for each of so many days, weeks and months; never all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Days.
    pub daily: u16,
    /// Weeks.
    pub weekly: u16,
    /// Months.
    pub monthly: u16,
}

impl BackupDocument {
    /// Reads a rendered document.
    pub fn from_json(json: &[u8]) -> Result<Self, Unreadable> {
        super::from_json(json)
    }
}
