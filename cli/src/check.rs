//! `shoal check`: what the health-checkers probe and what they find.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use cluster::{InstanceStatus, Service};
use proto::health::{CheckResult, ListChecksRequest, Outcome, RunCheckRequest};
use serde::Serialize;

use crate::{
    cluster::{Cluster, ask_all, call},
    context::Target,
    output::{self, Cell, Column, Format, View, column, sentences},
};

/// See what the health-checkers probe, and run a probe now
#[derive(Args)]
#[command(after_help = "Examples:
  shoal check list
  shoal check run through-proxy                     on every target, by every checker; counts as \
  no opinion
  shoal check run through-proxy proxy-node-2")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Every check on every target, as every checker sees it
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Run one check now
    Run {
        /// Name of the check
        check: String,
        /// Name of an instance; default: every target
        instance: Option<String>,
        #[command(flatten)]
        format: Format,
    },
}

pub async fn run(options: Options) -> Result<()> {
    let cluster = Cluster::open(&options.target)?;
    let checkers = match options.action {
        Action::List { .. } => cluster.last_instances(Service::HealthChecker).await?,
        Action::Run { .. } => cluster.instances(Service::HealthChecker).await?,
    };
    if checkers.is_empty() {
        bail!("no health-checker is registered: see `shoal status`");
    }
    match options.action {
        Action::List { format } => list(&cluster, &checkers, format).await,
        Action::Run { check, instance, format } => {
            let request = RunCheckRequest { check, target: instance.unwrap_or_default() };
            run_now(&cluster, &checkers, request, format).await
        }
    }
}

#[derive(Serialize)]
struct Findings {
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    checker: String,
    check: String,
    target: String,
    address: String,
    outcome: &'static str,
    detail: String,
    took_ms: f64,
    /// Results in a row that agree; absent for a run asked for by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    streak: Option<u32>,
}

impl Finding {
    fn new(checker: &str, result: CheckResult, outcome: Outcome) -> Self {
        let took = result.took.unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let took_ms = took.seconds as f64 * 1e3 + f64::from(took.nanos) / 1e6;
        let outcome = match outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Unspecified => "not yet",
        };
        let CheckResult { check, target_name, address, detail, .. } = result;
        Self {
            checker: checker.to_owned(),
            check,
            target: target_name,
            address,
            outcome,
            detail,
            took_ms,
            streak: None,
        }
    }
}

async fn list(cluster: &Cluster, checkers: &[InstanceStatus], format: Format) -> Result<()> {
    let ask = async |checker: &InstanceStatus| {
        call(&checker.instance.name, cluster.checker(checker)?.list_checks(ListChecksRequest {}))
            .await
    };
    let answers = ask_all(checkers, ask).await?;
    let mut findings = Vec::new();
    for (name, answer) in answers.given {
        for check in answer.checks {
            for target in check.targets {
                let (standing, streak) = (target.standing(), target.streak);
                let result =
                    CheckResult { check: check.name.clone(), ..target.last.unwrap_or_default() };
                findings.push(Finding {
                    streak: Some(streak),
                    ..Finding::new(&name, result, standing)
                });
            }
        }
    }
    cluster.show(&Findings { findings }, format)?;
    answers.verdict
}

async fn run_now(
    cluster: &Cluster,
    checkers: &[InstanceStatus],
    request: RunCheckRequest,
    format: Format,
) -> Result<()> {
    let ask = async |checker: &InstanceStatus| {
        call(&checker.instance.name, cluster.checker(checker)?.run_check(request.clone())).await
    };
    let answers = ask_all(checkers, ask).await?;
    let results = answers.given.into_iter().flat_map(|(name, answer)| {
        answer.results.into_iter().map(move |result| (name.clone(), result))
    });
    let finding = |(name, result): (String, CheckResult)| {
        Finding::new(&name, result.clone(), result.outcome())
    };
    cluster.show(&Findings { findings: results.map(finding).collect() }, format)?;
    answers.verdict
}

const COLUMNS: &[Column] = &[
    column("CHECK", 0),
    column("TARGET", 0),
    column("CHECKER", 2),
    column("OUTCOME", 0),
    column("TIMES", 4),
    column("TOOK", 3),
    sentences("DETAIL"),
];

impl View for Findings {
    fn text(&self) -> String {
        let rows = self.findings.iter().map(|found| {
            let [check, target, checker, detail] =
                [&found.check, &found.target, &found.checker, &found.detail].map(Cell::new);
            let streak = found.streak.map_or(String::new(), |streak| streak.to_string());
            vec![
                check,
                target,
                checker,
                output::coloured(found.outcome),
                Cell::new(streak),
                Cell::new(format!("{:.1} ms", found.took_ms)),
                detail,
            ]
        });
        output::table(COLUMNS, rows)
    }
}
