//! `shoal backup restore`: the plan, the question, the steps.

use std::io::{BufRead, IsTerminal};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use proto::backup::{self as pb, PlanRestoreRequest, RestoreRequest};
use serde::Serialize;

use super::{
    SERVICE, client,
    list::{Backup, Part},
    steps::{self, Shown},
};
use crate::{
    cluster::{Cluster, call, failed},
    output::{self, Format, View},
};

/// What to restore, and how.
#[derive(Args)]
pub struct Options {
    /// Its id, a unique beginning of it, or `latest`
    #[arg(default_value = "latest")]
    backup: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Let this cluster become the one of the backup, although nothing shows that they are the same
    #[arg(long)]
    adopt: bool,
    #[command(flatten)]
    format: Format,
}

/// What would be done.
#[derive(Serialize)]
struct Plan {
    backup: Backup,
    present: Vec<Part>,
    changes: Vec<String>,
    left_out: Vec<String>,
}

impl From<pb::Plan> for Plan {
    fn from(message: pb::Plan) -> Self {
        Self {
            backup: message.backup.unwrap_or_default().into(),
            present: message.present.into_iter().map(Part::from).collect(),
            changes: message.changes,
            left_out: message.left_out,
        }
    }
}

impl View for Plan {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "backup {}, made at {} by {} ({}):",
            self.backup.id,
            self.backup.created_at.clone().unwrap_or_default(),
            self.backup.created_by,
            self.backup.reason
        )];
        lines.extend(self.backup.parts.iter().map(|part| format!("  {}", part.line())));
        lines.push("what is there now:".to_owned());
        lines.extend(self.present.iter().map(|part| format!("  {}", part.line())));
        lines.push("what changes:".to_owned());
        lines.extend(self.changes.iter().map(|change| format!("  {change}")));
        lines.push("what is not restored:".to_owned());
        lines.extend(self.left_out.iter().map(|left| format!("  {left}")));
        lines.join("\n")
    }
}

/// Runs `shoal backup restore`.
///
/// # Errors
/// It is refused, before anything is touched; or it ended in the middle, and the text says what to do.
pub async fn run(cluster: &Cluster, options: Options) -> Result<()> {
    let plan = plan(cluster, options.backup, options.adopt).await?;
    let (id, sha256) = (plan.backup.id.clone(), plan.backup.sha256.clone());
    output::show(&plan, options.format)?;
    if options.dry_run {
        return Ok(());
    }
    if !options.yes && !confirmed(&id)? {
        bail!("nothing was changed");
    }
    let mut stream =
        call(SERVICE, client(cluster).await?.restore(RestoreRequest { backup: id.clone(), sha256, adopt: options.adopt })).await?;
    let mut shown = Shown::on_stdout();
    while let Some(message) = stream.message().await.map_err(|status| failed(SERVICE, &status))? {
        if let Some(step) = message.step {
            shown.show(&step)?;
        }
        if let Some(before) = message.before {
            return output::print(&format!(
                "backup {id} is restored; what was there before is backup {0} (`shoal backup restore {0}` goes back)",
                before.id
            ));
        }
    }
    Err(steps::cut())
}

async fn plan(cluster: &Cluster, backup: String, adopt: bool) -> Result<Plan> {
    let mut stream = call(SERVICE, client(cluster).await?.plan_restore(PlanRestoreRequest { backup, adopt })).await?;
    let mut shown = Shown::on_stderr();
    while let Some(message) = stream.message().await.map_err(|status| failed(SERVICE, &status))? {
        if let Some(step) = message.step {
            shown.show(&step)?;
        }
        if let Some(plan) = message.plan {
            return Ok(plan.into());
        }
    }
    Err(steps::cut())
}

/// Asks on a terminal; where there is nobody to ask, the answer is no.
fn confirmed(id: &str) -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(anyhow!("nothing was changed: there is nobody to ask here; give --yes to restore backup {id}"));
    }
    output::remark(&format!("restore backup {id}, and replace what is there now? Type yes:"));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}
