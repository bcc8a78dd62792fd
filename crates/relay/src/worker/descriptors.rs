//! How many file descriptors clients may have, so that some are left for connections to upstreams.
//!
//! The kernel hands out the lowest free descriptor. A client's connection with a descriptor near
//! the limit therefore means that the process has nearly run out of them.

use std::cell::Cell;
use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit};

/// The share of all descriptors that is kept from clients: one of so many.
const KEPT: u64 = 16;
/// Kept at least, and at most.
const KEPT_LEAST: u64 = 8;
const KEPT_MOST: u64 = 256;

/// The descriptors below this one are for clients too. What the limit is can change while the
/// process runs (prlimit(2)), so it is looked at again when it would turn somebody away, and when
/// there was no descriptor left.
pub(crate) struct Descriptors(Cell<u64>);

impl Descriptors {
    pub(super) fn new() -> Self {
        let descriptors = Self(Cell::new(0));
        descriptors.measure();
        descriptors
    }

    /// Looks at the limit.
    pub(crate) fn measure(&self) {
        // Without an answer nobody is turned away for it.
        self.0.set(
            getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| for_clients(soft)),
        );
    }

    /// How many more descriptors clients may have, and how many in all, as the one says that a
    /// client was given. None are left: it may not stay.
    pub(crate) fn left(&self, descriptor: RawFd) -> (u64, u64) {
        let descriptor = u64::try_from(descriptor).unwrap_or(0);
        if descriptor >= self.0.get() {
            self.measure();
        }
        (self.0.get().saturating_sub(descriptor), self.0.get())
    }
}

/// How many of `limit` descriptors clients may have.
fn for_clients(limit: u64) -> u64 {
    limit.saturating_sub((limit / KEPT).clamp(KEPT_LEAST, KEPT_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_always_kept() {
        for (limit, clients) in [
            (0, 0),
            (8, 0),
            (20, 12),
            (160, 150),
            (1_024, 960),
            (4_096, 3_840),
            (1_000_000, 999_744),
        ] {
            assert_eq!(for_clients(limit), clients, "{limit}");
        }
    }
}
