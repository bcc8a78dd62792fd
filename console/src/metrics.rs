//! Names and labels of this service's metrics.

use ::metrics::{describe_counter, describe_gauge};

/// Gauge: pages that follow what happens.
pub const VIEWERS: &str = "shoal_console_viewers";
/// Counter: pages that were turned away because too many follow already.
pub const VIEWERS_REFUSED: &str = "shoal_console_viewers_refused_total";
/// Counter, label `result` (`ok`, `wrong`, `waiting`, `busy`, `refused`): attempts to log in.
pub const LOGINS: &str = "shoal_console_logins_total";
/// Counter, label `status`: requests answered.
pub const REQUESTS: &str = "shoal_console_requests_total";

/// Describes them to the recorder.
pub fn describe() {
    describe_gauge!(VIEWERS, "Pages that follow what happens");
    describe_counter!(VIEWERS_REFUSED, "Pages turned away because too many follow already");
    describe_counter!(LOGINS, "Attempts to log in, by result");
    describe_counter!(REQUESTS, "Requests answered, by status");
}
