//! `proxy.timeouts`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::duration;
use crate::{document, schema::notation::Duration};

/// Deadlines, every one on progress.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Connection to origin or parent, TLS included.
    pub connect: Duration,
    /// Name resolution.
    pub dns: Duration,
    /// Between two reads from the origin, and until its first byte.
    pub read: Duration,
    /// Between two writes that make progress.
    pub write: Duration,
    /// From a request's first byte to the end of its head.
    pub request_head: Duration,
    /// Between two reads of a request's body.
    pub request_body: Duration,
    /// A client's connection between requests.
    pub client_idle: Duration,
    /// A pooled connection to an origin.
    pub upstream_idle: Duration,
    /// A tunnel in which nothing moves.
    pub tunnel_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: duration("5s"),
            dns: duration("5s"),
            read: duration("60s"),
            write: duration("60s"),
            request_head: duration("30s"),
            request_body: duration("60s"),
            client_idle: duration("2m"),
            upstream_idle: duration("60s"),
            tunnel_idle: duration("1h"),
        }
    }
}

impl From<Timeouts> for document::proxy::Timeouts {
    fn from(written: Timeouts) -> Self {
        Self {
            connect: written.connect.value,
            dns: written.dns.value,
            read: written.read.value,
            write: written.write.value,
            request_head: written.request_head.value,
            request_body: written.request_body.value,
            client_idle: written.client_idle.value,
            upstream_idle: written.upstream_idle.value,
            tunnel_idle: written.tunnel_idle.value,
        }
    }
}
