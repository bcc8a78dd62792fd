//! Bytes through tunnels, a few at the same time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;

use super::client::{Client, get};

/// Downloads `bytes` through each of `tunnels`; how long it took.
pub async fn run(address: SocketAddr, origin: SocketAddr, tunnels: usize, bytes: usize) -> Result<Duration> {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..tunnels {
        clients.spawn(async move {
            let mut client = Client::connect(address).await?;
            client.tunnel(origin).await?;
            client.download(&get(origin, &format!("/b/{bytes}"), ""), bytes).await
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "current_thread")]
    async fn the_origin_is_the_end_of_a_tunnel() {
        let origin = crate::origin::Origin::start().unwrap();
        super::run(origin.address, origin.address, 2, 300_000).await.unwrap();
    }
}
