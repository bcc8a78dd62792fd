//! Caches: hits among many objects, hits from the disk, misses, fills, validations, and a storm on
//! one object. Who is asked for a hit must not ask the origin: its count says whether that is so.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use testkit::{client, origin::Origin as SlowOrigin};
use tokio::task::JoinSet;

use super::{Bench, scaled, traffic::costing};
use crate::{
    contender::{Contender, Fleet, Setting, Who},
    cpu,
    load::{
        dial::Dialers,
        requests::{self, Connection, Paths, Plan},
    },
    results::Sample,
    trial::{Caching, Trial},
};

/// Objects that are asked for in random order.
const MANY: u32 = 100_000;
/// Objects of [`PIECE`] bytes: 256 MiB, four times the memory of [`Setting::memory`] here.
const ON_DISK: u32 = 16_384;
const PIECE: usize = 16 * 1024;
/// Objects that are validated.
const TO_VALIDATE: u32 = 4096;
/// Memory in MiB of a cache whose objects are on the disk.
const NARROW: u32 = 64;
/// The same where the memory holds everything: Squid takes more than 4 KiB for 1 KiB.
const WIDE: u32 = 1024;
const SEED: u64 = 52;
/// How long what was written may take to come to rest before anything is counted.
const SETTLE: Duration = Duration::from_secs(2);
/// What a storm's object takes to come.
const SLOW: Duration = Duration::from_secs(1);
const STORM: usize = 1000;
/// Of so many answers one may have gone past the disk, whose queues are bounded.
const TOLERATED: u64 = 200;
const DROP: &str = "/proc/sys/vm/drop_caches";

/// All samples of a trial.
pub async fn run(
    bench: Bench<'_>,
    trial: &Trial,
    caching: Caching,
    who: &[Who],
) -> Result<Vec<Sample>> {
    if caching == (Caching::Disk { dropped: true }) && !may_drop() {
        bench.progress.say(&format!("{:<24} left out: {DROP} cannot be written", trial.name));
        return Ok(Vec::new());
    }
    if caching == Caching::Storm {
        return storms(bench, trial.name, who).await;
    }
    let servers = [bench.origin.address];
    let mut setting = Setting::plain(&servers);
    match caching {
        Caching::Random => setting.memory = WIDE,
        Caching::Disk { .. } => setting.memory = NARROW,
        _ => {}
    }
    let fleet = Fleet::start(who, setting).await?;
    let mut samples = Vec::new();
    for who in who {
        let filled = fill(bench, caching, fleet.get(*who)?).await;
        filled.with_context(|| format!("fill {}", who.name()))?;
    }
    tokio::time::sleep(SETTLE).await;
    for round in 0..=bench.extent.rounds {
        for turn in 0..who.len() {
            let who = who[(turn + round) % who.len()];
            let sample = one(bench, trial, caching, round, who, fleet.get(who)?).await;
            let sample = sample.with_context(|| format!("{} in {}", who.name(), trial.name))?;
            if round > 0 {
                bench.progress.sample(&sample);
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

/// Has a cache store what it is asked for later; twice, as some store what is asked for again.
async fn fill(bench: Bench<'_>, caching: Caching, contender: &Contender) -> Result<()> {
    let (count, body) = match caching {
        Caching::Random => (MANY, 1024),
        Caching::Disk { .. } => (ON_DISK, PIECE),
        Caching::Validated => (TO_VALIDATE, 1024),
        Caching::Miss | Caching::Fill | Caching::Storm => return Ok(()),
    };
    for _ in 0..2 {
        let paths = match caching {
            Caching::Validated => Paths::new("many", body).validated(),
            _ => Paths::new("many", body),
        };
        requests::run(plan(bench, contender, paths, u64::from(count))).await?;
    }
    Ok(())
}

fn plan(bench: Bench<'_>, contender: &Contender, paths: Paths, requests: u64) -> Plan {
    Plan {
        address: contender.address,
        dialers: Dialers::plain(),
        origin: bench.origin.address,
        paths,
        connection: Connection::Kept,
        connections: bench.extent.connections,
        requests,
    }
}

/// In one round.
const fn requests_of(caching: Caching) -> u64 {
    match caching {
        Caching::Random | Caching::Validated => 40_000,
        Caching::Disk { dropped: false } => 16_000,
        Caching::Disk { dropped: true } => 4_000,
        Caching::Miss => 20_000,
        Caching::Fill => 200,
        Caching::Storm => STORM as u64,
    }
}

/// How long a round of one takes, and filling it before, in seconds.
pub fn expected(caching: Caching) -> (f64, f64) {
    let each = match caching {
        Caching::Random | Caching::Validated => 25e-6,
        Caching::Disk { dropped: false } => 60e-6,
        Caching::Disk { dropped: true } => 300e-6,
        Caching::Miss => 60e-6,
        Caching::Fill => 3e-3,
        Caching::Storm => 2e-3,
    };
    let filling = match caching {
        Caching::Random => 14.0,
        Caching::Disk { .. } => 6.0,
        _ => 0.1,
    };
    (requests_of(caching) as f64 * each, filling)
}

async fn one(
    bench: Bench<'_>,
    trial: &Trial,
    caching: Caching,
    round: usize,
    who: Who,
    contender: &Contender,
) -> Result<Sample> {
    let requests = scaled(requests_of(caching), bench.extent.scale);
    let seed = SEED + round as u64;
    let prefix = format!("{who:?}-{round}");
    let paths = match caching {
        Caching::Random => Paths::random("many", 1024, MANY, seed),
        Caching::Disk { .. } => Paths::random("many", PIECE, ON_DISK, seed),
        Caching::Miss => Paths::new(&prefix, 1024),
        Caching::Fill => Paths::new(&prefix, 1 << 20),
        Caching::Validated => Paths::random("many", 1024, TO_VALIDATE, seed).validated(),
        Caching::Storm => anyhow::bail!("a storm has no rounds"),
    };
    if caching == (Caching::Disk { dropped: true }) {
        nix::unistd::sync();
        fs::write(DROP, "1").with_context(|| format!("write {DROP}"))?;
    }
    let origin = bench.origin;
    let (asked, validated) = (origin.cacheable(), origin.validated());
    let before = cpu::time(contender.pid)?;
    let outcome = requests::run(plan(bench, contender, paths, requests)).await?;
    let used = cpu::time(contender.pid)?.since(before);
    let (asked, validated) = (origin.cacheable() - asked, origin.validated() - validated);
    match caching {
        Caching::Random => ensure!(asked == 0, "{asked} of {requests} were no hits"),
        Caching::Disk { .. } => {
            ensure!(asked <= requests / TOLERATED, "{asked} of {requests} were no hits");
        }
        Caching::Miss | Caching::Fill => {
            ensure!(asked == requests, "{asked} of {requests} were misses");
        }
        Caching::Validated => {
            // Two clients of one object at a time share a question.
            let shared = requests - validated.min(requests);
            ensure!(shared <= requests / 50, "{validated} of {requests} were validated");
        }
        Caching::Storm => {}
    }
    let mut sample = costing(trial.name, who, used, 1e6 / requests as f64);
    sample.requests_per_second = Some(requests as f64 / outcome.took.as_secs_f64());
    sample.p50_us = Some(outcome.quantile(0.50).as_secs_f64() * 1e6);
    sample.p99_us = Some(outcome.quantile(0.99).as_secs_f64() * 1e6);
    sample.resident_kib = Some(cpu::resident_kib(contender.pid)?);
    Ok(sample)
}

/// A thousand clients at once for one object that takes a while to come: how often its origin was
/// asked.
async fn storms(bench: Bench<'_>, trial: &str, who: &[Who]) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for who in who {
        let origin = SlowOrigin::start().await;
        let servers = [origin.address()];
        let fleet = Fleet::start(&[*who], Setting::plain(&servers)).await?;
        let asked = storm(&origin, fleet.get(*who)?).await;
        let asked = asked.with_context(|| format!("{} in {trial}", who.name()))?;
        samples.push(Sample::new(trial, *who, asked as f64));
    }
    samples.iter().for_each(|sample| bench.progress.sample(sample));
    Ok(samples)
}

async fn storm(origin: &SlowOrigin, contender: &Contender) -> Result<u64> {
    let url = origin.url(&format!("/late/{}", SLOW.as_millis()));
    let before = origin.requests();
    let mut clients = JoinSet::new();
    for _ in 0..STORM {
        let (address, url) = (contender.address, url.clone());
        clients.spawn(async move { client::once(address, "GET", &url, &[], b"").await });
    }
    let mut answered = 0_usize;
    while let Some(joined) = clients.join_next().await {
        answered += usize::from(joined??.status() == 200);
    }
    ensure!(answered == STORM, "{answered} of {STORM} clients got the object");
    Ok(origin.requests() - before)
}

fn may_drop() -> bool {
    fs::OpenOptions::new().write(true).open(Path::new(DROP)).is_ok()
}
