//! Connections that have been used once and then stay.

use std::net::SocketAddr;

use anyhow::Result;

use super::{
    client::{Client, get},
    dial::Dialer,
};

/// What stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keep-alive connection.
    Connection,
    /// One over TLS.
    Secure,
    /// A tunnel.
    Tunnel,
}

/// Opens `count` of them, each with one verified request; they live as long as what is returned.
pub async fn open(
    dialer: &Dialer,
    address: SocketAddr,
    origin: SocketAddr,
    kind: Kind,
    path: &str,
    body: usize,
    count: usize,
) -> Result<Vec<Client>> {
    let request = get(origin, path, "");
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = dialer.dial(address).await?;
        if kind == Kind::Tunnel {
            client.tunnel(origin).await?;
        }
        client.request(&request, body).await?;
        clients.push(client);
    }
    Ok(clients)
}
