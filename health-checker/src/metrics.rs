//! Names and labels of this service's metrics.

/// Counter, labels `check` and `outcome` (`passed`, `failed`): probes run.
pub const PROBES: &str = "shoal_health_checker_probes_total";
/// Histogram in seconds, label `check`: how long probes took.
pub const PROBE_SECONDS: &str = "shoal_health_checker_probe_seconds";
/// Gauge: check and target pairs that this checker probes.
pub const TARGETS: &str = "shoal_health_checker_targets";
/// Counter: reports to the registry that failed and are repeated.
pub const FAILED_REPORTS: &str = "shoal_health_checker_failed_reports_total";
/// Counter: opinions dropped because the queue to the reporter was full.
pub const DROPPED_OPINIONS: &str = "shoal_health_checker_dropped_opinions_total";
