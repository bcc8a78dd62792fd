//! Lists of the bundle as sets that answer in no time, read by the same functions as when the
//! bundle was validated ([`cluster_config::lists`]).

pub mod domains;
pub mod networks;

use cluster_config::lists::{self, BadLine};

pub use domains::Domains;
pub use networks::Networks;

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// One of its lines is no entry.
    #[error("line {}: {}; {}", .0.line, .0.message, .0.remedy)]
    Line(BadLine),
    /// All of it is beyond bounds.
    #[error(transparent)]
    TooLarge(domains::TooLarge),
}

/// Reads a list of domains. Slow with large lists: not for a worker.
pub fn domains(content: &[u8]) -> Result<Domains, Unusable> {
    let lines = content.iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut domains = Domains::with_capacity(lines, content.len());
    for pattern in lists::domains(content) {
        domains.insert(&pattern.map_err(Unusable::Line)?).map_err(Unusable::TooLarge)?;
    }
    domains.shrink();
    Ok(domains)
}

/// Reads a list of addresses and networks, as [`domains`] does.
pub fn networks(content: &[u8]) -> Result<Networks, Unusable> {
    lists::networks(content).collect::<Result<_, _>>().map_err(Unusable::Line)
}
