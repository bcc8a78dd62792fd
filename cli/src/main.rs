//! `shoal`: the operators' command, a whole cluster on one machine, and every service as a
//! subcommand.
//!
//! It holds no state of its own and has no private API: what it shows and does goes through the
//! services' gRPC.
//!
//! Reading order: [`output`] (tables and JSON), [`context`] (which cluster is meant), [`cluster`]
//! (talking to it), [`alarm`] (what no command keeps quiet about), then one module per command;
//! [`lab`] is the largest.

mod alarm;
mod audit;
mod backup;
mod cache;
mod check;
mod cluster;
mod completions;
mod config;
mod console;
mod context;
mod doctor;
mod examples;
mod explain;
mod lab;
mod labs;
mod logs;
mod memory;
mod node;
mod output;
mod pki;
mod ready;
mod serve;
mod status;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// A highly available cluster of caching forward proxies.
#[derive(Parser)]
#[command(name = "shoal", version, propagate_version = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "First steps:
  shoal lab                                             start a whole cluster on this machine
  curl -x http://127.0.0.1:8080 https://example.com/    send a request through it
  shoal status                                          see who is there and who may serve";

#[derive(Subcommand)]
enum Command {
    Lab(lab::Options),
    Status(status::Options),
    Node(node::Options),
    Explain(explain::Options),
    Config(config::Options),
    Cache(cache::Options),
    Check(check::Options),
    Backup(backup::Options),
    Top(top::Options),
    Doctor(doctor::Options),
    Logs(logs::Options),
    Audit(audit::Options),
    Pki(pki::Options),
    Console(console::Options),
    Ready(ready::Options),
    Completions(completions::Options),
    #[command(hide = true)]
    CompleteNames(completions::Names),
    Serve(serve::Options),
}

fn main() -> ExitCode {
    let matches = examples::dress(Cli::command()).get_matches();
    output::heed(&matches);
    let Cli { command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match command {
        Command::Lab(options) => output::conclude(lab::run(options)),
        Command::Status(options) => status::run(options),
        Command::Node(options) => output::conclude(cluster::block_on(node::run(options))),
        Command::Explain(options) => output::conclude(cluster::block_on(explain::run(options))),
        Command::Config(options) => output::conclude(cluster::block_on(config::run(options))),
        Command::Cache(options) => output::conclude(cluster::block_on(cache::run(options))),
        Command::Backup(options) => output::conclude(cluster::block_on(backup::run(options))),
        Command::Check(options) => output::conclude(cluster::block_on(check::run(options))),
        Command::Top(options) => output::conclude(cluster::block_on(top::run(options))),
        Command::Doctor(options) => doctor::run(options),
        Command::Logs(options) => output::conclude(cluster::block_on(logs::run(options))),
        Command::Audit(options) => output::conclude(cluster::block_on(audit::run(options))),
        Command::Pki(options) => output::conclude(pki::run(options)),
        Command::Console(options) => output::conclude(console::run(options)),
        Command::Ready(options) => output::conclude(cluster::block_on(ready::run(options))),
        Command::Completions(options) => output::conclude(completions::run::<Cli>(&options)),
        Command::CompleteNames(names) => {
            output::conclude(cluster::block_on(completions::names::<Cli>(&names)))
        }
        Command::Serve(options) => serve::run(options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves of the tree of commands, with their paths.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, bool)>) {
        let subs: Vec<_> = command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            .collect();
        if subs.is_empty() || command.get_name() == "lab" {
            found.push((
                path.to_owned(),
                command.get_arguments().any(|arg| arg.get_id() == "output"),
            ));
        }
        for sub in subs {
            leaves(sub, format!("{path} {}", sub.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_command_answers_programs_too() {
        // What runs until it is stopped, what prints a document of its own, and what only has an
        // exit code.
        const OTHERS: [&str; 4] = ["lab", "config schema", "completions", "ready"];
        let mut found = Vec::new();
        leaves(&Cli::command(), "", &mut found);
        assert!(found.len() > 40, "{found:?}");
        let without: Vec<_> = found
            .iter()
            .filter(|(path, json)| !json && !path.starts_with("serve "))
            .map(|(path, _)| path.as_str())
            .collect();
        assert!(without.iter().all(|path| OTHERS.contains(path)), "without -o json: {without:?}");
    }

    #[test]
    fn every_command_is_well_formed_and_shows_examples() {
        Cli::command().debug_assert();
        let shoal = examples::dress(Cli::command());
        let shown = |command: &clap::Command| {
            command.get_after_help().map(ToString::to_string).unwrap_or_default()
        };
        for command in shoal.get_subcommands().filter(|command| !command.is_hide_set()) {
            let (name, examples) = (command.get_name(), shown(command));
            assert!(
                examples.contains("Examples:") && examples.contains("  shoal "),
                "{name} shows no examples"
            );
            // Only what is quoted cannot be continued on another line.
            let long = examples.lines().find(|line| {
                line.starts_with("  ") && line.chars().count() > 80 && !line.contains('\'')
            });
            assert_eq!(
                long, None,
                "{name}: nothing that can be pasted from a terminal of 80 columns"
            );
            for sub in
                command.get_subcommands().filter(|sub| name != "serve" && sub.get_name() != "help")
            {
                let (sub, examples) = (sub.get_name(), shown(sub));
                assert!(
                    examples.contains(&format!("  shoal {name} {sub}")),
                    "shoal {name} {sub} shows no example"
                );
            }
        }
    }
}
