//! Bytes through tunnels, a few at the same time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;

use super::client::{Client, get, put};

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the origin.
    Download,
    /// To the origin.
    Upload,
}

/// Moves `bytes` through each of `tunnels`; how long it took.
pub async fn run(
    address: SocketAddr,
    origin: SocketAddr,
    direction: Direction,
    tunnels: usize,
    bytes: usize,
) -> Result<Duration> {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..tunnels {
        clients.spawn(async move {
            let mut client = Client::connect(address).await?;
            client.tunnel(origin).await?;
            match direction {
                Direction::Download => {
                    client.download(&get(origin, &format!("/b/{bytes}"), ""), bytes).await
                }
                Direction::Upload => client.upload(&put(origin, bytes), bytes).await,
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_origin_is_the_end_of_a_tunnel_both_ways() {
        let origin = crate::origin::Origin::start().unwrap();
        for direction in [Direction::Download, Direction::Upload] {
            run(origin.address, origin.address, direction, 2, 3_000_000).await.unwrap();
        }
    }
}
