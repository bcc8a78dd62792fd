//! What one client may have at a door for clients.

use serde::{Deserialize, Serialize};

/// One client is an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Connections at a time. None: the program's own bound. In any case as many as leave enough for others, which depends on how many files the
    /// process may open.
    pub connections_per_client: Option<u32>,
    /// Bytes of requests whose head has not come as a whole, or whose body is kept for another attempt.
    pub unfinished_per_client: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_per_client: None, unfinished_per_client: 4 << 20 }
    }
}
