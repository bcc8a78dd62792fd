//! What one client may have at a listener for clients, and all of them together.

use crate::units;
use serde::{Deserialize, Serialize};
use std::{num::NonZeroU32, time::Duration};

/// One client is an IPv4 address or an IPv6 /64; many of them next to each other are a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Connections at a time. None: the program's own bound. In any case as many as leave enough
    /// for others, which depends on how many files the process may open.
    pub connections_per_client: Option<u32>,
    /// Bytes of requests whose head has not come as a whole, or whose body is kept for another
    /// attempt.
    pub unfinished_per_client: u64,
    /// So many bits of an IPv4 address name its network.
    pub network_ipv4: u8,
    /// The same of an IPv6 address, up to 64.
    pub network_ipv6: u8,
    /// Percent of all connections that the process has room for, which one network alone may have.
    pub network_share: u8,
    /// Connections of a network at a time. None: the program's own bound.
    pub connections_per_network: Option<u32>,
    /// As `unfinished_per_client`, for a network.
    pub unfinished_per_network: u64,
    /// Memory for connections whose client does not take what is sent to it.
    pub memory_per_client: u64,
    /// The same, of a network.
    pub memory_per_network: u64,
    /// How fast a client may open connections.
    pub connection_rate_per_client: Option<Rate>,
    /// The same, of a network.
    pub connection_rate_per_network: Option<Rate>,
    /// How fast a client may ask.
    pub request_rate_per_client: Option<Rate>,
    /// The same, of a network.
    pub request_rate_per_network: Option<Rate>,
    /// Connections of all clients at this listener at a time. None: any number.
    pub connections: Option<u32>,
    /// Bytes of the body of a request; a larger one is refused. None: any number.
    pub request_body_max_size: Option<u64>,
    /// How slow the body of a request may come.
    pub slowest_request: Slowest,
    /// How slow an answer may be taken.
    pub slowest_response: Slowest,
}

/// So many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// A second, on average.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// The slowest that a client may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slowest {
    /// Bytes a second, on average; 0: as slow as it likes.
    pub bytes_per_second: u32,
    /// The time for which the average is taken, as far as the client was waited for.
    #[serde(with = "units::duration")]
    pub over: Duration,
}

impl Default for Slowest {
    fn default() -> Self {
        Self { bytes_per_second: 64, over: Duration::from_secs(60) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_client: None,
            unfinished_per_client: 4 << 20,
            network_ipv4: 24,
            network_ipv6: 48,
            network_share: 90,
            connections_per_network: None,
            unfinished_per_network: 16 << 20,
            memory_per_client: 512 << 20,
            memory_per_network: 2 << 30,
            connection_rate_per_client: None,
            connection_rate_per_network: None,
            request_rate_per_client: None,
            request_rate_per_network: None,
            connections: None,
            request_body_max_size: None,
            slowest_request: Slowest::default(),
            slowest_response: Slowest::default(),
        }
    }
}
