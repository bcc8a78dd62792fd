//! An origin that never accepts: its backlog is full, and the kernel drops every SYN. That is no
//! evidence against a node either.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use testkit::client;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::Bench;
use crate::{
    contender::{
        Who,
        cluster::{Cluster, Memory},
    },
    load::steady,
    results::Sample,
    trial::names,
};

/// Requests that wait for it at the same time.
const WAITING: usize = 12;
/// A connection on loopback that takes longer than this was not accepted.
const NOT_ACCEPTED: Duration = Duration::from_millis(500);
/// More than a backlog of one has room for.
const MOST_HELD: usize = 16;

pub async fn run(bench: Bench<'_>) -> Result<Vec<Sample>> {
    let quick = bench.origin.address;
    let cluster = Cluster::start(Who::ShoalCluster, quick, Memory::Usual).await?;
    let before = cluster.ejections().await?;
    let deaf = Deaf::start().await?;
    // Others are served meanwhile.
    let (refusals, [gets, connects]) =
        steady::run(cluster.entrance, quick, 1, ask(cluster.entrance, deaf.address)).await?;
    let ejected = cluster.ejections().await?.saturating_sub(before);
    let refused = refusals.iter().filter(|(status, _)| *status == 504).count();
    let slowest = refusals.iter().map(|(_, took)| *took).max().unwrap_or_default();
    let common = |trial, cost| Sample {
        sent: Some(WAITING as u64 + gets.sent + connects.sent),
        failed: Some((WAITING - refused) as u64 + gets.failed + connects.failed),
        slowest_ms: Some(slowest.as_secs_f64() * 1e3),
        ..Sample::new(trial, Who::ShoalCluster, cost)
    };
    let reached = deaf.requests().await as f64 / WAITING as f64;
    let samples = vec![
        common(names::DEAF_ORIGIN, reached),
        common(names::DEAF_ORIGIN_EJECTED, ejected as f64),
    ];
    samples.iter().for_each(|sample| bench.progress.sample(sample));
    Ok(samples)
}

/// What each request was answered with, and when.
async fn ask(entrance: SocketAddr, deaf: SocketAddr) -> Result<Vec<(u16, Duration)>> {
    let url = format!("http://{deaf}/");
    let mut requests = JoinSet::new();
    for _ in 0..WAITING {
        let url = url.clone();
        requests.spawn(async move {
            let begun = std::time::Instant::now();
            client::once(entrance, "GET", &url, &[], b"")
                .await
                .map(|answer| (answer.status(), begun.elapsed()))
        });
    }
    let mut answers = Vec::new();
    while let Some(joined) = requests.join_next().await {
        answers.push(joined??);
    }
    Ok(answers)
}

/// A listener that nobody accepts from.
struct Deaf {
    address: SocketAddr,
    listener: TcpListener,
    held: Vec<TcpStream>,
}

impl Deaf {
    /// Fills its backlog.
    async fn start() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut held = Vec::new();
        while let Ok(connected) = timeout(NOT_ACCEPTED, TcpStream::connect(address)).await {
            held.push(connected?);
            ensure!(
                held.len() < MOST_HELD,
                "a backlog of one is not full after {MOST_HELD} connections"
            );
        }
        Ok(Self { address, listener, held })
    }

    /// How many of the connections in its backlog brought a request; those that filled it brought
    /// none.
    async fn requests(self) -> usize {
        drop(self.held);
        let mut requests = 0;
        while let Ok(Ok((mut stream, _))) = timeout(NOT_ACCEPTED, self.listener.accept()).await {
            let said = timeout(NOT_ACCEPTED, stream.read(&mut [0; 1])).await;
            requests += usize::from(matches!(said, Ok(Ok(1..))));
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_full_backlog_takes_nobody_and_what_it_holds_is_counted() {
        let mut deaf = Deaf::start().await.unwrap();
        assert!(timeout(NOT_ACCEPTED, TcpStream::connect(deaf.address)).await.is_err());
        deaf.held[0].write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(deaf.requests().await, 1);
    }
}
