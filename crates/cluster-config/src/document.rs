//! What a node of one service is given to run: typed, checked, with every default filled in and
//! every `${node.*}` replaced.
//!
//! The JSON form is canonical (keys sorted, no spaces), so that equal documents have equal hashes.
//! Nodes read it with `from_json`; unknown keys are ignored there, so that an older node can run
//! what a newer config-service rendered.

pub mod access;
pub mod backup;
pub mod balancer;
pub mod caching;
pub mod checks;
pub mod compression;
pub mod egress;
pub mod heads;
pub mod limits;
pub mod log;
pub mod proxy;

pub use access::{
    Access, Acl, DomainPattern, PortRange, Rule, Term, TimeWindow, UrlPattern, Verdict,
};
pub use backup::BackupDocument;
pub use balancer::BalancerDocument;
pub use checks::ChecksDocument;
pub use egress::Egress;
pub use limits::Limits;
pub use proxy::ProxyDocument;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A document cannot be read. Not the operator's fault: the service that rendered it and this node
/// disagree about its form.
#[derive(Debug, thiserror::Error)]
#[error("the rendered document does not have the form that this version reads: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

/// A file of the bundle by its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileReference {
    /// Path inside the bundle: `lists/blocked_sites.txt`.
    pub path: String,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
}

fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Unreadable> {
    Ok(serde_json::from_slice(json)?)
}

fn from_value<T: DeserializeOwned>(json: serde_json::Value) -> Result<T, Unreadable> {
    Ok(serde_json::from_value(json)?)
}
