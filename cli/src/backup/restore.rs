//! `shoal backup restore`: the plan, the question, the steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, IsTerminal},
};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use proto::backup::{self as pb, PlanRestoreRequest, RestoreRequest};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Client, SERVICE,
    list::{self, Backup, Part},
    steps::{self, Shown},
};
use crate::{
    cluster::{Cluster, call},
    output::{self, Cell, Format, View, column, sentences},
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
        let Backup { id, created_by, reason, .. } = &self.backup;
        let made = self.backup.created_at.clone().unwrap_or_default();
        let age = list::age(&made, chassis::Clock::system().now());
        let about = format!("backup {id}, made {made}{age} by {created_by} ({reason})");
        let mut lines = vec![output::fitted(&about, "  "), String::new()];
        lines.push(output::table(
            &[
                column("SERVICE", 0),
                column("WHAT", 0),
                sentences("IN THE BACKUP"),
                sentences("NOW"),
            ],
            self.rows().into_iter().map(|row| row.map(Cell::new).into()),
        ));
        for (heading, said) in
            [("What changes:", &self.changes), ("What is not restored:", &self.left_out)]
        {
            lines.extend([String::new(), heading.to_owned()]);
            lines.extend(said.iter().map(|said| output::fitted(&format!("  - {said}"), "    ")));
        }
        lines.join("\n")
    }
}

impl Plan {
    /// What there is in the backup and now, side by side: service, what, there, here.
    fn rows(&self) -> Vec<[String; 4]> {
        let mut rows = Vec::new();
        for part in &self.backup.parts {
            let (then, none) = (part.items(), BTreeMap::new());
            let now = self
                .present
                .iter()
                .find(|present| present.service == part.service)
                .map_or(none, Part::items);
            let names: BTreeSet<_> = then.keys().chain(now.keys()).cloned().collect();
            for name in names {
                let said = |items: &BTreeMap<String, String>| {
                    items.get(&name).cloned().unwrap_or_else(|| "–".to_owned())
                };
                rows.push([part.service.clone(), name.clone(), said(&then), said(&now)]);
            }
        }
        rows
    }
}

impl Options {
    /// Nothing will be changed, whatever is answered.
    pub const fn only_looks(&self) -> bool {
        self.dry_run
    }
}

/// What came of it.
#[derive(Serialize)]
struct Restored {
    #[serde(flatten)]
    plan: Plan,
    /// The backup of what was there before; `shoal backup restore` of it goes back.
    before: String,
    took_seconds: f32,
}

impl View for Restored {
    fn text(&self) -> String {
        let text = format!(
            "backup {} is restored, in {:.1} s; what was there before is backup {2} (`shoal backup \
             restore {2}` goes back)",
            self.plan.backup.id, self.took_seconds, self.before
        );
        output::fitted(&text, "  ")
    }
}

/// Runs `shoal backup restore`.
///
/// # Errors
/// It is refused, before anything is touched; or it ended in the middle, and the text says what to
/// do.
pub async fn run(cluster: &Cluster, mut client: Client, options: Options) -> Result<()> {
    let plan = plan(&mut client, options.backup, options.adopt).await?;
    let (id, sha256) = (plan.backup.id.clone(), plan.backup.sha256.clone());
    if options.dry_run {
        return cluster.show(&plan, options.format);
    }
    // For programs there is one document, at the end.
    if !options.format.is_json() {
        cluster.show(&plan, options.format)?;
    }
    if !options.yes && !confirmed(&id)? {
        bail!("nothing was changed");
    }
    let mut stream = call(
        SERVICE,
        client.restore(RestoreRequest { backup: id.clone(), sha256, adopt: options.adopt }),
    )
    .await?;
    let (mut shown, begun) = (Shown::beside(options.format), Instant::now());
    loop {
        let message = tokio::select! {
            message = steps::next(&mut stream, "run the same restore again: it goes to the \
                end") => message?,
            _ = tokio::signal::ctrl_c() => {
                bail!(
                    "interrupted: the restore goes on in the cluster; `shoal audit` tells how it \
                     ended, and running the same restore again goes \
                     to the end"
                )
            }
        };
        if let Some(step) = message.step {
            shown.show(&step)?;
        }
        if let Some(before) = message.before {
            drop(shown);
            let restored =
                Restored { plan, before: before.id, took_seconds: begun.elapsed().as_secs_f32() };
            return output::show_after(&cluster.head(), &restored, options.format);
        }
    }
}

async fn plan(client: &mut Client, backup: String, adopt: bool) -> Result<Plan> {
    let mut stream =
        call(SERVICE, client.plan_restore(PlanRestoreRequest { backup, adopt })).await?;
    let mut shown = Shown::on_stderr();
    loop {
        let message = steps::next_or_interrupted(
            &mut stream,
            "nothing was changed: plan it again",
            "nothing was changed",
        )
        .await?;
        if let Some(step) = message.step {
            shown.show(&step)?;
        }
        if let Some(plan) = message.plan {
            return Ok(plan.into());
        }
    }
}

/// Asks on a terminal; where there is nobody to ask, the answer is no.
fn confirmed(id: &str) -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(anyhow!(
            "nothing was changed: there is nobody to ask here; give --yes to restore backup {id}"
        ));
    }
    output::remark(&format!("restore backup {id}, and replace what is there now? Type yes:"));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stands_beside_what_is() {
        let part = |counts: &[(&str, u64)], facts: &[(&str, &str)]| pb::Part {
            service: "registry".into(),
            counts: counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect(),
            facts: facts
                .iter()
                .map(|(what, said)| ((*what).to_owned(), (*said).to_owned()))
                .collect(),
            size: 0,
        };
        let backup = pb::Backup {
            id: "20260101T000000Z-000001".into(),
            parts: vec![part(
                &[("instances", 3), ("admin states", 1)],
                &[("admin states", "a drain (new disk)")],
            )],
            ..Default::default()
        };
        let present = vec![part(&[("instances", 2)], &[])];
        let changes = vec!["a: drain (new disk) (now ready)".to_owned()];
        let plan =
            Plan::from(pb::Plan { backup: Some(backup), present, changes, left_out: Vec::new() });
        // What is said in words is not counted, too.
        assert_eq!(
            plan.rows(),
            [
                ["registry", "admin states", "a drain (new disk)", "–"],
                ["registry", "instances", "3", "2"]
            ]
        );
        assert!(plan.text().contains("What changes:\n  - a: drain"), "{}", plan.text());
    }
}
