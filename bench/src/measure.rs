//! Runs the trials: rounds in which everybody has a turn, so that what changes on the machine
//! changes for all.

mod caching;
mod deaf_origin;
mod faults;
mod list;
mod pools;
mod registry;
mod release;
mod slow_origin;
mod takeover;
mod traffic;
mod whole;

use std::time::Duration;

use anyhow::{Context, Result};

use crate::{
    contender::Who,
    cpu,
    origin::Origin,
    progress::Progress,
    results::Sample,
    trial::{Fault, Trial, Work, all},
};

/// How often and how much.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The median of so many counts.
    pub rounds: usize,
    /// Multiplies what is done in a round.
    pub scale: f64,
    /// Connections at the same time.
    pub connections: usize,
}

impl Extent {
    /// Rounds of what takes long: most of each is starting anew, waiting for a fault to be over, or
    /// opening thousands of connections.
    const fn few(self) -> usize {
        if self.rounds < 3 { self.rounds } else { 3 }
    }
}

/// What every measurement is given.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    /// Against what.
    pub origin: &'a Origin,
    /// How much.
    pub extent: Extent,
    /// Where samples are shown.
    pub progress: &'a Progress,
}

/// The pieces of work that bring these trials, each once.
pub fn works(trials: &[&Trial]) -> Vec<Work> {
    let mut works: Vec<Work> = Vec::new();
    for trial in trials {
        if !works.contains(&trial.work) {
            works.push(trial.work);
        }
    }
    works
}

/// Those who take part in it and are installed.
fn who(work: Work) -> Vec<Who> {
    let mut who: Vec<Who> = all()
        .filter(|trial| trial.work == work)
        .flat_map(|trial| trial.who)
        .copied()
        .filter(|who| who.installed())
        .collect();
    who.sort();
    who.dedup();
    who
}

/// The name of the one trial that comes of it.
fn trial(work: Work) -> Result<&'static Trial> {
    all().find(|trial| trial.work == work).context("work of no trial")
}

/// All samples of a piece of work.
pub async fn run(bench: Bench<'_>, work: Work) -> Result<Vec<Sample>> {
    let who = who(work);
    match work {
        Work::Requests { .. } | Work::Connections { .. } | Work::Tunnels(_) | Work::Idle(..) => {
            traffic::run(bench, trial(work)?, &who).await
        }
        Work::Cache(caching) => caching::run(bench, trial(work)?, caching, &who).await,
        Work::Pool(balance, keeping) => {
            pools::run(bench, trial(work)?, (balance, keeping), &who).await
        }
        Work::Whole(way) => whole::run(bench, way, &who).await,
        Work::Fault(fault) => anywhere(faults::run(bench, fault, &who)).await,
        Work::Takeover(vrrp, fault) => {
            anywhere(takeover::run(bench, work, vrrp, fault, &who)).await
        }
        Work::SlowOrigin => anywhere(slow_origin::run(bench, &who)).await,
        Work::DeafOrigin => anywhere(deaf_origin::run(bench)).await,
        Work::LabRelease => anywhere(release::lab(bench)).await,
        Work::FleetRelease => release::fleet(bench).await,
        Work::Heartbeats => registry::heartbeats(bench).await,
        Work::Watchers => registry::watchers(bench).await,
        Work::DomainList => list::run(bench, &who).await,
    }
}

/// Whole clusters have both cores: their times count, not their CPU time.
async fn anywhere<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    cpu::unpin_myself()?;
    let done = work.await;
    cpu::pin_myself(cpu::LOAD)?;
    done
}

/// About how long it takes on a machine of two cores.
pub fn expected(work: Work, extent: Extent) -> Duration {
    let rounds = extent.rounds as f64;
    let contenders = who(work).len() as f64;
    let seconds = match work {
        Work::Requests { body, fresh, tls, requests, .. } => {
            let handshake = if fresh && tls.is_some() { 800e-6 } else { 0.0 };
            let each = if body > 10_000 { 60e-6 } else { 25e-6 }
                + if fresh { 60e-6 } else { 0.0 }
                + handshake;
            5.0 + (rounds + 1.0) * contenders * requests as f64 * extent.scale * each
        }
        Work::Connections { fresh, requests } => {
            let each = if fresh { 85e-6 } else { 25e-6 };
            5.0 + (rounds + 1.0) * contenders * requests as f64 * extent.scale * each
        }
        Work::Tunnels(_) => 5.0 + (rounds + 1.0) * contenders * extent.scale,
        Work::Idle(_, count) => {
            extent.few() as f64 * (5.0 + contenders * (3.5 + count as f64 * 250e-6))
        }
        Work::Cache(caching) => {
            let (round, filling) = caching::expected(caching);
            8.0 + contenders * ((rounds + 1.0) * extent.scale * round + filling)
        }
        Work::Pool(..) => 5.0 + (rounds + 1.0) * contenders * pools::expected() * extent.scale,
        Work::Takeover(vrrp, fault) => takeover::expected(extent, vrrp, fault),
        Work::Whole(way) => {
            20.0 + (rounds + 1.0) * contenders * extent.scale * whole::expected(way)
        }
        Work::Fault(Fault::Kill) => 15.0 + extent.few() as f64 * contenders * 7.0,
        Work::Fault(Fault::Freeze) => 15.0 + extent.few() as f64 * contenders * 14.0,
        Work::SlowOrigin => 35.0,
        Work::DeafOrigin => 20.0,
        Work::LabRelease => 8.0 + 3.0 * extent.few() as f64,
        Work::FleetRelease => 10.0 + 5.0 * extent.few() as f64,
        Work::Heartbeats => 45.0,
        Work::Watchers => 15.0,
        Work::DomainList => 25.0 + extent.few() as f64 * contenders * 3.0,
    };
    Duration::from_secs_f64(seconds)
}

fn scaled(count: u64, scale: f64) -> u64 {
    ((count as f64 * scale) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{find, names};

    #[test]
    fn work_that_brings_several_trials_is_done_once() {
        let trials = [names::KILL_GET, names::KILL_CONNECT, names::FREEZE_GET]
            .map(|name| find(name).unwrap());
        assert_eq!(works(&trials), [Work::Fault(Fault::Kill), Work::Fault(Fault::Freeze)]);
    }
}
