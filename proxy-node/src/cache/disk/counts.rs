//! What is counted of the tier.

use std::sync::atomic::AtomicU64;

/// All of it since the process started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Objects served from the disk.
    pub hits: AtomicU64,
    /// Objects written.
    pub written: AtomicU64,
    /// Objects that could not be written.
    pub lost: AtomicU64,
    /// Objects that were not written, as nobody had asked for them before and the disk is full.
    pub declined: AtomicU64,
    /// Objects written again before their segment went.
    pub rescued: AtomicU64,
    /// Segments that went for want of room.
    pub reclaimed: AtomicU64,
    /// Reads and writes that found their queue full.
    pub queue_full: AtomicU64,
    /// Reads that were not waited for any longer.
    pub late: AtomicU64,
    /// Reads, writes and other operations that the disk failed.
    pub errors: AtomicU64,
    /// Records that were not what had been written.
    pub corrupt: AtomicU64,
    /// How long loading took, in milliseconds.
    pub load_millis: AtomicU64,
}
