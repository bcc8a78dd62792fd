//! `shoal config`: the bundle that describes the cluster, its revisions and their rollout.
//!
//! Reading order: [`bundle`] (a directory becomes a bundle, problems become lines), [`apply`],
//! [`rollout`], [`revisions`], [`diff`], [`export`].

pub mod apply;
pub mod bundle;
mod diff;
mod export;
mod retry;
mod revisions;
mod rollout;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{
    cluster::Cluster,
    context::Target,
    output::{self, Format},
};

/// Check, apply and roll back the configuration of the whole cluster
#[derive(Args)]
#[command(after_help = "Examples:
  shoal config validate my-bundle                          needs no cluster
  shoal config apply my-bundle -m 'block the new tracker'  validate, commit, roll out, wait for \
  every node
  shoal config apply my-bundle --dry-run                   what would change; changes nothing
  shoal config history                                     what became of each revision
  shoal config show released --file cluster.yaml > cluster.yaml
  shoal config export my-bundle                            what is released, as a directory to edit
  shoal config diff my-bundle                              a directory against what is released
  shoal config diff released newest
  shoal config rollback 3                                  the content of revision 3 again, as a \
  new revision
  shoal config rollout pause
  shoal config retry proxy-node-3                          it rejected a revision by crashing, and \
  the reason was another
  shoal config drift                                       who does not run what it should, and why
  shoal config schema > cluster.schema.json                for editors

Revisions are named by id, a unique beginning of it, number, `newest` or `released`; `diff` takes \
a directory for either side.")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Check a bundle; needs no cluster
    Validate {
        /// Directory with cluster.yaml
        directory: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Give a bundle to the cluster: validate, commit, roll out, wait for every node
    Apply {
        /// Directory with cluster.yaml
        directory: PathBuf,
        #[command(flatten)]
        how: Applying,
    },
    /// Write the files of a revision into a directory
    Export {
        /// Where to; must be empty or not exist
        directory: PathBuf,
        /// Which one
        #[arg(long, default_value = "released")]
        revision: String,
        #[command(flatten)]
        format: Format,
    },
    /// List revisions and what became of each, newest first
    History {
        /// At most this many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
        #[command(flatten)]
        format: Format,
    },
    /// Show a revision and its files
    Show {
        /// Which one
        #[arg(default_value = "released")]
        revision: String,
        /// Print this file of it instead
        #[arg(long, value_name = "PATH")]
        file: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Show what differs between two revisions, or a revision and a directory
    Diff {
        /// The revision to compare with, or a directory, which alone is compared with what is
        /// released
        from: String,
        /// The revision or directory whose changes are shown [default: newest]
        to: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Commit an earlier revision's content anew and roll it out
    Rollback {
        /// The revision to go back to
        revision: String,
        #[command(flatten)]
        words: Words,
        #[command(flatten)]
        patience: Patience,
    },
    /// Follow, start, pause, resume or abort a rollout
    Rollout(rollout::Options),
    /// Let a process try again what it rejected because it did not survive it
    Retry(retry::Retry),
    /// Show nodes whose configuration is not the one assigned to them
    Drift {
        #[command(flatten)]
        format: Format,
    },
    /// Print the JSON Schema of cluster.yaml, for editors
    Schema,
}

/// What is written into a revision.
#[derive(Args)]
pub struct Words {
    /// What the change is for
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Who wrote it
    #[arg(
        long,
        env = "USER",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    author: String,
}

impl Words {
    /// Words of a program.
    pub fn new(author: &str, message: &str) -> Self {
        Self { message: message.to_owned(), author: author.to_owned() }
    }
}

/// How a bundle is applied.
#[derive(Args)]
pub struct Applying {
    #[command(flatten)]
    words: Words,
    /// Make a revision and roll it out although nothing differs from the newest
    #[arg(long)]
    again: bool,
    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "again")]
    dry_run: bool,
    #[command(flatten)]
    patience: Patience,
}

/// How long to wait for the nodes.
#[derive(Args, Clone, Copy)]
pub struct Patience {
    /// How long to wait for the nodes
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2m",
        value_parser = chassis::options::duration,
    )]
    timeout: Duration,
    #[command(flatten)]
    format: Format,
}

pub async fn run(options: Options) -> Result<()> {
    let open = || Cluster::open(&options.target);
    let change = || Cluster::open_to_change(&options.target);
    match options.action {
        Action::Validate { directory, format } => bundle::validate(&directory, format),
        Action::Schema => {
            output::print(&serde_json::to_string_pretty(&cluster_config::schema::json_schema())?)
        }
        Action::Apply { directory, how } => {
            let files = bundle::checked(&directory)?;
            if how.dry_run {
                diff::dry_run(&open()?, &files, how.patience.format).await
            } else {
                apply::apply(&change()?, files, how).await
            }
        }
        Action::Rollback { revision, words, patience } => {
            apply::rollback(&change()?, revision, words, patience).await
        }
        Action::History { limit, format } => revisions::history(&open()?, limit, format).await,
        Action::Show { revision, file: None, format } => {
            revisions::show(&open()?, revision, format).await
        }
        Action::Show { revision, file: Some(path), .. } => {
            revisions::print_file(&open()?, revision, &path).await
        }
        Action::Diff { from, to, format } => diff::diff(&open()?, from, to, format).await,
        Action::Export { directory, revision, format } => {
            export::export(&open()?, revision, &directory, format).await
        }
        Action::Drift { format } => revisions::drift(&open()?, format).await,
        Action::Retry(retry) => retry::run(&change()?, retry).await,
        Action::Rollout(rollout) if rollout.only_looks() => rollout::run(&open()?, rollout).await,
        Action::Rollout(rollout) => rollout::run(&change()?, rollout).await,
    }
}
