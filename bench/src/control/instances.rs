//! Many instances that register and keep their leases alive, each on a connection of its own, at
//! the pace of real ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use cluster::Service;
use proto::registry::{
    Instance, KeepAliveRequest, RegisterRequest, registry_client::RegistryClient,
};
use testkit::wait::PATIENCE;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;

use super::Caller;

/// Handshakes at the same time.
const AT_ONCE: usize = 32;
/// What a service asks for when it is not told otherwise, and how often it renews it.
const LEASE: Duration = Duration::from_secs(10);
const RENEWALS: u32 = 3;
/// How long thousands of handshakes may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(120);

/// Registered instances.
#[derive(Debug)]
pub struct Instances {
    beats: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

impl Instances {
    /// Registers so many; each heartbeats when this returns.
    pub async fn register(caller: &Caller, service: Service, count: usize) -> Result<Self> {
        let mut instances = Self { beats: Arc::default(), tasks: JoinSet::new() };
        let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        let ready = Arc::new(AtomicU64::new(0));
        for number in 0..count {
            let (caller, beats, room, ready) = (
                caller.clone(),
                Arc::clone(&instances.beats),
                Arc::clone(&room),
                Arc::clone(&ready),
            );
            instances.tasks.spawn(async move {
                let permit = room.acquire_owned().await?;
                let client = RegistryClient::new(caller.connect().await?);
                live(client, service, number, permit, &ready, &beats).await
            });
        }
        let begun = tokio::time::Instant::now();
        while ready.load(Ordering::Relaxed) < count as u64 {
            instances.still_alive()?;
            if begun.elapsed() > CONNECT_WITHIN {
                bail!(
                    "only {} of {count} instances are registered after {CONNECT_WITHIN:?}",
                    ready.load(Ordering::Relaxed)
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(instances)
    }

    /// Renewals that the registry has answered.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// An error when one of them lost its lease or its connection.
    pub fn still_alive(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                ended?.context("an instance lost its lease")?;
                bail!("the registry ended an instance's stream")
            }
        }
    }
}

async fn live(
    mut client: RegistryClient<chassis::ServiceChannel>,
    service: Service,
    number: usize,
    permit: tokio::sync::OwnedSemaphorePermit,
    ready: &AtomicU64,
    beats: &AtomicU64,
) -> Result<()> {
    let (name, id) = (format!("{service}-{number}"), uuid::Uuid::now_v7().to_string());
    let address = format!("10.{}.{}.{}", number / 62_500, number / 250 % 250, number % 250 + 1);
    let endpoints = [("proxy", 3128), ("relay", 3129), ("grpc", 7101), ("admin", 7102)];
    let instance = Instance {
        service: service.to_string(),
        name: name.clone(),
        id: id.clone(),
        endpoints: endpoints
            .into_iter()
            .map(|(purpose, port)| (purpose.to_owned(), format!("{address}:{port}")))
            .collect(),
        weight: 1,
        version: chassis::VERSION.to_owned(),
        ..Instance::default()
    };
    let lease_ttl = prost_duration(LEASE);
    let granted = client
        .register(RegisterRequest { instance: Some(instance), lease_ttl, ready: true })
        .await?
        .into_inner();
    let (say, said) = mpsc::channel(4);
    let generation = granted.generation;
    let beat = || KeepAliveRequest {
        name: name.clone(),
        id: id.clone(),
        generation,
        ready: true,
        ..KeepAliveRequest::default()
    };
    say.send(beat()).await?;
    let mut answers = client.keep_alive(ReceiverStream::new(said)).await?.into_inner();
    drop(permit);
    ready.fetch_add(1, Ordering::Relaxed);
    loop {
        let due = tokio::time::Instant::now() + LEASE / RENEWALS;
        let answer = tokio::time::timeout(PATIENCE, answers.message())
            .await
            .with_context(|| format!("{name} gets no answer"))??;
        answer.with_context(|| format!("{name} lost its stream"))?;
        beats.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep_until(due).await;
        say.send(beat()).await?;
    }
}

fn prost_duration(duration: Duration) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    })
}
