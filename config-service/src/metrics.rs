//! Metric names of the config-service.

use ::metrics::{describe_counter, describe_gauge};

/// Nodes that are subscribed.
pub const SUBSCRIBERS: &str = "shoal_config_subscribers";
/// Rollouts that ended. Label `result`: done, failed, aborted.
pub const ROLLOUTS: &str = "shoal_config_rollouts_total";
/// Answers of nodes to assignments. Label `result`: applied, rejected.
pub const ACKNOWLEDGEMENTS: &str = "shoal_config_acknowledgements_total";
/// Revisions committed since the process started.
pub const COMMITS: &str = "shoal_config_commits_total";
/// Bundles that were refused since the process started.
pub const REFUSED: &str = "shoal_config_bundles_refused_total";
/// Writes of a rollout's state that failed.
pub const WRITES_FAILED: &str = "shoal_config_writes_failed_total";

/// Describes them to the recorder.
pub fn describe() {
    describe_gauge!(SUBSCRIBERS, "Nodes that are subscribed");
    describe_counter!(ROLLOUTS, "Rollouts that ended, by result");
    describe_counter!(ACKNOWLEDGEMENTS, "Answers of nodes to assignments, by result");
    describe_counter!(COMMITS, "Revisions committed");
    describe_counter!(REFUSED, "Bundles refused for their errors");
    describe_counter!(WRITES_FAILED, "Writes of a rollout's state that failed");
}
