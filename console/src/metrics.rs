//! Names and labels of this service's metrics.

/// Gauge: pages that follow what happens.
pub const VIEWERS: &str = "shoal_console_viewers";
/// Counter: pages that were turned away because too many follow already.
pub const VIEWERS_REFUSED: &str = "shoal_console_viewers_refused_total";
/// Counter, label `result` (`ok`, `wrong`, `waiting`, `busy`, `refused`): attempts to log in.
pub const LOGINS: &str = "shoal_console_logins_total";
/// Counter, label `status`: requests answered.
pub const REQUESTS: &str = "shoal_console_requests_total";
