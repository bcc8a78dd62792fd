//! `shoal audit`: who changed what, over all processes.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use cluster::{InstanceStatus, Service, wire};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proto::audit::{ListRecordsRequest, ListRecordsResponse};
use serde::Serialize;

use crate::{
    cluster::{Cluster, ask_together},
    context::Target,
    output::{self, Cell, Column, Format, Tone, View, column, printable, sentences},
};

/// Longest wait for one process's answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Show who changed what, when, and with which result, over all processes
#[derive(Args)]
#[command(after_help = "Examples:
  shoal audit                                  the last 50 changes
  shoal audit --since 1h --who ann
  shoal audit --service registry -n 200
  shoal audit -o json | jq -r '.records[] | select(.result != \"ok\") | [.when, .who, .what, \
  .result] | @tsv'

Refused calls are listed too. Every process keeps its own records in audit.jsonl in its data dir, \
20 MiB of them; this
asks all processes that the registry lists, and says whose records are missing.")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Only so far back, e.g. 1h
    #[arg(long, value_name = "TIME", value_parser = chassis::options::duration)]
    since: Option<Duration>,
    /// Only what this one did: a name (`ann`) or a role and name (`operator ann`)
    #[arg(long, value_name = "NAME", default_value = "")]
    who: String,
    /// Only records of this service's processes
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,
    /// How many records
    #[arg(
        short = 'n',
        long = "lines",
        default_value_t = 50,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1000),
    )]
    lines: u32,
    #[command(flatten)]
    format: Format,
}

pub async fn run(options: Options) -> Result<()> {
    let cluster = Cluster::open(&options.target)?;
    let mut instances = cluster.last_listing().await?.instances;
    instances
        .retain(|status| options.service.is_none_or(|service| status.instance.service == service));
    if instances.is_empty() {
        bail!("the registry lists no process to ask: see `shoal status`");
    }
    let since = options
        .since
        .and_then(|since| SignedDuration::try_from(since).ok())
        .and_then(|since| chassis::Clock::system().now().checked_sub(since).ok());
    let request = ListRecordsRequest {
        since: since.map(wire::timestamp),
        who: options.who,
        limit: options.lines,
    };
    let ask = async |status: &InstanceStatus| {
        Ok(cluster.audit(status)?.list_records(request.clone()).await)
    };
    let answers = ask_together(&instances, ANSWER, ask).await;
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        let failures: Vec<_> = answers
            .iter()
            .filter_map(|(_, answer)| Some(format!("{:#}", answer.as_ref().err()?)))
            .collect();
        bail!("{}", failures.join("; "));
    }
    let answers = answers
        .into_iter()
        .map(|(name, answer)| (name, answer.map_err(|error| format!("{error:#}"))))
        .collect();
    cluster.show(
        &merged(answers, since, usize::try_from(options.lines).unwrap_or(usize::MAX)),
        options.format,
    )
}

/// Records of all processes, in the order of time.
#[derive(Debug, Serialize)]
struct Trail {
    /// Oldest first.
    records: Vec<Record>,
    /// There are more that match, older ones.
    more: bool,
    /// Processes whose records are missing, and why.
    missing: Vec<Missing>,
    /// Processes that have rotated away records of the time asked for.
    shortened: Vec<Shortened>,
    /// Lines in the files that are no records.
    unreadable: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Record {
    when: Option<Timestamp>,
    /// Whose record it is.
    instance: String,
    who: String,
    from: String,
    what: String,
    detail: String,
    result: String,
}

#[derive(Debug, Serialize)]
struct Missing {
    instance: String,
    error: String,
}

#[derive(Debug, Serialize)]
struct Shortened {
    instance: String,
    oldest: Timestamp,
}

/// Puts the answers together. Pure.
fn merged(
    answers: Vec<(String, Result<ListRecordsResponse, String>)>,
    since: Option<Timestamp>,
    limit: usize,
) -> Trail {
    let mut trail = Trail {
        records: Vec::new(),
        more: false,
        missing: Vec::new(),
        shortened: Vec::new(),
        unreadable: 0,
    };
    for (instance, answer) in answers {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                trail.missing.push(Missing { instance, error });
                continue;
            }
        };
        trail.more |= answer.more;
        trail.unreadable += answer.unreadable;
        if let (Some(since), Some(oldest)) = (since, wire::from_timestamp(answer.oldest))
            && answer.rotated
            && oldest > since
        {
            trail.shortened.push(Shortened { instance: instance.clone(), oldest });
        }
        trail.records.extend(answer.records.into_iter().map(|record| Record {
            when: wire::from_timestamp(record.when),
            instance: instance.clone(),
            who: record.who,
            from: record.from,
            what: record.what,
            detail: record.detail,
            result: record.result,
        }));
    }
    // Newest first in every answer: what one process did at the same moment stays in its order.
    trail.records.reverse();
    trail.records.sort_by_key(|entry| entry.when);
    let surplus = trail.records.len().saturating_sub(limit);
    trail.more |= surplus > 0;
    trail.records.drain(..surplus);
    trail
}

/// `/shoal.registry.v1.Registry/SetAdminState` as people say it.
fn short(what: &str) -> &str {
    what.rsplit_once('.').map_or(what, |(_, name)| name)
}

const COLUMNS: &[Column] = &[
    column("WHEN", 0),
    column("AT", 2),
    column("WHO", 0),
    column("WHAT", 1),
    column("RESULT", 0),
    sentences("ABOUT"),
];

impl View for Trail {
    fn text(&self) -> String {
        let zone = TimeZone::system();
        let mut parts = Vec::new();
        if self.records.is_empty() {
            parts.push("No records match.".to_owned());
        } else {
            let rows = self.records.iter().map(|entry| {
                let when = entry.when.map_or_else(
                    || "-".to_owned(),
                    |at| at.to_zoned(zone.clone()).strftime("%F %T").to_string(),
                );
                // A refusal's code is what one looks for; what it says comes with what it is about.
                let (word, said) = match entry.result.split_once(':') {
                    _ if entry.result == "ok" => ("ok", entry.detail.clone()),
                    Some((code, _)) => (code, [entry.detail.as_str(), &entry.result].join("; ")),
                    None => (entry.result.as_str(), entry.detail.clone()),
                };
                let result = if word == "ok" {
                    output::coloured("ok")
                } else {
                    Cell::new(printable(word)).toned(Tone::Bad)
                };
                let [instance, who, what, detail] = [
                    &*entry.instance,
                    &*entry.who,
                    short(&entry.what),
                    said.trim_start_matches("; "),
                ]
                .map(|it| Cell::new(printable(it)));
                vec![Cell::new(when), instance, who, what, result, detail]
            });
            parts.push(output::table(COLUMNS, rows));
        }
        if self.more {
            parts.push("There are older records that match: ask for more with -n.".to_owned());
        }
        parts.extend(
            self.missing
                .iter()
                .map(|it| format!("Without the records of {}: {}", it.instance, it.error)),
        );
        let shortened = |it: &Shortened| {
            format!("{} keeps none from before {}: they were rotated away.", it.instance, it.oldest)
        };
        parts.extend(self.shortened.iter().map(shortened));
        if self.unreadable > 0 {
            parts.push(format!(
                "{} line(s) could not be read: written by half, or changed by hand.",
                self.unreadable
            ));
        }
        parts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use proto::audit::Record;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn answer(
        records: &[(i64, &str)],
        more: bool,
        oldest: Option<i64>,
    ) -> Result<ListRecordsResponse, String> {
        let record = |(second, detail): &(i64, &str)| Record {
            when: Some(wire::timestamp(at(*second))),
            who: "operator ann".into(),
            what: "/shoal.registry.v1.Registry/SetAdminState".into(),
            detail: (*detail).into(),
            result: "ok".into(),
            ..Record::default()
        };
        let oldest = oldest.map(|second| wire::timestamp(at(second)));
        Ok(ListRecordsResponse {
            records: records.iter().map(record).collect(),
            more,
            oldest,
            rotated: true,
            unreadable: 1,
        })
    }

    fn details(trail: &Trail) -> Vec<&str> {
        trail.records.iter().map(|entry| entry.detail.as_str()).collect()
    }

    #[test]
    fn records_of_all_processes_in_the_order_of_time() {
        let answers = || {
            vec![
                ("a".to_owned(), answer(&[(9, "9"), (5, "5"), (5, "5 before")], false, Some(1))),
                ("b".to_owned(), answer(&[(7, "7")], false, Some(6))),
            ]
        };
        let trail = merged(answers(), Some(at(4)), 9);
        assert_eq!(details(&trail), ["5 before", "5", "7", "9"]);
        assert!(!trail.more && trail.unreadable == 2);
        assert_eq!(
            trail.shortened.iter().map(|it| it.instance.as_str()).collect::<Vec<_>>(),
            ["b"],
            "b knows nothing of second 4 any more"
        );
        let trail = merged(answers(), None, 2);
        assert_eq!((details(&trail), trail.more), (vec!["7", "9"], true));
        assert!(trail.shortened.is_empty());
    }

    #[test]
    fn what_is_missing_is_said() {
        let trail = merged(
            vec![
                ("a".into(), Err("a cannot be reached".into())),
                ("b".into(), answer(&[(1, "x\u{1b}")], true, None)),
            ],
            None,
            9,
        );
        let text = trail.text();
        assert!(
            text.contains("Without the records of a: a cannot be reached")
                && text.contains("ask for more"),
            "{text}"
        );
        assert!(text.contains("Registry/SetAdminState") && text.contains("x%1B"), "{text}");
    }
}
