//! As many GETs as told, over as many connections as told, each sent when the one before it has
//! been answered.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::{JoinSet, LocalSet};

use super::client::{Client, get};
pub use super::paths::Paths;
use crate::statistics::quantile;

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the contender.
    pub address: SocketAddr,
    /// Whose resource is asked for.
    pub origin: SocketAddr,
    /// What is asked for.
    pub paths: Paths,
    /// How the contender is reached.
    pub connection: Connection,
    /// At the same time.
    pub connections: usize,
    /// Altogether.
    pub requests: u64,
}

/// How a request reaches the contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// On the connection of the request before it.
    Kept,
    /// On a new one.
    New,
    /// In a tunnel of its own through a new one.
    Tunnel,
}

/// How long it took.
#[derive(Debug)]
pub struct Outcome {
    /// Everything.
    pub took: Duration,
    /// Each request, sorted.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// The latency that `share` (0 to 1) of the requests did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        quantile(&self.latencies, share)
    }
}

/// Sends them all; the first wrong answer ends it with an error.
pub async fn run(plan: Plan) -> Result<Outcome> {
    let plan = Rc::new(plan);
    let left = Rc::new(Cell::new(plan.requests));
    let begun = Instant::now();
    let local = LocalSet::new();
    let mut latencies = Vec::with_capacity(usize::try_from(plan.requests)?);
    let clients = local.run_until(async {
        let mut clients = JoinSet::new();
        for _ in 0..plan.connections {
            clients.spawn_local(client(Rc::clone(&plan), Rc::clone(&left)));
        }
        while let Some(ended) = clients.join_next().await {
            latencies.extend(ended??);
        }
        anyhow::Ok(())
    });
    clients.await?;
    let took = begun.elapsed();
    latencies.sort_unstable();
    Ok(Outcome { took, latencies })
}

async fn client(plan: Rc<Plan>, left: Rc<Cell<u64>>) -> Result<Vec<Duration>> {
    let close = if plan.connection == Connection::New { "Connection: close\r\n" } else { "" };
    let mut latencies = Vec::new();
    let mut kept = None;
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        let (path, body) = plan.paths.next();
        let request = get(plan.origin, &path, close);
        let begun = Instant::now();
        let mut client = match kept.take() {
            Some(client) => client,
            None => Client::connect(plan.address).await?,
        };
        if plan.connection == Connection::Tunnel {
            client.tunnel(plan.origin).await?;
        }
        client.request(&request, body).await?;
        match plan.connection {
            Connection::Kept => kept = Some(client),
            Connection::New => client.closed().await?,
            // The end of a tunnel is the client's to say.
            Connection::Tunnel => drop(client),
        }
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_origin_answers_both_kinds_of_connection_and_counts_what_is_cacheable() {
        let origin = crate::origin::Origin::start().unwrap();
        let ways = [
            ("/b/1024", 1024, Connection::Kept),
            ("/c/65536", 65536, Connection::Kept),
            ("/b/1024", 1024, Connection::Tunnel),
        ];
        for (path, body, connection) in ways {
            let address = origin.address;
            let plan = Plan {
                address,
                origin: address,
                paths: Paths::one(path, body),
                connection,
                connections: 4,
                requests: 100,
            };
            assert_eq!(run(plan).await.unwrap().latencies.len(), 100);
        }
        assert_eq!(origin.cacheable(), 100);
    }
}
