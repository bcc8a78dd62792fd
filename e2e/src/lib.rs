//! Black-box tests of real processes, faults included: everything is in `tests/it/`, one
//! module per promise.
//!
//! They start `shoal lab` with the binary that the same build made, send real traffic and break
//! things. Each prints one line of counts, `e2e NAME:
//! {"sent":…,"failed":…,"cut_tunnels":…,"longest_gap_ms":…}`; times are printed, never asserted.
//!
//! The library is what `docs/reliability.md` is made with: [`promises`] (each fault and its
//! promise) and [`report`] (the page from a run).

pub mod promises;
pub mod report;
