//! How many file descriptors clients may have, so that some are left for connections to upstreams.
//!
//! The kernel hands out the lowest free descriptor. A client's connection with a descriptor near
//! the limit therefore means that the process has nearly run out of them.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsRawFd as _, RawFd};

use nix::sys::resource::{Resource, getrlimit};

/// The share of all descriptors that is kept from clients: one of so many.
const KEPT: u64 = 16;
/// Kept at least, and at most.
const KEPT_LEAST: u64 = 8;
const KEPT_MOST: u64 = 256;

/// The descriptors below this one are for clients too. What the limit is can change while the
/// process runs (prlimit(2)), so it is looked at again when it would turn somebody away, and when
/// there was no descriptor left.
pub(crate) struct Descriptors {
    clients: Cell<u64>,
    /// The last one that the kernel has given to a connection of this worker.
    latest: Cell<u64>,
}

impl Descriptors {
    pub(super) fn new() -> Self {
        let descriptors = Self { clients: Cell::new(0), latest: Cell::new(0) };
        descriptors.measure();
        descriptors
    }

    /// Looks at the limit.
    pub(crate) fn measure(&self) {
        // Without an answer nobody is turned away for it.
        self.clients.set(
            getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| for_clients(soft)),
        );
    }

    /// The kernel has given this one to a connection.
    pub(crate) fn note(&self, descriptor: RawFd) {
        self.latest.set(u64::try_from(descriptor).unwrap_or(0));
    }

    /// As [`left`](Self::left), for what has no descriptor of its own and will have one made. While
    /// the last one that was given leaves plenty, the kernel is not asked.
    pub(crate) fn left_now(&self) -> (u64, u64) {
        let plenty = self.latest.get() < self.clients.get() / 2;
        if !plenty {
            match File::open("/dev/null") {
                Ok(probe) => self.note(probe.as_raw_fd()),
                Err(_) => return (0, self.clients.get()),
            }
        }
        self.left(RawFd::try_from(self.latest.get()).unwrap_or(RawFd::MAX))
    }

    /// How many more descriptors clients may have, and how many in all, as the one says that a
    /// client was given. None are left: it may not stay.
    pub(crate) fn left(&self, descriptor: RawFd) -> (u64, u64) {
        self.note(descriptor);
        let descriptor = self.latest.get();
        if descriptor >= self.clients.get() {
            self.measure();
        }
        (self.clients.get().saturating_sub(descriptor), self.clients.get())
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
