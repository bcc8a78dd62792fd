//! `shoal doctor`: the troubleshooting list, gone through by itself. [`gather`] collects facts,
//! `check` judges them (pure), `finding` shows.

mod check;
pub mod facts;
mod finding;
mod gather;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{
    cluster,
    context::Target,
    output::{self, Format},
};

/// Go through the troubleshooting list: what is wrong in the cluster, and what to do about it
#[derive(Args)]
#[command(after_help = "Examples:
  shoal doctor
  shoal doctor -o json | jq -r '.findings[] | select(.severity != \"info\") | [.severity, \
  .subjects[0], .finding] | @tsv'
  shoal doctor --registry 10.0.0.5:7001 --ca ca.crt --cert me.crt --key me.key

Clients, processes, ports, configuration, logs, resources, performance, clocks, synchronisation, \
relations between nodes, health
checks, certificates, backups. It changes nothing, and works while parts of the cluster are down.
The exit code is 0 when nothing needs to be done, 1 after a warning, 2 when something is \
critical.")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    format: Format,
}

pub fn run(options: Options) -> ExitCode {
    match cluster::block_on(examine(options)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::conclude(Err(error));
            // Who cannot even ask has something critical to mend.
            ExitCode::from(2)
        }
    }
}

async fn examine(options: Options) -> Result<u8> {
    let (facts, head) = gather::gather(&options.target).await?;
    let checks = check::LIST.iter().map(|(name, _)| *name).collect();
    let names: Vec<_> = facts.processes.iter().map(|process| process.name.as_str()).collect();
    let report = finding::Report::new(&names, checks, check::all(&facts));
    output::show_of(&head, &report, options.format)?;
    Ok(report.exit_code())
}
