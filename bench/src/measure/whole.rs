//! The whole way: what a request costs from the balancer to the cache and back, ours beside
//! HAProxy's with three Squids that ask each other. What counts is the CPU time of balancer and
//! caches; whoever else belongs to a cluster runs on the other core.

use std::rc::Rc;

use anyhow::{Context, Result, ensure};

use super::{Bench, scaled, traffic::costing};
use crate::{
    contender::{
        Who,
        cluster::{Cluster, Memory},
    },
    cpu,
    load::{
        dial::Dialers,
        paths::Day,
        requests::{self, Connection, Paths, Plan},
    },
    results::Sample,
    trial::{Way, Work, names},
};

/// The day asks for about 400 MB, more than three caches of 32 MiB hold.
const OBJECTS: u32 = 40_000;
const SEED: u64 = 51;
/// Memory of each cache in MiB where nothing has to go, and in the course of a day.
const ROOM: u32 = 256;
const NARROW: u32 = 32;

/// All samples of a way.
pub async fn run(bench: Bench<'_>, way: Way, who: &[Who]) -> Result<Vec<Sample>> {
    let requests = scaled(requests(way), bench.extent.scale);
    let day = Rc::new(Day::new(SEED, OBJECTS, usize::try_from(requests)?));
    let memory = Memory::Each(if way == Way::Day { NARROW } else { ROOM });
    let mut clusters = Vec::new();
    for who in who {
        let cluster = Cluster::start(*who, bench.origin.address, memory).await;
        let cluster = cluster.with_context(|| format!("start {}", who.name()))?;
        for pid in cluster.data_plane()? {
            cpu::pin(pid, cpu::CONTENDER)?;
        }
        clusters.push((*who, cluster));
    }
    let mut samples = Vec::new();
    for round in 0..=bench.extent.rounds {
        for turn in 0..clusters.len() {
            let index = (turn + round) % clusters.len();
            let (who, cluster) = &clusters[index];
            // Neither another round nor another cluster has asked for any of it.
            let prefix = format!("{}-{index}-{round}", way_name(way));
            let (connection, paths) = match way {
                Way::Hit => (Connection::Kept, Paths::one("/c/1024", 1024)),
                Way::Miss => (Connection::Kept, Paths::new(&prefix, 1024)),
                Way::Day => (Connection::Kept, Paths::day(&prefix, &day)),
                Way::Exchange => (Connection::Tunnel, Paths::one("/b/1024", 1024)),
            };
            let plan = Plan {
                address: cluster.entrance,
                dialers: Dialers::plain(),
                origin: bench.origin.address,
                paths,
                connection,
                connections: bench.extent.connections,
                requests,
            };
            let measured = one(bench, way, *who, cluster, plan).await;
            let measured = measured.with_context(|| format!("{} in {way:?}", who.name()))?;
            if round > 0 {
                measured.iter().for_each(|sample| bench.progress.sample(sample));
                samples.extend(measured);
            }
        }
    }
    Ok(samples)
}

/// In one round.
const fn requests(way: Way) -> u64 {
    match way {
        Way::Hit => 30_000,
        Way::Miss => 12_000,
        Way::Day => 60_000,
        Way::Exchange => 6_000,
    }
}

/// How long a round of one takes at the most, in seconds.
pub fn expected(way: Way) -> f64 {
    requests(way) as f64 * if way == Way::Hit { 80e-6 } else { 250e-6 }
}

const fn way_name(way: Way) -> &'static str {
    match way {
        Way::Hit => "hit",
        Way::Miss => "miss",
        Way::Day => "day",
        Way::Exchange => "exchange",
    }
}

async fn one(
    bench: Bench<'_>,
    way: Way,
    who: Who,
    cluster: &Cluster,
    plan: Plan,
) -> Result<Vec<Sample>> {
    let requests = plan.requests;
    if way == Way::Hit {
        // Each of the caches has it before it counts.
        requests::run(Plan { connections: 1, requests: 300, ..plan.clone() }).await?;
    }
    let pids = cluster.data_plane()?;
    let used = || -> Result<Vec<cpu::Time>> { pids.iter().map(|pid| cpu::time(*pid)).collect() };
    let (asked, before) = (bench.origin.cacheable(), used()?);
    let outcome = requests::run(plan).await?;
    let after = used()?;
    let asked = bench.origin.cacheable() - asked;
    match way {
        Way::Hit => ensure!(asked == 0, "{asked} of {requests} were no hits"),
        Way::Miss => ensure!(asked >= requests, "only {asked} of {requests} were misses"),
        Way::Day | Way::Exchange => {}
    }
    let mut sum = cpu::Time::default();
    for (before, after) in before.into_iter().zip(after) {
        let used = after.since(before);
        sum = cpu::Time { user: sum.user + used.user, system: sum.system + used.system };
    }
    let name = super::trial(Work::Whole(way))?.name;
    let mut sample = costing(name, who, sum, 1e6 / requests as f64);
    sample.requests_per_second = Some(requests as f64 / outcome.took.as_secs_f64());
    sample.p50_us = Some(outcome.quantile(0.50).as_secs_f64() * 1e6);
    sample.p99_us = Some(outcome.quantile(0.99).as_secs_f64() * 1e6);
    let mut samples = vec![sample];
    if way == Way::Day {
        let share = asked as f64 * 1000.0 / requests as f64;
        samples.push(Sample::new(names::WHOLE_DAY_ORIGIN, who, share));
    }
    Ok(samples)
}
