//! What an archive says of itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of the form of archives. A newer one is refused; an older one will have to be read.
pub const FORMAT: u32 = 1;

/// Why a backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The schedule in the bundle.
    Scheduled,
    /// Somebody asked for it.
    AskedFor,
    /// A restore was about to replace what it holds.
    BeforeRestore,
}

/// What an archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of the version that made it.
    pub format: u32,
    /// Unique; begins with the time in UTC.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Role and name.
    pub created_by: String,
    pub reason: Reason,
    /// Version of Shoal that made it.
    pub version: String,
    /// Of which cluster.
    pub cluster_id: String,
    /// In which epoch.
    pub epoch: u64,
    /// SHA-256 of the certificates of the authorities that the cluster trusts, in hex: a registry
    /// that was made anew is known by them.
    pub authorities: Vec<String>,
    /// What is in it, by service.
    pub parts: BTreeMap<String, Part>,
    /// Every entry but this one, in order.
    pub entries: Vec<Entry>,
}

/// What is in it of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Version of the form of its entries.
    pub format: u32,
    /// The moment that it is the state of.
    pub taken_at: Timestamp,
    /// What there is.
    pub counts: BTreeMap<String, u64>,
    /// In words for people.
    pub facts: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The part that it belongs to, `/`, and its name there.
    pub name: String,
    pub size: u64,
    pub sha256: String,
}

/// The part of the PKI, which is no service's.
pub const PKI: &str = "pki";

impl Manifest {
    /// Whether it holds the PKI, encrypted.
    #[must_use]
    pub fn has_pki(&self) -> bool {
        self.entries.iter().any(|entry| part_of(&entry.name) == PKI)
    }

    /// Bytes of one part.
    #[must_use]
    pub fn size_of(&self, part: &str) -> u64 {
        self.entries
            .iter()
            .filter(|entry| part_of(&entry.name) == part)
            .map(|entry| entry.size)
            .sum()
    }
}

/// What comes before the first `/`.
#[must_use]
pub fn part_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(part, _)| part)
}

/// The id of a backup made `at`; `random` keeps two of one second apart.
#[must_use]
pub fn id(at: Timestamp, random: u128) -> String {
    format!("{}-{:06x}", at.strftime("%Y%m%dT%H%M%SZ"), random & 0xff_ffff)
}

/// Whether this can be an id, or the beginning of one.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
