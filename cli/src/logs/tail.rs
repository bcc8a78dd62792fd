//! The last access records of all nodes and balancers, and new ones as they come.

mod follow;

use std::{collections::BTreeMap, io::IsTerminal, time::Duration};

use anyhow::{Result, anyhow, bail};
use cluster::InstanceStatus;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{
    ANSWER,
    ask::{Question, Source, Told},
    line::{self, Line, newest},
    searched::{Searched, remarks},
};
use crate::{
    cluster::{Cluster, ask_together, failed},
    output::{self, Format, View},
};

pub use self::follow::follow;

/// Longest wait for everything that one of them tells: a search takes ten seconds, and may wait for
/// another one.
const ALL: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Lines {
    records: Vec<Line>,
    /// Who did not answer, and why.
    missing: Vec<String>,
    /// Nodes whose access log is switched off.
    off: Vec<String>,
    /// How far back everybody's records go who keeps any in memory.
    kept_since: BTreeMap<String, Timestamp>,
    /// How far the files were searched of those where memory did not reach back far enough.
    searched: BTreeMap<String, Searched>,
    #[serde(skip)]
    question: Question,
}

/// Prints the last records of all.
///
/// # Errors
/// Nobody answered.
pub async fn last(
    cluster: &Cluster,
    sources: &[InstanceStatus],
    question: Question,
    format: Format,
) -> Result<()> {
    let far = Far::new(format);
    let ask = async |status: &InstanceStatus| {
        Ok(Ok(tonic::Response::new(all(cluster, status, &question, &far).await?)))
    };
    let answers = ask_together(sources, ALL, ask).await;
    drop(far);
    let (records, missing, off) = (Vec::new(), Vec::new(), Vec::new());
    let mut lines = Lines {
        records,
        missing,
        off,
        kept_since: BTreeMap::new(),
        searched: BTreeMap::new(),
        question,
    };
    for (name, answer) in answers {
        match answer {
            Ok(told) => {
                lines.records.extend(told.lines);
                lines.kept_since.extend(told.since.map(|since| (name.clone(), since)));
                lines.searched.extend(told.searched.map(|searched| (name.clone(), searched)));
                lines.off.extend(told.off.then_some(name));
            }
            Err(error) => lines.missing.push(format!("{error:#}")),
        }
    }
    if lines.missing.len() == sources.len() {
        bail!("{}", lines.missing.join("; "));
    }
    lines.records = newest(lines.records, lines.question.count);
    cluster.show(&lines, format)?;
    if !format.is_json() {
        remarks(&lines.searched, &TimeZone::system())
            .iter()
            .for_each(|remark| output::remark(remark));
    }
    for why in &lines.missing {
        output::remark(&format!("without a node: {why}"));
    }
    Ok(())
}

/// All that one of them tells.
async fn all(
    cluster: &Cluster,
    status: &InstanceStatus,
    question: &Question,
    far: &Far,
) -> Result<Told> {
    let name = &status.instance.name;
    let silent = |_| {
        anyhow!(
            "{name} did not answer within {} s: see `shoal status` and its log",
            ANSWER.as_secs()
        )
    };
    let asking = Source::of(status, cluster.channel(status)?);
    let asking = tokio::time::timeout(ANSWER, asking.ask(question, question.count, false))
        .await
        .map_err(silent)?;
    let mut telling = asking.map_err(|status| failed(name, &status))?.into_inner();
    let mut all = Told::default();
    // Who searches says how far it is all the time.
    while let Some(told) = tokio::time::timeout(ANSWER, telling.message(name))
        .await
        .map_err(silent)?
        .map_err(|status| failed(name, &status))?
    {
        all.off |= told.off;
        all.since = all.since.or(told.since);
        far.show(name, told.searched.as_ref());
        all.searched = told.searched.or(all.searched);
        all.lines.extend(told.lines);
    }
    Ok(all)
}

/// How far searches are, on a terminal.
struct Far(Option<ProgressBar>);

impl Far {
    fn new(format: Format) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let shown = !format.is_json() && std::io::stderr().is_terminal();
        Self(shown.then(|| ProgressBar::new_spinner().with_style(style)))
    }

    fn show(&self, name: &str, searched: Option<&Searched>) {
        let (Some(bar), Some(searched)) = (&self.0, searched.filter(|searched| searched.under_way))
        else {
            return;
        };
        let back = searched.back_to.map_or_else(String::new, |at| {
            at.to_zoned(TimeZone::system()).strftime(", back to %F %T").to_string()
        });
        bar.set_message(format!(
            "searching the log files of {name}: {}{back}",
            output::bytes(searched.bytes)
        ));
        bar.tick();
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl View for Lines {
    fn text(&self) -> String {
        let zone = TimeZone::system();
        let mut parts = Vec::new();
        if self.records.is_empty() {
            parts.push(output::fitted(
                &nothing(&self.question, &self.kept_since, &self.searched, &zone),
                "",
            ));
        } else {
            parts.push(line::lines(&self.records, &zone, output::width()));
        }
        parts.extend(self.off.iter().map(|name| output::fitted(&off(name), "")));
        parts.join("\n")
    }
}

/// Why there may be nothing. Pure.
fn nothing(
    question: &Question,
    kept_since: &BTreeMap<String, Timestamp>,
    searched: &BTreeMap<String, Searched>,
    zone: &TimeZone,
) -> String {
    if !question.searches() {
        return "No requests yet.".to_owned();
    }
    let time = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%F %T").to_string();
    let kept: Vec<_> =
        kept_since.iter().map(|(name, since)| format!("{name} since {}", time(*since))).collect();
    let kept = if kept.is_empty() { "nobody has any yet".to_owned() } else { kept.join(", ") };
    let files = if searched.is_empty() { "" } else { ", and in the log files" };
    let text = format!("No such request among the records in memory ({kept}){files}.");
    // The first 48 bits of an id say when its request came (RFC 9562 §5.7).
    let began = question.filter.request().and_then(|id| id.get_timestamp()).map(|at| at.to_unix());
    let began = began.and_then(|(seconds, nanos)| {
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
    });
    began.map_or_else(
        || text.clone(),
        |began| format!("{text} By its id, this one came at {}.", time(began)),
    )
}

fn off(name: &str) -> String {
    format!(
        "{name} keeps no records: the bundle switches its access log off (access_log: {{format: \
         none}})"
    )
}
