//! Asking everybody, again and again: each call has its own deadline, and whoever does not answer
//! keeps what it told last.

use std::{collections::BTreeMap, time::Duration};

use chassis::{ServiceChannel, scrape::Metrics};
use cluster::{InstanceStatus, Service};
use futures::{StreamExt, stream};
use proto::{
    balancer::{self, balancer_client::BalancerClient},
    proxy::{self, proxy_node_client::ProxyNodeClient},
};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Response, Status};

use super::{
    model::of,
    sample::{Snapshot, Told},
};
use crate::cluster::Cluster;

/// One answer may take so long.
const ANSWER: Duration = Duration::from_millis(1500);
/// Processes asked at the same time.
const AT_ONCE: usize = 64;
/// Memory is asked for once in so many rounds: it is a page of text.
const MEMORY_EVERY: u64 = 5;

/// Asks everybody round after round and publishes what is known after each.
pub struct Collector {
    cluster: std::rc::Rc<Cluster>,
    http: reqwest::Client,
    started: Instant,
    rounds: u64,
    known: Snapshot,
    /// By name and address: a connection lasts as long as somebody is where they were.
    balancers: Clients<BalancerClient<ServiceChannel>>,
    nodes: Clients<ProxyNodeClient<ServiceChannel>>,
}

type Clients<C> = BTreeMap<(String, Option<String>), C>;

impl Collector {
    /// One that knows nothing yet.
    pub fn new(cluster: std::rc::Rc<Cluster>, http: reqwest::Client) -> Self {
        Self {
            cluster,
            http,
            started: Instant::now(),
            rounds: 0,
            known: Snapshot::default(),
            balancers: Clients::new(),
            nodes: Clients::new(),
        }
    }

    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Asks everybody once.
    pub async fn round(&mut self) -> &Snapshot {
        match in_time(async { Ok(self.cluster.listing().await) }).await {
            Ok(Ok(listing)) => self.known.registry.answered(listing.instances, self.now()),
            Ok(Err(error)) => self.unheard(format!("{error:#}")),
            Err(why) => self.unheard(why),
        }
        let listed = self.known.registry.value().cloned().unwrap_or_default();
        let balancers: Vec<_> = of(&listed, Service::Balancer).cloned().collect();
        let nodes: Vec<_> = of(&listed, Service::ProxyNode).cloned().collect();
        self.known
            .balancers
            .retain(|name, _| balancers.iter().any(|status| status.instance.name == *name));
        self.known.nodes.retain(|name, _| nodes.iter().any(|status| status.instance.name == *name));
        self.known
            .memory
            .retain(|name, _| nodes.iter().any(|status| status.instance.name == *name));
        connect(&mut self.balancers, &balancers, |status| self.cluster.balancer(status));
        connect(&mut self.nodes, &nodes, |status| self.cluster.proxy_node(status));
        let (of_balancers, of_nodes) = (&self.balancers, &self.nodes);
        let of_balancer = async |status: &InstanceStatus| {
            let mut client =
                of_balancers.get(&place(status)).cloned().ok_or("it announces no gRPC port")?;
            rpc(client.get_stats(balancer::GetStatsRequest {}))
                .await
                .map(|answer| answer.stats.unwrap_or_default())
        };
        let of_node = async |status: &InstanceStatus| {
            let mut client =
                of_nodes.get(&place(status)).cloned().ok_or("it announces no gRPC port")?;
            rpc(client.get_stats(proxy::GetStatsRequest {})).await
        };
        let memory = self.rounds.is_multiple_of(MEMORY_EVERY);
        let started = self.started;
        let (balancers, nodes, memory) = tokio::join!(
            everybody(&balancers, started, of_balancer),
            everybody(&nodes, started, of_node),
            everybody(if memory { &nodes } else { &[] }, started, async |status| resident(
                &self.http, status
            )
            .await)
        );
        take(&mut self.known.balancers, balancers);
        take(&mut self.known.nodes, nodes);
        self.known
            .memory
            .extend(memory.into_iter().filter_map(|(name, answer, _)| Some((name, answer.ok()?))));
        self.rounds += 1;
        self.known.taken = self.now();
        &self.known
    }

    /// The registry does not answer: what it listed last is still the best that is known, from
    /// before this process too.
    fn unheard(&mut self, why: String) {
        if self.known.registry.value().is_some() {
            self.cluster.fell_silent();
        } else if let Some((listing, at)) = self.cluster.recall() {
            let age = chassis::Clock::system().now().duration_since(at).as_secs_f64().max(0.0);
            self.known.registry.answered(listing.instances, self.now() - age);
        }
        self.known.registry.silent(why);
    }

    /// For ever: a round each `interval`, or as fast as answers come.
    pub async fn run(mut self, interval: Duration, known: watch::Sender<Snapshot>) {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let snapshot = self.round().await.clone();
            if known.send(snapshot).is_err() {
                return;
            }
        }
    }
}

fn place(status: &InstanceStatus) -> (String, Option<String>) {
    (status.instance.name.clone(), status.instance.endpoints.get("grpc").cloned())
}

/// Keeps a client for everybody listed, and for nobody else.
fn connect<C>(
    clients: &mut Clients<C>,
    listed: &[InstanceStatus],
    client: impl Fn(&InstanceStatus) -> anyhow::Result<C>,
) {
    clients.retain(|known, _| listed.iter().any(|status| place(status) == *known));
    for status in listed {
        if let std::collections::btree_map::Entry::Vacant(vacant) = clients.entry(place(status))
            && let Ok(client) = client(status)
        {
            vacant.insert(client);
        }
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}

async fn rpc<T>(answer: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, String> {
    in_time(async {
        answer.await.map(Response::into_inner).map_err(|status| chassis::connect::explain(&status))
    })
    .await
}

type Answer<T> = (String, Result<T, String>, f64);

async fn everybody<T>(
    instances: &[InstanceStatus],
    started: Instant,
    ask: impl AsyncFn(&InstanceStatus) -> Result<T, String>,
) -> Vec<Answer<T>> {
    let ask = &ask;
    let asking = instances.iter().map(|status| async move {
        let answer = ask(status).await;
        (status.instance.name.clone(), answer, started.elapsed().as_secs_f64())
    });
    stream::iter(asking).buffer_unordered(AT_ONCE).collect().await
}

fn take<T>(known: &mut BTreeMap<String, Told<T>>, answers: Vec<Answer<T>>) {
    for (name, answer, at) in answers {
        let told = known.entry(name).or_default();
        match answer {
            Ok(value) => told.answered(value, at),
            Err(why) => told.silent(why),
        }
    }
}

/// Memory in use, from the process's metrics.
async fn resident(http: &reqwest::Client, status: &InstanceStatus) -> Result<u64, String> {
    let address = status.instance.endpoints.get("admin").ok_or("no admin port")?;
    let text = in_time(async {
        let answer = http
            .get(format!("http://{address}/metrics"))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        answer.text().await.map_err(|error| error.to_string())
    });
    Metrics::parse(&text.await?)
        .count(chassis::metrics::RESIDENT_MEMORY)
        .ok_or_else(|| "no such metric".to_owned())
}
