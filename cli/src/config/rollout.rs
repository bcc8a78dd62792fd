//! `shoal config rollout`: following a rollout node by node, and steering it.

mod progress;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use proto::config::{
    ControlRolloutRequest, NodeRolloutState, Revision, Rollout, RolloutAction, RolloutState,
    StartRolloutRequest, WatchRolloutRequest,
};
use tokio::time::Instant;

use self::progress::{Printed, Progress, rollout_state};
use super::Patience;
use crate::{
    cluster::{ANSWER, Cluster, call, failed, silent},
    output::{self, Format},
};

const SERVICE: &str = "the config-service";

/// Before a broken watch is opened again.
const PAUSE: Duration = Duration::from_millis(300);

/// Follow, start, pause, resume or abort a rollout
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Show the newest rollout (also without a word)
    Status {
        #[command(flatten)]
        format: Format,
    },
    /// Roll a revision out and wait for every node
    Start {
        /// Which one
        revision: String,
        #[command(flatten)]
        patience: Patience,
    },
    /// Give it to no more nodes for now
    Pause(Control),
    /// Go on
    Resume(Control),
    /// Give every node back what it had
    Abort(Control),
}

impl Options {
    /// It changes nothing.
    pub const fn only_looks(&self) -> bool {
        matches!(self.action, None | Some(Action::Status { .. }))
    }
}

#[derive(Args)]
struct Control {
    #[command(flatten)]
    format: Format,
}

/// Runs `shoal config rollout …`.
///
/// # Errors
/// The config-service refuses or does not answer.
pub async fn run(cluster: &Cluster, options: Options) -> Result<()> {
    match options.action {
        None => show(cluster, Format::default()).await,
        Some(Action::Status { format }) => show(cluster, format).await,
        Some(Action::Start { revision, patience }) => {
            let rollout = call(
                SERVICE,
                cluster.config().await?.start_rollout(StartRolloutRequest { revision }),
            )
            .await?
            .rollout;
            cluster.announce(patience.format)?;
            follow(cluster, rollout.unwrap_or_default(), patience).await
        }
        Some(Action::Pause(Control { format })) => {
            control(cluster, RolloutAction::Pause, format).await
        }
        Some(Action::Resume(Control { format })) => {
            control(cluster, RolloutAction::Resume, format).await
        }
        Some(Action::Abort(Control { format })) => {
            control(cluster, RolloutAction::Abort, format).await
        }
    }
}

async fn show(cluster: &Cluster, format: Format) -> Result<()> {
    let newest = newest(cluster).await?;
    cluster.show(&Progress::from(newest), format)
}

async fn control(cluster: &Cluster, action: RolloutAction, format: Format) -> Result<()> {
    let rollout = newest(cluster).await?;
    if is_over(rollout.state()) {
        let number = rollout.revision.as_ref().map_or(0, |revision| revision.number);
        bail!(
            "no rollout is running: the last one, of revision {number}, is {}; see `shoal config \
             rollout`",
            rollout_state(rollout.state())
        );
    }
    let request = ControlRolloutRequest { rollout_id: rollout.id, action: action.into() };
    let rollout = call(SERVICE, cluster.config().await?.control_rollout(request))
        .await?
        .rollout
        .unwrap_or_default();
    cluster.show(&Progress::from(rollout), format)
}

async fn newest(cluster: &Cluster) -> Result<Rollout> {
    let mut service = cluster.config().await?;
    let mut stream =
        call(SERVICE, service.watch_rollout(WatchRolloutRequest { rollout_id: String::new() }))
            .await?;
    let first =
        tokio::time::timeout(ANSWER, stream.message()).await.map_err(|_| silent(SERVICE))?;
    let rollout =
        first.map_err(|status| failed(SERVICE, &status))?.and_then(|answer| answer.rollout);
    rollout.ok_or_else(|| {
        anyhow!("there has been no rollout yet: start one with `shoal config apply DIR`")
    })
}

/// Prints every node's answer as it comes and waits for the end.
///
/// # Errors
/// The rollout fails, is aborted, or takes longer than `patience`.
pub async fn follow(cluster: &Cluster, rollout: Rollout, patience: Patience) -> Result<()> {
    let Patience { timeout: patience, format } = patience;
    let deadline = Instant::now() + patience;
    let mut printed = Printed::default();
    let mut latest = rollout;
    printed.print(&latest, format)?;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while !is_over(latest.state()) {
        let watching = watch(cluster, &latest.id, &mut printed, format);
        let watched = tokio::select! {
            watched = tokio::time::timeout_at(deadline, watching) => watched,
            _ = &mut interrupted => bail!("{}", goes_on(&latest)),
        };
        match watched {
            Ok(Ok(Some(rollout))) => latest = rollout,
            Err(_) => bail!(
                "the rollout is not over after {} s: see `shoal config rollout` and `shoal config \
                 drift`",
                patience.as_secs()
            ),
            // The config-service may be restarting; it goes on with the rollout, and so do we.
            Ok(Ok(None) | Err(_)) => tokio::time::sleep(PAUSE).await,
        }
    }
    let concluded = conclusion(&latest);
    if format.is_json() {
        cluster.show(&Progress::from(latest), format)?;
        return concluded.map(drop);
    }
    output::print(&concluded?)
}

/// What is wanted is so already.
///
/// # Errors
/// stdout cannot be written.
pub fn nothing_to_do(
    cluster: &Cluster,
    revision: &Revision,
    said: String,
    format: Format,
) -> Result<()> {
    if !format.is_json() {
        return output::print(&said);
    }
    let progress = Progress {
        id: String::new(),
        revision: revision.id.clone(),
        number: revision.number,
        state: "unchanged",
        explanation: said,
        previous_revision: String::new(),
        nodes: Vec::new(),
    };
    cluster.show(&progress, format)
}

/// What whoever stops looking should know.
fn goes_on(rollout: &Rollout) -> String {
    let number = rollout.revision.as_ref().map_or(0, |revision| revision.number);
    format!(
        "interrupted: the rollout of revision {number} goes on in the cluster; `shoal config \
         rollout` shows it, `shoal config rollout abort` gives \
         every node back what it had"
    )
}

/// Prints what changes until the rollout is over, and answers with its end; with none when the
/// stream ends before.
async fn watch(
    cluster: &Cluster,
    id: &str,
    printed: &mut Printed,
    format: Format,
) -> Result<Option<Rollout>> {
    let mut service = cluster.config().await?;
    let mut stream =
        call(SERVICE, service.watch_rollout(WatchRolloutRequest { rollout_id: id.to_owned() }))
            .await?;
    while let Some(message) = stream.message().await? {
        let rollout = message.rollout.unwrap_or_default();
        printed.print(&rollout, format)?;
        if is_over(rollout.state()) {
            return Ok(Some(rollout));
        }
    }
    Ok(None)
}

fn is_over(state: RolloutState) -> bool {
    matches!(state, RolloutState::Done | RolloutState::Failed | RolloutState::Aborted)
}

fn conclusion(rollout: &Rollout) -> Result<String> {
    let of = |state| rollout.nodes.iter().filter(move |node| node.state() == state);
    let applied = of(NodeRolloutState::Applied).count();
    let gone: Vec<_> = of(NodeRolloutState::Gone).map(|node| node.name.as_str()).collect();
    let without = match gone.as_slice() {
        [] => String::new(),
        [one] => format!(
            "; {one} went away meanwhile and does not have it: it gets it when it is back, see \
             `shoal status`"
        ),
        _ => format!(
            "; {} went away meanwhile and do not have it: they get it when they are back, see \
             `shoal status`",
            gone.join(", ")
        ),
    };
    let revision = rollout.revision.clone().unwrap_or_default();
    match rollout.state() {
        RolloutState::Done => {
            Ok(format!("revision {} is in force on {applied} processes{without}", revision.number))
        }
        RolloutState::Aborted => bail!(
            "the rollout of revision {} was aborted: {}",
            revision.number,
            rollout.explanation
        ),
        _ => bail!("revision {} was not rolled out: {}", revision.number, rollout.explanation),
    }
}
