//! `shoal config retry`: a process that went back to the configuration before, because it did not
//! survive the newer one, tries that once more. A process that was killed for another reason
//! rejects what it had just got, too; it cannot know the difference, and an operator can.

use anyhow::{Result, anyhow, bail};
use clap::Args;
use cluster::InstanceStatus;
use proto::{
    config::{Drift, GetDriftRequest},
    follower::ForgetRejectionsRequest,
};
use serde::Serialize;
use tokio::time::{Duration, Instant};

use super::Patience;
use crate::{
    cluster::{Cluster, call, unknown},
    output::{self, View},
};

const SERVICE: &str = "the config-service";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(Args)]
pub struct Retry {
    /// Name of the process, as in `shoal config drift`
    name: String,
    #[command(flatten)]
    patience: Patience,
}

/// What came of it.
#[derive(Serialize)]
struct Retried {
    name: String,
    /// That it runs now.
    revision: String,
    /// What it had rejected, and why.
    forgotten: Vec<String>,
    #[serde(skip)]
    said: String,
}

impl View for Retried {
    fn text(&self) -> String {
        self.said.clone()
    }
}

/// Has it forget what it rejected, and waits until it runs what is assigned to it.
///
/// # Errors
/// There is no such process, it has rejected nothing and is behind for another reason, or it
/// rejects it again.
pub async fn run(cluster: &Cluster, retry: Retry) -> Result<()> {
    let Retry { name, patience } = retry;
    let format = patience.format;
    let status = find(cluster, &name).await?;
    let forgotten =
        call(&name, cluster.follower(&status)?.forget_rejections(ForgetRejectionsRequest {}))
            .await?
            .rejections;
    if forgotten.is_empty() {
        let drift = drift(cluster, &name).await?;
        if drift.in_step {
            let said = format!(
                "{name} has rejected nothing, and runs revision {}",
                drift.applied_revision
            );
            return cluster.show(
                &Retried { name, revision: drift.applied_revision, forgotten: Vec::new(), said },
                format,
            );
        }
        bail!("{name} has rejected nothing: {}; see `shoal config drift`", drift.explanation);
    }
    cluster.announce(format)?;
    let forgotten: Vec<_> = forgotten
        .into_iter()
        .map(|rejection| format!("{:.12}: {}", rejection.hash, rejection.reason))
        .collect();
    for rejection in &forgotten {
        output::say(&format!("{name} had rejected {rejection}"), format)?;
    }
    let deadline = Instant::now() + patience.timeout;
    loop {
        let drift = drift(cluster, &name).await?;
        if drift.in_step {
            let revision = drift.applied_revision;
            let said = format!(
                "{name} runs revision {revision} again; should it not survive it, it goes back \
                 once more and rejects it"
            );
            return output::show_after(
                &cluster.head(),
                &Retried { name, revision, forgotten, said },
                format,
            );
        }
        if Instant::now() >= deadline {
            bail!(
                "{name} does not run what is assigned to it: {}; see its log and `shoal config \
                 drift`",
                drift.explanation
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn find(cluster: &Cluster, name: &str) -> Result<InstanceStatus> {
    let mut instances = cluster.listing().await?.instances;
    let Some(place) = instances.iter().position(|status| status.instance.name == name) else {
        let known: Vec<_> = instances.iter().map(|status| status.instance.name.as_str()).collect();
        return Err(unknown("process", name, &known));
    };
    Ok(instances.swap_remove(place))
}

async fn drift(cluster: &Cluster, name: &str) -> Result<Drift> {
    let nodes = call(SERVICE, cluster.config().await?.get_drift(GetDriftRequest {})).await?.nodes;
    nodes
        .into_iter()
        .find(|node| node.name == name)
        .ok_or_else(|| anyhow!("{name} is not known to the config-service: see its log"))
}
