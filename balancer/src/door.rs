//! What a connection to a server begins with: at a relay door, the proof that we hold the cluster key.

use std::net::SocketAddr;

use relay::proxy_protocol::{self, Addresses};

use crate::server::Door;

/// Of a pooled connection, which many clients share: whose requests' X-Forwarded-For the node believes.
#[must_use]
pub fn local_preamble(door: &Door) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    if let Door::Relay { token } = door {
        proxy_protocol::encode_local(&mut out, Some(token));
    }
    out
}

/// Of a connection that belongs to one client.
#[must_use]
pub fn client_preamble(door: &Door, client: SocketAddr, frontend: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    if let Door::Relay { token } = door {
        proxy_protocol::encode_proxy(&mut out, &Addresses { source: client, destination: frontend }, Some(token));
    }
    out
}
