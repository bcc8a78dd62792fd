//! An address that moves from a balancer that dies or freezes to another one: when clients are
//! answered from there, and when one host alone has it again. Ours and keepalived at the same time,
//! in networks of their own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::network::VIRTUAL;
use tokio::task::{JoinSet, LocalSet};

use super::{Bench, Extent};
use crate::{
    contender::{
        Who,
        pair::{FIRST_ADDRESS, Pair, SECOND, SECOND_ADDRESS},
    },
    load::{adverts::Adverts, knocks::Knocks},
    results::Sample,
    trial::{Fault, Trial, Vrrp, Work, all},
};

/// At the scale 1.
const TIMES: f64 = 20.0;
/// Nobody takes longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often each is hit: more often than others have rounds, as each time it is another moment
/// between two advertisements.
fn times(extent: Extent) -> usize {
    ((TIMES * extent.scale).round() as usize).max(1)
}

/// Seconds of all.
pub fn expected(extent: Extent, vrrp: Vrrp, fault: Fault) -> f64 {
    let each = match vrrp {
        Vrrp::V2 => 6.5,
        Vrrp::V3(_) => 3.5,
    };
    let start = if fault == Fault::Kill { 1.0 } else { 0.0 };
    6.0 + times(extent) as f64 * (each + start)
}

/// All samples of what is told by this work: how soon clients are answered, and how soon the
/// address has one owner.
pub async fn run(
    bench: Bench<'_>,
    work: Work,
    vrrp: Vrrp,
    fault: Fault,
    who: &[Who],
) -> Result<Vec<Sample>> {
    if !nix::unistd::geteuid().is_root() {
        bench.progress.say("network namespaces need root: no takeovers");
        return Ok(Vec::new());
    }
    let times = times(bench.extent);
    let (local, mut tasks) = (LocalSet::new(), JoinSet::new());
    for who in who.iter().copied() {
        tasks.spawn_local_on(
            async move { row(who, vrrp, fault, times).await.with_context(|| who.name()) },
            &local,
        );
    }
    let rows = local.run_until(async {
        let mut rows = Vec::new();
        while let Some(joined) = tasks.join_next().await {
            rows.push(joined??);
        }
        anyhow::Ok(rows)
    });
    let mut samples = Vec::new();
    for (who, moves) in rows.await? {
        for trial in all().filter(|trial| trial.work == work && trial.who.contains(&who)) {
            samples.extend(moves.iter().filter_map(|moved| moved.sample(trial, who)));
        }
    }
    samples.iter().for_each(|sample| bench.progress.sample(sample));
    Ok(samples)
}

/// One takeover.
#[derive(Clone, Copy, Debug)]
struct Move {
    answered: Duration,
    /// None: not by itself.
    one_owner: Option<Duration>,
}

impl Move {
    fn sample(self, trial: &Trial, who: Who) -> Option<Sample> {
        let took = if trial.name.ends_with("-owner") { self.one_owner? } else { self.answered };
        Some(Sample::new(trial.name, who, took.as_secs_f64() * 1e3))
    }
}

/// All takeovers of a pair.
async fn row(who: Who, vrrp: Vrrp, fault: Fault, times: usize) -> Result<(Who, Vec<Move>)> {
    let mut pair = Pair::start(who, vrrp).await?;
    let mut moves = Vec::new();
    for number in 0..times {
        // Spread evenly over the time between two advertisements.
        let phase = interval(vrrp).mul_f64((number as f64 + 0.5) / times as f64);
        moves.push(one(&pair, who, fault, phase).await?);
        pair.mend(fault).await?;
    }
    Ok((who, moves))
}

const fn interval(vrrp: Vrrp) -> Duration {
    match vrrp {
        Vrrp::V2 => Duration::from_secs(1),
        Vrrp::V3(millis) => Duration::from_millis(millis as u64),
    }
}

/// Hits the first one so long after an advertisement of its own.
async fn one(pair: &Pair, who: Who, fault: Fault, phase: Duration) -> Result<Move> {
    let space = pair.network.space("c");
    let address = format!("{VIRTUAL}:8080").parse()?;
    let mut clients = Knocks::start(&space, address)?;
    clients.first(Instant::now(), FIRST_ADDRESS, PATIENCE).await?;
    let mut adverts = Adverts::listen(&space, "br0", FIRST_ADDRESS.parse()?)?;
    // The second one has heard the first two times at least.
    adverts.next(PATIENCE).await?;
    let heard = adverts.next(PATIENCE).await?;
    tokio::time::sleep_until((heard + phase).into()).await;
    let hit = Instant::now();
    pair.hit(fault)?;
    let answer = clients.first(hit, SECOND_ADDRESS, PATIENCE).await?;
    drop(clients);
    let one_owner = match who {
        Who::ShoalPair => {
            pair.network.until_held_by(&[SECOND]).await;
            Some(hit.elapsed())
        }
        _ => None,
    };
    Ok(Move { answered: answer.answered - hit, one_owner })
}
