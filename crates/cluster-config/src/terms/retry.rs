//! What is tried again.

use crate::{document::balancer::RetryOn, units::Invalid};

/// Reads what is tried again, in this bundle's words; HAProxy's and Envoy's are told what they are
/// called here.
pub fn parse_retry_on(text: &str) -> Result<RetryOn, Invalid> {
    text.parse().map_err(|_| {
        let word = match text {
            "conn-failure" | "connect-failure" => "connect_failure",
            "empty-response" | "0rtt-rejected" | "reset-before-request" => "reset",
            "junk-response" => "junk_response",
            "response-timeout" => "timeout",
            "none" => "an empty list, as in on: []",
            "all-retryable-errors" => {
                "[connect_failure, reset, junk_response, node_error, timeout, 500, 502, 503, 504]"
            }
            "5xx" => "[500, 501, 502, 503, 504]",
            "gateway-error" => "[502, 503, 504]",
            _ => {
                "connect_failure, reset, junk_response, node_error, timeout, or a status: 401, \
                 403, 404, 408, 421, 425, 429, 500 to 504"
            }
        };
        Invalid::new(
            format!("`{text}` is nothing that can be tried again"),
            format!("write {word}"),
        )
    })
}
