//! The registry alone: ten thousand leases, a thousand watchers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster::Service;
use nix::sys::resource::{Resource, getrlimit};
use proto::registry::{ListInstancesRequest, State, registry_client::RegistryClient};

use super::Bench;
use crate::{
    contender::Who,
    control::{Alone, instances::Instances, watchers::Watchers},
    cpu,
    results::Sample,
    trial::names,
};

const INSTANCES: usize = 10_000;
/// Several renewals of every lease.
const WINDOW: Duration = Duration::from_secs(10);
/// Instances whose watchers are measured.
const WATCHED: usize = 100;
const WATCHERS: usize = 1000;
/// Changes of one round.
const CHANGES: u32 = 5;

/// The instances say that they are at addresses of many hosts, and are all here.
const ANYWHERE: &[&str] = &["--advertised", "any"];

/// CPU time for ten thousand leases.
pub async fn heartbeats(bench: Bench<'_>) -> Result<Vec<Sample>> {
    let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = INSTANCES as u64 * 5 / 4;
    ensure!(
        descriptors >= needed,
        "{INSTANCES} connections need a limit of {needed} descriptors, and it is {descriptors}: \
         raise it with ulimit -n"
    );
    let registry = Alone::start(Service::Registry, ANYWHERE).await?;
    let mut instances =
        Instances::register(&registry.caller("proxy-node")?, Service::ProxyNode, INSTANCES).await?;
    let mut samples = Vec::new();
    for _ in 0..bench.extent.few() {
        let (begun, before, beats) =
            (Instant::now(), cpu::time(registry.pid())?, instances.beats());
        tokio::time::sleep(WINDOW).await;
        let used = cpu::time(registry.pid())?.since(before);
        let seconds = begun.elapsed().as_secs_f64();
        instances.still_alive()?;
        let [cost, user, system] =
            [used.total(), used.user, used.system].map(|time| time.as_secs_f64() / seconds * 100.0);
        let rate = (instances.beats() - beats) as f64 / seconds;
        let sample = Sample {
            user: Some(user),
            system: Some(system),
            requests_per_second: Some(rate),
            resident_kib: Some(cpu::resident_kib(registry.pid())?),
            sent: Some(INSTANCES as u64),
            failed: Some(not_usable(&registry).await?),
            ..Sample::new(names::HEARTBEATS, Who::Registry, cost)
        };
        ensure!(
            rate > INSTANCES as f64 / 4.0,
            "the instances themselves are too slow: {rate:.0} heartbeats a second"
        );
        bench.progress.sample(&sample);
        samples.push(sample);
    }
    Ok(samples)
}

/// Instances whose lease the registry does not believe in.
async fn not_usable(registry: &Alone) -> Result<u64> {
    let mut operator = RegistryClient::new(registry.caller("operator")?.connect().await?)
        .max_decoding_message_size(64 << 20);
    let listed = operator
        .list_instances(ListInstancesRequest { services: vec!["proxy-node".into()] })
        .await?
        .into_inner()
        .instances;
    let usable = listed.iter().filter(|status| status.state() == State::Usable).count();
    Ok(INSTANCES.saturating_sub(usable) as u64)
}

/// How long a change takes to the last of a thousand watchers.
pub async fn watchers(bench: Bench<'_>) -> Result<Vec<Sample>> {
    let registry = Alone::start(Service::Registry, ANYWHERE).await?;
    let _instances =
        Instances::register(&registry.caller("proxy-node")?, Service::ProxyNode, WATCHED).await?;
    let watched = "proxy-node-7";
    let mut watchers = Watchers::connect(&registry.caller("balancer")?, watched, WATCHERS)
        .await
        .context("connect the watchers")?;
    let mut operator = RegistryClient::new(registry.caller("operator")?.connect().await?);
    let mut samples = Vec::new();
    for change in 0..bench.extent.few() as u32 * CHANGES {
        let took = watchers.change(&mut operator, watched, 2 + change % 200).await?;
        let sample = Sample::new(names::WATCHERS, Who::Registry, took.as_secs_f64() * 1e3);
        bench.progress.sample(&sample);
        samples.push(sample);
    }
    Ok(samples)
}
