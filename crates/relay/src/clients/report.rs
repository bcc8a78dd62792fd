//! What was done because of limits, and who had its share last.

use std::fmt;

use super::prefix::Prefix;

/// How many connections were closed because a client had reached its share, since the start of the
/// process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Connections closed when they were accepted.
    pub refused: u64,
    /// Idle connections closed for newer ones.
    pub displaced: u64,
    /// Connections with half a head closed, for newer ones or for the memory that they took.
    pub unfinished: u64,
    /// Connections closed when they were accepted, because others came just before.
    pub too_fast: u64,
    /// Connections closed when they were accepted, because the listener or the process has as many
    /// as it may.
    pub no_room: u64,
    /// Connections closed because the client did not take what it had asked for, on too many.
    pub unread: u64,
}

/// How many requests were not served because of limits, since the start of the process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Unserved {
    /// See [`Limited::TooFast`].
    pub too_fast: u64,
    /// See [`Limited::Full`].
    pub full: u64,
}

/// Which share is meant.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Of connections and unfinished requests.
    #[default]
    Connections,
    /// Of new connections or requests in a second.
    Rate,
    /// Of connections that wait for it to read.
    Memory,
}

/// Tells, for a log, that a client or a network has reached its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Who: a client, or a network.
    pub who: Prefix,
    /// How many connections it has.
    pub connections: u32,
    /// What its unfinished requests take, in bytes.
    pub unfinished: u64,
    /// Of its connections, so many wait for it to read.
    pub waiting: u32,
    /// What it has its share of.
    pub of: Share,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, connections, unfinished, waiting, of } = self;
        let many = if who.is_network() { "in one network" } else { "behind one address" };
        match of {
            Share::Connections => {}
            Share::Rate => {
                return write!(
                    formatter,
                    "{who} comes or asks faster than it may: new connections are closed, requests \
                     are answered 429. If that is many people {many}, raise the rates in `limits` \
                     where it listens"
                );
            }
            Share::Memory => {
                return write!(
                    formatter,
                    "{who} does not take what it has asked for, on {waiting} connections: one more \
                     is closed, and its requests are answered 503. If that is many people {many}, \
                     raise the memory in `limits` where it listens"
                );
            }
        }
        write!(
            formatter,
            "{who} has its share: {connections} connections, {unfinished} bytes of requests that \
             are not whole. Its oldest idle ones are closed for its newer ones, or those are \
             refused; if that is many people {many}, raise the limit on open files of this \
             process, or `limits` where it listens"
        )
    }
}
