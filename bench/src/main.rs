//! Side-by-side measurements: CPU time and memory of whole contenders, interleaved in one run, as
//! ratios; what clients notice of faults; what the control plane takes.
//!
//! `cargo run --profile dist -p bench -- --json out.json --require haproxy,nginx,squid,keepalived`,
//! then
//! `cargo run --profile dist -p bench -- report out.json --chart out.svg`
//!
//! Contender on one core, load and origin on the other. Absolute numbers are this machine's; the
//! ratios are what counts. A contender that is not installed is left out and named, unless
//! `--require` names it. It says what was reached and fails nothing: tests assert counts, people
//! judge times.
//!
//! Reading order: [`trial`] (what is measured) and [`goal`] (what is wanted of it), [`contender`]
//! and [`control`] (who; [`floor`] is
//! one of them), [`origin`] and [`load`] (against what, with what), [`measure`] and
//! [`cpu`] (how), [`results`], [`statistics`] and [`report`] (what comes out).

#![allow(clippy::disallowed_methods, reason = "it measures this machine: the time is its result")]

mod contender;
mod control;
mod cpu;
mod floor;
mod goal;
mod installed;
mod load;
mod measure;
mod origin;
mod progress;
mod report;
mod results;
mod statistics;
mod trial;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    measure::{Bench, Extent},
    origin::Origin,
    progress::Progress,
    results::Results,
    trial::Trial,
};

/// Measures Shoal beside HAProxy, nginx and Squid: CPU time, memory, faults, releases
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
    /// Write every sample to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail when one of these is not installed
    #[arg(long, value_delimiter = ',', value_name = "PROGRAM")]
    require: Vec<String>,
    /// Only the trials whose names contain one of these
    #[arg(long, value_delimiter = ',', value_name = "TEXT")]
    only: Vec<String>,
    /// Interleaved rounds; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Multiplies what is done in a round
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Connections at the same time
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Measure the `shoal` that lies beside this program as it is, instead of building it first
    #[arg(long)]
    no_build: bool,
    /// Print the names of all trials and end
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Print the tables of a run as Markdown
    Report {
        /// What `--json` wrote
        results: PathBuf,
        /// Write the chart to this file as SVG
        #[arg(long, value_name = "FILE")]
        chart: Option<PathBuf>,
        /// Write chart, page and the table in README.md into the repository at this directory
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
    },
    /// Be the bare relay that is measured for comparison
    #[command(hide = true)]
    Relay {
        /// Where to listen
        listen: SocketAddr,
        /// Where everything goes
        origin: SocketAddr,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Task::Report { results, chart, write }) => {
            return report(&results, chart.as_deref(), write.as_deref());
        }
        Some(Task::Relay { listen, origin }) => return Ok(floor::run(listen, origin)?),
        None => {}
    }
    let wanted = |trial: &&Trial| {
        arguments.only.is_empty() || arguments.only.iter().any(|text| trial.name.contains(text))
    };
    let trials: Vec<&Trial> = trial::all().filter(wanted).collect();
    if arguments.list {
        trials.iter().for_each(|trial| println!("{:<24} {}", trial.name, trial.title));
        return Ok(());
    }
    for program in installed::missing(&trials, &arguments.require, contender::installed)? {
        eprintln!("{program} is not installed and is left out");
    }
    if arguments.no_build {
        installed::take_shoal()?
    } else {
        installed::build_shoal()?
    }
    let results = Results::here();
    // Thousands of connections have two ends here. What is started inherits the limit and the core.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    cpu::pin_myself(cpu::LOAD)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(measure(&arguments, &trials, results))?;
    println!("{}\n{}", report::markdown::goals(&results), report::markdown::trials(&results));
    Ok(())
}

fn report(results: &Path, chart: Option<&Path>, write: Option<&Path>) -> Result<()> {
    let results: Results = serde_json::from_slice(
        &fs::read(results).with_context(|| format!("read {}", results.display()))?,
    )?;
    if let Some(root) = write {
        return report::pages::write(&results, root);
    }
    println!("{}\n{}", report::markdown::goals(&results), report::markdown::trials(&results));
    match chart {
        Some(file) => fs::write(file, report::chart::render(&results))
            .with_context(|| format!("write {}", file.display())),
        None => Ok(()),
    }
}

async fn measure(
    arguments: &Arguments,
    trials: &[&Trial],
    mut results: Results,
) -> Result<Results> {
    let origin = Origin::start().context("start the origin")?;
    let extent = Extent {
        rounds: arguments.rounds.max(1),
        scale: arguments.scale,
        connections: arguments.connections.max(1),
    };
    let works = measure::works(trials);
    let progress = Progress::new(works.iter().map(|work| measure::expected(*work, extent)).sum());
    let bench = Bench { origin: &origin, extent, progress: &progress };
    for work in works {
        let named = trials
            .iter()
            .filter(|trial| trial.work == work)
            .map(|trial| trial.name)
            .collect::<Vec<_>>();
        progress.doing(&named.join(", "));
        let samples = measure::run(bench, work).await?;
        results
            .samples
            .extend(samples.into_iter().filter(|sample| named.contains(&sample.trial.as_str())));
        progress.done(measure::expected(work, extent));
        // After every piece of work, so that an interrupted run has something to show.
        if let Some(file) = &arguments.json {
            fs::write(file, serde_json::to_vec_pretty(&results)?)
                .with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(results)
}
