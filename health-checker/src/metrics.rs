//! Names and labels of this service's metrics.

use ::metrics::{describe_counter, describe_gauge, describe_histogram};

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

/// Describes them to the recorder.
pub fn describe() {
    describe_counter!(PROBES, "Probes run, by check and outcome");
    describe_histogram!(PROBE_SECONDS, "Seconds that probes took, by check");
    describe_gauge!(TARGETS, "Check and target pairs that this checker probes");
    describe_counter!(FAILED_REPORTS, "Reports to the registry that failed and are repeated");
    describe_counter!(
        DROPPED_OPINIONS,
        "Opinions dropped because the queue to the reporter was full"
    );
}
