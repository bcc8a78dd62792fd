//! Side-by-side measurements: CPU time and memory of whole contenders, interleaved in one run, as ratios.
//!
//! `cargo build --profile dist && cargo run --profile dist -p bench -- --json out.json`, then
//! `cargo run --profile dist -p bench -- report out.json --chart out.svg`
//!
//! Contender on one core, load and origin on the other. Absolute numbers are this machine's; the ratios are what counts. A contender that is
//! not installed is left out and named, unless `--require` names it. It judges nothing: tests assert counts, people judge times.
//!
//! Reading order: [`trial`] (what is measured, what is wanted), [`contender`] (who), [`origin`] and [`load`] (against what, with what),
//! [`measure`] and [`cpu`] (how), [`results`] and [`report`] (what comes out).

mod contender;
mod cpu;
mod load;
mod measure;
mod origin;
mod report;
mod results;
mod trial;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{origin::Origin, results::Results, trial::Trial};

/// Measures Shoal beside HAProxy, nginx and Squid: CPU per request and per GiB, memory per idle connection
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Reporting>,
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
}

#[derive(Debug, Subcommand)]
enum Reporting {
    /// Print the Markdown tables of a run
    Report {
        /// What `--json` wrote
        results: PathBuf,
        /// Write the chart to this file as SVG
        #[arg(long, value_name = "FILE")]
        chart: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Reporting::Report { results, chart }) = arguments.command {
        let results: Results = serde_json::from_slice(&fs::read(&results).with_context(|| format!("read {}", results.display()))?)?;
        print!("{}", report::markdown::render(&results));
        return chart
            .map_or(Ok(()), |file| fs::write(&file, report::chart::render(&results)).with_context(|| format!("write {}", file.display())));
    }
    let results = Results::here();
    // Thousands of connections have two ends here. What is started inherits the limit and the core.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    cpu::pin_myself(cpu::LOAD)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(measure(&arguments, results))?;
    print!("{}", report::markdown::render(&results));
    Ok(())
}

async fn measure(arguments: &Arguments, mut results: Results) -> Result<Results> {
    let wanted = |trial: &&Trial| arguments.only.is_empty() || arguments.only.iter().any(|text| trial.name.contains(text));
    let trials: Vec<&Trial> = trial::TRIALS.iter().filter(wanted).collect();
    let missing = trials.iter().flat_map(|trial| trial.who).filter(|who| !who.installed()).filter_map(|who| who.program());
    let missing: std::collections::BTreeSet<&str> = missing.collect();
    if let Some(required) = arguments.require.iter().find(|name| missing.contains(name.as_str())) {
        bail!("{required} is not installed: apt-get install {required}");
    }
    for program in missing {
        eprintln!("{program} is not installed and is left out");
    }
    let origin = Origin::start().context("start the origin")?;
    let extent = measure::Extent { rounds: arguments.rounds.max(1), scale: arguments.scale, connections: arguments.connections.max(1) };
    for trial in trials {
        results.samples.extend(measure::run(trial, &origin, extent).await?);
        // After every trial, so that an interrupted run has something to show.
        if let Some(file) = &arguments.json {
            fs::write(file, serde_json::to_vec_pretty(&results)?).with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(results)
}
