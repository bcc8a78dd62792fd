//! A list of a million domains that every request is compared with: how long a start takes, what it
//! needs in memory, what it adds to a request.

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use testkit::{
    lab::{Lab, Options},
    wait::PATIENCE,
};
use tokio::process::Child;

use super::{Bench, scaled, traffic::timed_requests};
use crate::{
    contender::{Contender, Setting, Who, free_address, process::Process, squid},
    cpu,
    load::{
        client::{Client, get},
        dial::Dialers,
        requests::{Connection, Paths, Plan},
    },
    results::Sample,
    trial::names,
};

const DOMAINS: usize = 1_000_000;
const REQUESTS: u64 = 60_000;
const LIST: &str = "lists/blocked.txt";

/// Everybody with and without the list.
pub async fn run(bench: Bench<'_>, who: &[Who]) -> Result<Vec<Sample>> {
    let files = tempfile::tempdir()?;
    let list = files.path().join("blocked.txt");
    fs::write(&list, domains())?;
    let mut samples = Vec::new();
    let mut running = Vec::new();
    for who in who {
        let (subject, took) = Subject::start(*who, &list, bench.origin.address)
            .await
            .with_context(|| format!("start {}", who.name()))?;
        let resident = cpu::resident_kib(subject.contender.pid)?;
        samples.push(Sample::new(names::LIST_START, *who, took.as_secs_f64()));
        samples.push(Sample::new(names::LIST_MEMORY, *who, resident as f64 / 1024.0));
        running.push((*who, subject));
    }
    samples.iter().for_each(|sample| bench.progress.sample(sample));
    for round in 0..=bench.extent.few() {
        for turn in 0..running.len() {
            let (who, subject) = &running[(turn + round) % running.len()];
            let (address, origin, connections) =
                (subject.contender.address, bench.origin.address, bench.extent.connections);
            let requests = scaled(REQUESTS, bench.extent.scale);
            let plan = Plan {
                address,
                dialers: Dialers::plain(),
                origin,
                paths: Paths::one("/c/1024", 1024),
                connection: Connection::Kept,
                connections,
                requests,
            };
            let sample =
                timed_requests(bench, names::LIST_REQUEST, *who, &subject.contender, plan, true)
                    .await?;
            if round > 0 {
                bench.progress.sample(&sample);
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

/// Half of them stand for themselves, half for everything under them.
fn domains() -> String {
    let mut text = String::with_capacity(DOMAINS * 32);
    for number in 0..DOMAINS {
        let dot = if number % 2 == 0 { "." } else { "" };
        // Nothing fails when writing into a string.
        writeln!(text, "{dot}host-{number:06x}.zone{}.example", number % 9973).unwrap_or_default();
    }
    text
}

/// A running one.
struct Subject {
    contender: Contender,
    _squid: Option<Process>,
    _shoal: Option<(Lab, Child, TempDir)>,
}

impl Subject {
    /// Starts it; how long it took from the start of its process to its first answer.
    async fn start(
        who: Who,
        list: &Path,
        origin: SocketAddr,
    ) -> Result<(Self, std::time::Duration)> {
        let listed = matches!(who, Who::ShoalNodeListed | Who::SquidListed);
        if !who.is_ours() {
            let address = free_address()?;
            let begun = Instant::now();
            let process = Process::start(address, |directory| match listed {
                true => squid::listed(directory, address, list),
                false => squid::cache(directory, address, Setting::plain(&[])),
            });
            let process = process.await?;
            let contender = Contender { address, pid: process.pid() };
            first_answer(address, origin).await?;
            let took = begun.elapsed();
            cpu::pin(contender.pid, cpu::CONTENDER)?;
            return Ok((Self { contender, _squid: Some(process), _shoal: None }, took));
        }
        let bundle = bundle(listed.then_some(list))?;
        let path = bundle.path().to_string_lossy().into_owned();
        let arguments = ["--nodes", "1", "--balancers", "1", "--no-restart", "--config", &path]
            .map(str::to_owned)
            .to_vec();
        let lab = Lab::start(Options { arguments, ..Options::default() }).await;
        let node = lab.process("proxy-node-1");
        let address = node
            .endpoints
            .get("proxy")
            .context("a node without a listener for clients")?
            .parse()?;
        first_answer(address, origin).await?;
        // A start as after a reboot: with the list on its disk, and nothing from the config-service
        // that it waits for.
        lab.signal("proxy-node-1", nix::sys::signal::Signal::SIGKILL);
        let child = lab.restart("proxy-node-1");
        let begun = Instant::now();
        first_answer(address, origin).await?;
        let took = begun.elapsed();
        let pid = child.id().context("the node has ended")?.cast_signed();
        cpu::pin(pid, cpu::CONTENDER)?;
        Ok((
            Self {
                contender: Contender { address, pid },
                _squid: None,
                _shoal: Some((lab, child, bundle)),
            },
            took,
        ))
    }
}

/// Waits for an answer from behind a proxy.
async fn first_answer(address: SocketAddr, origin: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answered =
            async { Client::connect(address).await?.request(&get(origin, "/b/1", ""), 1).await };
        match answered.await {
            Ok(()) => return Ok(()),
            Err(error) => {
                ensure!(begun.elapsed() < PATIENCE, "no answer after {PATIENCE:?}: {error:#}")
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn bundle(list: Option<&Path>) -> Result<TempDir> {
    let bundle = tempfile::tempdir()?;
    let (acls, rule) = match list {
        Some(list) => {
            let to: PathBuf = bundle.path().join(LIST);
            fs::create_dir_all(bundle.path().join("lists"))?;
            fs::copy(list, to)?;
            ("\n    acls: {blocked: {dstdomain_list: blocked}}", "{deny: [blocked]}, ")
        }
        None => ("", ""),
    };
    let text = format!(
        "version: 1\n\
         proxy:\n\
         \x20 listen: [{{bind: \"${{node.listen.proxy}}\"}}]\n\
         \x20 cache: {{memory: 256MiB}}\n\
         \x20 access:{acls}\n\
         \x20   rules: [{rule}{{allow: [localhost]}}, {{deny: [all]}}]\n\
         \x20   egress: {{allow: [{{to: [loopback], clients: [127.0.0.0/8]}}]}}\n\
         balancer:\n\
         \x20 frontends: [{{name: bench, bind: \"${{node.listen.frontend}}\", mode: http, backend: \
         nodes}}]\n\
         \x20 backends: [{{name: nodes, balance: round_robin, servers: {{service: proxy-node}}}}]\n"
    );
    fs::write(bundle.path().join("cluster.yaml"), text)?;
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_has_a_million_different_entries() {
        let text = super::domains();
        assert_eq!(text.lines().collect::<std::collections::HashSet<_>>().len(), super::DOMAINS);
    }
}
