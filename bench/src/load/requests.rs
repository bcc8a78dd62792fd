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

pub use super::paths::Paths;
use super::{client::Client, dial::Dialers};
use crate::statistics::quantile;

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the contender.
    pub address: SocketAddr,
    /// How each client gets there.
    pub dialers: Dialers,
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
    /// On a new one, which the contender ends as it is asked to.
    New,
    /// On a new one, which the client ends.
    Once,
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
        for number in 0..plan.connections {
            clients.spawn_local(client(Rc::clone(&plan), number, Rc::clone(&left)));
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

/// Gives each client's dialer a session that it can resume.
pub async fn acquaint(plan: &Plan) -> Result<()> {
    for dialer in plan.dialers.iter() {
        let mut client = dialer.dial_first(plan.address).await?;
        let (request, body) = plan.paths.next(plan.origin, CLOSE);
        // What can be resumed comes before the answer.
        client.request(&request, body).await?;
    }
    Ok(())
}

const CLOSE: &str = "Connection: close\r\n";

async fn client(plan: Rc<Plan>, number: usize, left: Rc<Cell<u64>>) -> Result<Vec<Duration>> {
    let close = if plan.connection == Connection::New { CLOSE } else { "" };
    let dialer = plan.dialers.of(number);
    let mut latencies = Vec::new();
    let mut kept: Option<Client> = None;
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        let (request, body) = plan.paths.next(plan.origin, close);
        let begun = Instant::now();
        let mut client = match kept.take() {
            Some(client) => client,
            None => dialer.dial(plan.address).await?,
        };
        if plan.connection == Connection::Tunnel {
            client.tunnel(plan.origin).await?;
        }
        client.request(&request, body).await?;
        match plan.connection {
            Connection::Kept => kept = Some(client),
            Connection::New => client.closed().await?,
            Connection::Once | Connection::Tunnel => drop(client),
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
            ("/b/1024", 1024, Connection::Once),
            ("/b/1024", 1024, Connection::Tunnel),
        ];
        for (path, body, connection) in ways {
            let address = origin.address;
            let plan = Plan {
                address,
                dialers: Dialers::plain(),
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
