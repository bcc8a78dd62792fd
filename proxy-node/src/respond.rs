//! The only table from error to status: what went wrong, whose fault it is, what the client reads,
//! and whether the connection survives.
//!
//! Statuses are RFC 9110's, error types RFC 9209's (Proxy-Status). A balancer reads the latter:
//! `proxy_internal_error` and `connection_limit_reached` speak against this node, everything else
//! against the origin or the request.

mod error;
mod page;

use std::time::SystemTime;

use relay::{proxy_status, respond::Canned, rewrite::Persistence};

pub use error::{Error, Unreached};

/// What a page says beside the failure.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The node's name.
    pub node: &'a str,
    /// What the operator calls it on pages.
    pub visible_hostname: &'a str,
    /// Revision in force.
    pub revision: &'a str,
    /// Id of the request.
    pub request_id: &'a str,
    /// Target as sent.
    pub url: &'a str,
    /// Method as sent.
    pub method: &'a str,
    /// The client, in words.
    pub client: &'a str,
    /// The rule that decided; empty: none did.
    pub rule: &'a str,
    /// A page of the bundle; `None`: the built-in one.
    pub page: Option<&'a str>,
}

/// Appends the whole answer to `out`. `head_only` for HEAD; `close`: the connection ends with it.
pub fn write(
    out: &mut Vec<u8>,
    failure: Error,
    circumstances: &Circumstances<'_>,
    now: SystemTime,
    head_only: bool,
    close: bool,
) {
    let body = page::page(failure, circumstances);
    let details = if let Error::Tls(error) = failure { error.to_string() } else { String::new() };
    let status = proxy_status::entry(circumstances.node, failure.error_type(), &details);
    let mut fields = vec![("Cache-Control", "no-store"), ("Proxy-Status", status.as_str())];
    let again = failure.retry_after().map(|after| after.to_string());
    fields.extend(again.as_deref().map(|after| ("Retry-After", after)));
    if !circumstances.request_id.is_empty() {
        fields.push(("Shoal-Request-Id", circumstances.request_id));
    }
    let canned = Canned {
        status: failure.status(),
        now,
        content_type: "text/html; charset=utf-8",
        fields: &fields,
        body: body.as_bytes(),
        persistence: if close { Persistence::Close } else { Persistence::Implied },
    };
    if head_only { canned.write_head(out) } else { canned.write(out) }
}

#[cfg(test)]
mod tests;
