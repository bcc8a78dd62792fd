//! An origin that takes 20 s to answer: that is no evidence against a node, and no reason to ask
//! twice.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use anyhow::{Context, Result};
use testkit::{client, origin::Origin};
use tokio::task::{JoinSet, LocalSet};

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

const TAKES: Duration = Duration::from_secs(20);
/// Requests that wait for it at the same time.
const WAITING: usize = 12;

/// All clusters at the same time: they have hardly anything to do.
pub async fn run(bench: Bench<'_>, who: &[Who]) -> Result<Vec<Sample>> {
    let origin = Origin::start().await;
    let origin = Rc::new(origin);
    let local = LocalSet::new();
    let (quick, mut tasks) = (bench.origin.address, JoinSet::new());
    let mut clusters = Vec::new();
    for who in who {
        clusters.push((
            *who,
            Cluster::start(*who, quick, Memory::Usual)
                .await
                .with_context(|| format!("start {}", who.name()))?,
        ));
    }
    for (who, cluster) in clusters {
        let slow = Rc::clone(&origin);
        tasks.spawn_local_on(
            async move { one(who, cluster, quick, &slow).await.with_context(|| who.name()) },
            &local,
        );
    }
    let mut samples = Vec::new();
    local
        .run_until(async {
            while let Some(joined) = tasks.join_next().await {
                samples.extend(joined??);
            }
            anyhow::Ok(())
        })
        .await?;
    samples.iter().for_each(|sample| bench.progress.sample(sample));
    Ok(samples)
}

async fn one(who: Who, cluster: Cluster, quick: SocketAddr, slow: &Origin) -> Result<[Sample; 2]> {
    let before = cluster.ejections().await?;
    let url = slow.url(&format!("/delay/{}", TAKES.as_millis()));
    let id = |number: usize| format!("{who:?}-{number}");
    let waiting = async {
        let mut requests = JoinSet::new();
        for number in 0..WAITING {
            let (entrance, url, id) = (cluster.entrance, url.clone(), id(number));
            requests.spawn(async move {
                client::once(entrance, "GET", &url, &[("x-test-id", &id)], b"").await
            });
        }
        let mut failed = 0;
        while let Some(joined) = requests.join_next().await {
            failed += u64::from(!joined?.is_ok_and(|answer| answer.status() == 200));
        }
        Ok(failed)
    };
    // Others are served meanwhile.
    let (failed, [gets, connects]) = steady::run(cluster.entrance, quick, 1, waiting).await?;
    let asked: u64 = (0..WAITING).map(|number| u64::from(slow.arrivals(&id(number)))).sum();
    let ejected = cluster.ejections().await?.saturating_sub(before);
    Ok([
        Sample {
            sent: Some(WAITING as u64 + gets.sent + connects.sent),
            failed: Some(failed + gets.failed + connects.failed),
            slowest_ms: Some(gets.slowest.max(connects.slowest).as_secs_f64() * 1e3),
            ..Sample::new(names::SLOW_ORIGIN, who, asked as f64 / WAITING as f64)
        },
        Sample::new(names::SLOW_ORIGIN_EJECTED, who, ejected as f64),
    ])
}
