//! Who asks most, over several nodes: every node tells what it counted, and the counts are merged
//! with what each may have forgotten. What balancers answered themselves no node has seen: that is
//! counted here, from their records.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use cluster::{InstanceStatus, Service, wire::from_timestamp};
use dataplane::domain::domain;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proto::proxy::{AccessTotal, TopAccessRequest, TopAccessResponse};
use proxy_node::record::heavy::{Entry, Summary};
use serde::Serialize;
use tonic::{Response, Status};

use super::{
    ANSWER, Key,
    ask::{OWN, Question, Source},
    line::Line,
};
use crate::{
    cluster::{Cluster, ask_together},
    output::{self, Cell, Format, View, bytes, column, long, printable},
};

/// Asks everybody and shows what they counted together.
///
/// # Errors
/// Nobody answered.
pub async fn run(
    cluster: &Cluster,
    sources: &[InstanceStatus],
    key: Key,
    since: Duration,
    count: usize,
    format: Format,
) -> Result<()> {
    // All that is kept, so that merging loses as little as can be.
    let request = TopAccessRequest {
        by: key.wire().into(),
        since: Some(::cluster::wire::duration(since)),
        limit: 0,
    };
    let begin = chassis::Clock::system().now() - SignedDuration::try_from(since.min(LONGEST))?;
    let ask = async |status: &InstanceStatus| {
        if status.instance.service == Service::ProxyNode {
            return Ok(cluster.proxy_node(status)?.top_access(request).await);
        }
        let source = Source::of(status, cluster.channel(status)?);
        Ok(own(source, &status.instance.name, key, begin).await.map(Response::new))
    };
    let answers = ask_together(sources, ANSWER, ask).await;
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        let failures: Vec<_> = answers
            .iter()
            .filter_map(|(_, answer)| Some(format!("{:#}", answer.as_ref().err()?)))
            .collect();
        bail!("{}", failures.join("; "));
    }
    let service = |name: &str| {
        sources
            .iter()
            .find(|status| status.instance.name == name)
            .map_or("", |status| status.instance.service.as_str())
    };
    let answers = answers.into_iter().map(|(name, answer)| {
        let answer = answer.map_err(|error| format!("{error:#}"));
        (service(&name), name, answer)
    });
    cluster.show(&merged(key, count, answers.collect()), format)
}

/// As far back as nodes count.
const LONGEST: Duration = Duration::from_secs(3600);
/// What is kept of a URL as a key, as nodes keep it.
const KEY_BYTES: usize = 256;

/// What a balancer answered itself, counted as nodes count what they did.
async fn own(
    source: Source,
    name: &str,
    key: Key,
    since: Timestamp,
) -> Result<TopAccessResponse, Status> {
    let mut telling = source.ask(&Question::own(since), OWN, false).await?.into_inner();
    let (mut lines, mut kept) = (Vec::new(), None);
    while let Some(told) = telling.message(name).await? {
        kept = kept.or(told.since);
        lines.extend(told.lines);
    }
    let from = if lines.len() < OWN {
        kept.map_or(since, |kept| kept.max(since))
    } else {
        lines[0].ended_at.unwrap_or(since)
    };
    // Where a server answered, its node has counted it.
    lines.retain(|line| line.balancer.as_ref().is_some_and(|it| it.server.is_empty()));
    Ok(TopAccessResponse { from: Some(::cluster::wire::timestamp(from)), ..counted(key, &lines) })
}

/// Records by one key, every count exact. Pure.
fn counted(key: Key, lines: &[Line]) -> TopAccessResponse {
    let mut totals = BTreeMap::<String, (u64, u64)>::new();
    for line in lines {
        let name = match key {
            Key::Client => line.client.clone(),
            Key::Url => line.url[..line.url.floor_char_boundary(KEY_BYTES)].to_owned(),
            Key::Status => line.status.to_string(),
            Key::Domain => domain(&line.url).into_owned(),
        };
        let total = totals.entry(if name.is_empty() { "-".to_owned() } else { name }).or_default();
        *total = (total.0 + 1, total.1 + line.bytes);
    }
    let (requests, bytes) = (lines.len() as u64, lines.iter().map(|line| line.bytes).sum());
    let totals = totals
        .into_iter()
        .map(|(key, (requests, bytes))| AccessTotal { key, requests, overcount: 0, bytes })
        .collect();
    TopAccessResponse { totals, requests, bytes, ..TopAccessResponse::default() }
}

/// What was counted by all together.
#[derive(Debug, Serialize)]
pub struct Top {
    by: &'static str,
    /// Largest first.
    totals: Vec<Total>,
    requests: u64,
    bytes: u64,
    /// No other key has more requests than this.
    others_at_most: u64,
    nodes: Vec<Node>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Total {
    key: String,
    /// An upper bound.
    requests: u64,
    /// A lower bound; the same where the count is exact.
    at_least: u64,
    /// A lower bound where the count is not exact.
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    /// A proxy-node counts all that it was asked for, a balancer what it answered itself.
    service: &'static str,
    requests: u64,
    /// Where its counts begin.
    from: Option<Timestamp>,
    /// Its access log is switched off: nothing is counted there.
    off: bool,
    /// Records that it dropped since it started: requests that are missing in every count.
    records_dropped: u64,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Merges what they told. Pure.
fn merged(
    key: Key,
    count: usize,
    answers: Vec<(&'static str, String, Result<TopAccessResponse, String>)>,
) -> Top {
    let given: Vec<_> = answers.iter().filter_map(|(_, _, answer)| answer.as_ref().ok()).collect();
    let summaries: Vec<Summary<String>> = given.iter().map(|answer| summary(answer)).collect();
    let summary = Summary::merged(&summaries).top(count);
    let (requests, bytes) =
        (given.iter().map(|it| it.requests).sum(), given.iter().map(|it| it.bytes).sum());
    let totals = summary.entries.into_iter().map(|entry| Total {
        at_least: entry.requests.saturating_sub(entry.overcount),
        requests: entry.requests,
        key: entry.key,
        bytes: entry.bytes,
    });
    let nodes = answers.into_iter().map(|(service, name, answer)| match answer {
        Ok(answer) => Node {
            name,
            service,
            requests: answer.requests,
            from: from_timestamp(answer.from),
            off: answer.off,
            records_dropped: answer.records_dropped,
            error: None,
        },
        Err(error) => Node {
            name,
            service,
            requests: 0,
            from: None,
            off: false,
            records_dropped: 0,
            error: Some(error),
        },
    });
    Top {
        by: key.name(),
        totals: totals.collect(),
        requests,
        bytes,
        others_at_most: summary.unlisted,
        nodes: nodes.collect(),
    }
}

fn summary(answer: &TopAccessResponse) -> Summary<String> {
    let entry = |total: &proto::proxy::AccessTotal| Entry {
        key: total.key.clone(),
        requests: total.requests,
        overcount: total.overcount.min(total.requests),
        bytes: total.bytes,
    };
    Summary {
        entries: answer.totals.iter().map(entry).collect(),
        unlisted: answer.unlisted_at_most,
    }
}

fn title(by: &str) -> &'static str {
    match by {
        "client" => "CLIENT",
        "url" => "URL",
        "status" => "STATUS",
        _ => "DOMAIN",
    }
}

impl View for Top {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.totals.is_empty() {
            let rows = self.totals.iter().map(|total| {
                let exact = total.at_least == total.requests;
                let requests = if exact {
                    total.requests.to_string()
                } else {
                    format!("≤ {} (≥ {})", total.requests, total.at_least)
                };
                #[allow(clippy::cast_precision_loss, reason = "a share for people")]
                let share = 100.0 * total.requests as f64 / (self.requests.max(1)) as f64;
                let sent = format!("{}{}", if exact { "" } else { "≥ " }, bytes(total.bytes));
                vec![
                    Cell::new(requests),
                    Cell::new(format!("{:.1} %", share.min(100.0))),
                    Cell::new(sent),
                    Cell::new(printable(&total.key)),
                ]
            });
            parts.push(output::table(
                &[
                    column("REQUESTS", 0),
                    column("SHARE", 2),
                    column("SENT", 1),
                    long(title(self.by)),
                ],
                rows,
            ));
        }
        parts.push(self.footer());
        parts.join("\n\n")
    }
}

impl Top {
    fn footer(&self) -> String {
        let answered: Vec<_> = self.nodes.iter().filter(|node| node.error.is_none()).collect();
        let of =
            |service: Service| answered.iter().filter(move |node| node.service == service.as_str());
        let from = answered.iter().filter_map(|node| node.from).min();
        let since = from.map_or_else(String::new, |from| {
            format!(" since {}", from.to_zoned(TimeZone::system()).strftime("%H:%M:%S"))
        });
        let mut lines = vec![format!(
            "{} requests on {} node(s){since}, {} sent.",
            self.requests,
            of(Service::ProxyNode).count(),
            bytes(self.bytes)
        )];
        let own: u64 = of(Service::Balancer).map(|balancer| balancer.requests).sum();
        if own > 0 {
            lines.push(format!(
                "{own} of them reached no node: {} balancer(s) answered themselves.",
                of(Service::Balancer).count()
            ));
        }
        for late in of(Service::Balancer)
            .filter(|it| it.requests > 0 && it.from.zip(from).is_some_and(|(its, from)| its > from))
        {
            let its = late.from.map_or_else(String::new, |its| {
                its.to_zoned(TimeZone::system()).strftime(" since %H:%M:%S").to_string()
            });
            lines.push(format!("{} remembers its own answers{its} only.", late.name));
        }
        if self.totals.iter().any(|total| total.at_least < total.requests) {
            lines.push(format!(
                "Counts with ≤ are upper bounds: nodes count only as many keys as fit. Who is not \
                 listed has at most {}.",
                self.others_at_most
            ));
        } else if self.others_at_most > 0 {
            lines.push(format!("Who is not listed has at most {}.", self.others_at_most));
        }
        for node in &self.nodes {
            if let Some(error) = &node.error {
                lines.push(format!("Without {}: {error}", node.name));
            } else if node.off {
                lines.push(format!(
                    "{} counts nothing: the bundle switches its access log off \
                    (access_log: {{format: none}}).",
                    node.name
                ));
            } else if node.records_dropped > 0 {
                lines.push(format!(
                    "{} has dropped {} access records since it started, which are in no count.",
                    node.name, node.records_dropped
                ));
            }
        }
        lines.iter().map(|line| output::fitted(line, "")).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "proxy-node";

    fn answer(
        totals: &[(&str, u64, u64)],
        unlisted_at_most: u64,
    ) -> Result<TopAccessResponse, String> {
        let total = |(key, requests, overcount): &(&str, u64, u64)| AccessTotal {
            key: (*key).to_owned(),
            requests: *requests,
            overcount: *overcount,
            bytes: requests * 10,
        };
        let requests = totals.iter().map(|(_, requests, overcount)| requests - overcount).sum();
        Ok(TopAccessResponse {
            totals: totals.iter().map(total).collect(),
            requests,
            bytes: 7,
            unlisted_at_most,
            ..Default::default()
        })
    }

    #[test]
    fn exact_counts_add_up() {
        let answers = vec![
            (NODE, "a".to_owned(), answer(&[("x", 3, 0), ("y", 1, 0)], 0)),
            (NODE, "b".to_owned(), answer(&[("y", 4, 0)], 0)),
        ];
        let top = merged(Key::Client, 9, answers);
        let totals: Vec<_> = top
            .totals
            .iter()
            .map(|total| (total.key.as_str(), total.requests, total.at_least, total.bytes))
            .collect();
        assert_eq!(totals, [("y", 5, 5, 50), ("x", 3, 3, 30)]);
        assert_eq!((top.requests, top.bytes, top.others_at_most), (8, 14, 0));
        let text = top.text();
        assert!(
            text.contains("CLIENT") && text.contains("62.5 %") && !text.contains('≤'),
            "{text}"
        );
        assert!(text.contains("8 requests on 2 node(s)"), "{text}");
    }

    #[test]
    fn what_a_node_may_have_forgotten_is_in_the_bounds() {
        let answers = vec![
            (NODE, "a".to_owned(), answer(&[("x", 9, 0), ("y", 5, 4)], 4)),
            (NODE, "b".to_owned(), answer(&[("z", 6, 0)], 0)),
        ];
        let top = merged(Key::Url, 2, answers);
        let totals: Vec<_> = top
            .totals
            .iter()
            .map(|total| (total.key.as_str(), total.requests, total.at_least))
            .collect();
        assert_eq!(totals, [("z", 10, 6), ("x", 9, 9)]);
        assert_eq!(top.others_at_most, 5);
        let text = top.text();
        assert!(text.contains("≤ 10 (≥ 6)") && text.contains("at most 5"), "{text}");
    }

    #[test]
    fn what_balancers_answered_themselves_is_counted_and_said() {
        let line = |status, url: &str, client: &str| Line {
            status,
            url: url.to_owned(),
            client: client.to_owned(),
            bytes: 10,
            ..Line::default()
        };
        let lines = [
            line(503, "http://A.example/x", "10.0.0.1"),
            line(503, "http://a.example/y", ""),
            line(400, "", "10.0.0.1"),
        ];
        let keys = |key| {
            counted(key, &lines)
                .totals
                .into_iter()
                .map(|it| (it.key, it.requests))
                .collect::<Vec<_>>()
        };
        let pairs = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect::<Vec<_>>()
        };
        assert_eq!(keys(Key::Status), pairs(&[("400", 1), ("503", 2)]));
        assert_eq!(keys(Key::Domain), pairs(&[("-", 1), ("a.example", 2)]));
        assert_eq!(keys(Key::Client), pairs(&[("-", 1), ("10.0.0.1", 2)]));
        let answers = vec![
            ("balancer", "b".into(), Ok(counted(Key::Status, &lines))),
            (NODE, "a".into(), answer(&[("200", 4, 0), ("503", 1, 0)], 0)),
        ];
        let top = merged(Key::Status, 9, answers);
        let totals: Vec<_> =
            top.totals.iter().map(|total| (total.key.as_str(), total.requests)).collect();
        assert_eq!((totals, top.requests), (vec![("200", 4), ("503", 3), ("400", 1)], 8));
        let text = top.text();
        assert!(
            text.contains("8 requests on 1 node(s)")
                && text.contains("3 of them reached no node: 1 balancer(s)"),
            "{text}"
        );
    }

    #[test]
    fn who_is_missing_is_said() {
        let off = Ok(TopAccessResponse { off: true, ..Default::default() });
        let dropped = Ok(TopAccessResponse { records_dropped: 3, ..Default::default() });
        let top = merged(
            Key::Status,
            9,
            vec![
                (NODE, "a".into(), Err("a did not answer".into())),
                (NODE, "b".into(), off),
                (NODE, "c".into(), dropped),
            ],
        );
        let text = top.text();
        assert!(
            text.contains("Without a: a did not answer")
                && text.contains("b counts nothing")
                && text.contains("dropped 3"),
            "{text}"
        );
        assert_eq!(serde_json::to_value(&top).unwrap()["nodes"][0]["error"], "a did not answer");
    }
}
