//! What clients notice when one node of three dies or freezes.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Bench;
use crate::{
    contender::{
        Who,
        cluster::{Cluster, Memory},
    },
    load::steady::{self, Outcome},
    results::Sample,
    trial::{Fault, names},
};

/// Clients of each kind.
const CLIENTS: usize = 4;
/// Under load before the fault.
const BEFORE: Duration = Duration::from_secs(1);

/// How long clients are watched after the fault: longer than anybody takes to notice it, or than
/// clients wait.
const fn watched(fault: Fault) -> Duration {
    match fault {
        Fault::Kill => Duration::from_secs(5),
        Fault::Freeze => Duration::from_secs(12),
    }
}

/// Every cluster in turn, round after round, each with the same node hit again.
pub async fn run(bench: Bench<'_>, fault: Fault, who: &[Who]) -> Result<Vec<Sample>> {
    let mut clusters = Vec::new();
    for who in who {
        let cluster = Cluster::start(*who, bench.origin.address, Memory::Usual).await;
        clusters.push((*who, cluster.with_context(|| format!("start {}", who.name()))?));
    }
    let mut samples = Vec::new();
    for _ in 0..bench.extent.few() {
        for (who, cluster) in &mut clusters {
            let outcomes = one(bench, fault, cluster)
                .await
                .with_context(|| format!("{} and {fault:?}", who.name()))?;
            let trials = match fault {
                Fault::Kill => [names::KILL_GET, names::KILL_CONNECT],
                Fault::Freeze => [names::FREEZE_GET, names::FREEZE_CONNECT],
            };
            for (trial, outcome) in trials.into_iter().zip(outcomes) {
                let sample = sample(trial, *who, &outcome);
                bench.progress.sample(&sample);
                samples.push(sample);
                if who.is_ours() {
                    outcome
                        .failures
                        .iter()
                        .for_each(|failure| bench.progress.say(&format!("  failed: {failure}")));
                }
            }
        }
    }
    Ok(samples)
}

async fn one(bench: Bench<'_>, fault: Fault, cluster: &mut Cluster) -> Result<[Outcome; 2]> {
    cluster.until_well().await?;
    let meanwhile = async {
        tokio::time::sleep(BEFORE).await;
        cluster.hit(fault)?;
        tokio::time::sleep(watched(fault)).await;
        Ok(())
    };
    let ((), outcomes) =
        steady::run(cluster.entrance, bench.origin.address, CLIENTS, meanwhile).await?;
    cluster.mend(fault).await?;
    cluster.until_well().await?;
    Ok(outcomes)
}

fn sample(trial: &str, who: Who, outcome: &Outcome) -> Sample {
    Sample {
        sent: Some(outcome.sent),
        failed: Some(outcome.failed),
        cut: trial.ends_with("connect").then_some(outcome.cut),
        slowest_ms: Some(outcome.slowest.as_secs_f64() * 1e3),
        ..Sample::new(trial, who, outcome.gap.as_secs_f64() * 1e3)
    }
}
