//! From a released revision to all nodes that have it: a lab as a user has it, and a fleet of a
//! thousand.

use std::{fs, time::Instant};

use anyhow::{Context, Result, ensure};
use cluster::Service;
use testkit::lab::{Lab, Options};

use super::Bench;
use crate::{
    contender::Who,
    control::{Alone, fleet::Fleet},
    results::Sample,
    trial::names,
};

const NODES: usize = 1000;
/// What the config-service watches the first node for before the rest get a revision, unless told
/// otherwise.
const SOAK: f64 = 1.0;

/// `shoal config apply`, the whole command.
pub async fn lab(bench: Bench<'_>) -> Result<Vec<Sample>> {
    let lab = Lab::start(Options::default()).await;
    let bundle = lab.data_dir().join("bundle");
    let main = bundle.join("cluster.yaml");
    let text = fs::read_to_string(&main)?;
    ensure!(
        text.contains("memory: 64MiB") && text.contains("keepalive: 32"),
        "the lab's bundle is not the one that is edited here"
    );
    let mut samples = Vec::new();
    for round in 1..=bench.extent.few() {
        // Something changes for every node and every balancer.
        let edited = text.replace("memory: 64MiB", &format!("memory: {}MiB", 64 + round));
        fs::write(&main, edited.replace("keepalive: 32", &format!("keepalive: {}", 32 + round)))?;
        let begun = Instant::now();
        lab.ok(&["config", "apply", &bundle.to_string_lossy(), "-m", "bench"]).await;
        samples.push(Sample::new(
            names::RELEASE_LAB,
            Who::ConfigService,
            begun.elapsed().as_secs_f64(),
        ));
        samples.iter().rev().take(1).for_each(|sample| bench.progress.sample(sample));
    }
    Ok(samples)
}

/// A thousand nodes that acknowledge at once: what the config-service itself takes.
pub async fn fleet(bench: Bench<'_>) -> Result<Vec<Sample>> {
    let bundle = tempfile::tempdir()?;
    fs::write(bundle.path().join("cluster.yaml"), configuration(0))?;
    let service =
        Alone::start(Service::ConfigService, &["--bundle", &bundle.path().to_string_lossy()])
            .await?;
    let mut fleet =
        Fleet::connect(&service.caller("proxy-node")?, NODES).await.context("connect the nodes")?;
    let operator = service.caller("operator")?;
    let mut samples = Vec::new();
    for round in 1..=bench.extent.few() {
        let release = fleet.release(&operator, &configuration(round)).await?;
        let total = release.done.max(release.last).duration_since(release.started).as_secs_f64();
        for sample in [
            Sample::new(names::RELEASE_FLEET, Who::ConfigService, total - SOAK),
            Sample::new(names::RELEASE_FLEET_TOTAL, Who::ConfigService, total),
        ] {
            bench.progress.sample(&sample);
            samples.push(sample);
        }
        let first = release.first.duration_since(release.started);
        bench.progress.say(&format!(
            "  the first node had it after {first:.0?}, the last {:.0?} later",
            release.last.duration_since(release.first)
        ));
    }
    Ok(samples)
}

fn configuration(round: usize) -> String {
    format!(
        "version: 1\n\
         proxy:\n\
         \x20 listen: [{{bind: \"${{node.listen.proxy}}\"}}]\n\
         \x20 visible_hostname: \"${{node.name}}\"\n\
         \x20 cache: {{memory: {}MiB}}\n\
         \x20 access:\n\
         \x20   rules: [{{allow: [localhost]}}, {{deny: [all]}}]\n",
        64 + round
    )
}
