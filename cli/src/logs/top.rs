//! Who asks most, over several nodes: every node tells what it counted, and the counts are merged with what each may have forgotten.

use std::time::Duration;

use anyhow::{Result, bail};
use cluster::{InstanceStatus, wire::from_timestamp};
use jiff::{Timestamp, tz::TimeZone};
use proto::proxy::{TopAccessRequest, TopAccessResponse};
use proxy_node::record::heavy::{Entry, Summary};
use serde::Serialize;

use super::{ANSWER, Key};
use crate::{
    cluster::{Cluster, ask_together},
    output::{self, Cell, Format, View, bytes, column, printable, sentences},
};

/// Asks all nodes and shows what they counted together.
///
/// # Errors
/// No node answered.
pub async fn run(cluster: &Cluster, nodes: &[InstanceStatus], key: Key, since: Duration, count: usize, format: Format) -> Result<()> {
    // All that is kept, so that merging loses as little as can be.
    let request = TopAccessRequest { by: key.wire().into(), since: Some(::cluster::wire::duration(since)), limit: 0 };
    let ask = async |node: &InstanceStatus| Ok(cluster.proxy_node(node)?.top_access(request).await);
    let answers = ask_together(nodes, ANSWER, ask).await;
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        let failures: Vec<_> = answers.iter().filter_map(|(_, answer)| Some(format!("{:#}", answer.as_ref().err()?))).collect();
        bail!("{}", failures.join("; "));
    }
    let answers = answers.into_iter().map(|(name, answer)| (name, answer.map_err(|error| format!("{error:#}")))).collect();
    cluster.show(&merged(key, count, answers), format)
}

/// What was counted on all nodes together.
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

/// Merges what nodes told. Pure.
fn merged(key: Key, count: usize, answers: Vec<(String, Result<TopAccessResponse, String>)>) -> Top {
    let given: Vec<_> = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).collect();
    let summaries: Vec<Summary<String>> = given.iter().map(|answer| summary(answer)).collect();
    let summary = Summary::merged(&summaries).top(count);
    let (requests, bytes) = (given.iter().map(|it| it.requests).sum(), given.iter().map(|it| it.bytes).sum());
    let totals = summary.entries.into_iter().map(|entry| Total {
        at_least: entry.requests.saturating_sub(entry.overcount),
        requests: entry.requests,
        key: entry.key,
        bytes: entry.bytes,
    });
    let nodes = answers.into_iter().map(|(name, answer)| match answer {
        Ok(answer) => Node {
            name,
            requests: answer.requests,
            from: from_timestamp(answer.from),
            off: answer.off,
            records_dropped: answer.records_dropped,
            error: None,
        },
        Err(error) => Node { name, requests: 0, from: None, off: false, records_dropped: 0, error: Some(error) },
    });
    Top { by: key.name(), totals: totals.collect(), requests, bytes, others_at_most: summary.unlisted, nodes: nodes.collect() }
}

fn summary(answer: &TopAccessResponse) -> Summary<String> {
    let entry = |total: &proto::proxy::AccessTotal| Entry {
        key: total.key.clone(),
        requests: total.requests,
        overcount: total.overcount.min(total.requests),
        bytes: total.bytes,
    };
    Summary { entries: answer.totals.iter().map(entry).collect(), unlisted: answer.unlisted_at_most }
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
                let requests = if exact { total.requests.to_string() } else { format!("≤ {} (≥ {})", total.requests, total.at_least) };
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
            parts.push(output::table(&[column("REQUESTS", 0), column("SHARE", 2), column("SENT", 1), sentences(title(self.by))], rows));
        }
        parts.push(self.footer());
        parts.join("\n\n")
    }
}

impl Top {
    fn footer(&self) -> String {
        let answered: Vec<_> = self.nodes.iter().filter(|node| node.error.is_none()).collect();
        let from = answered.iter().filter_map(|node| node.from).min();
        let since = from.map_or_else(String::new, |from| format!(" since {}", from.to_zoned(TimeZone::system()).strftime("%H:%M:%S")));
        let mut lines = vec![format!("{} requests on {} node(s){since}, {} sent.", self.requests, answered.len(), bytes(self.bytes))];
        if self.totals.iter().any(|total| total.at_least < total.requests) {
            lines.push(format!(
                "Counts with ≤ are upper bounds: nodes count only as many keys as fit. Who is not listed has at most {}.",
                self.others_at_most
            ));
        } else if self.others_at_most > 0 {
            lines.push(format!("Who is not listed has at most {}.", self.others_at_most));
        }
        for node in &self.nodes {
            if let Some(error) = &node.error {
                lines.push(format!("Without {}: {error}", node.name));
            } else if node.off {
                lines.push(format!("{} counts nothing: the bundle switches its access log off (access_log: {{format: none}}).", node.name));
            } else if node.records_dropped > 0 {
                lines.push(format!(
                    "{} has dropped {} access records since it started, which are in no count.",
                    node.name, node.records_dropped
                ));
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use proto::proxy::AccessTotal;

    use super::*;

    fn answer(totals: &[(&str, u64, u64)], unlisted_at_most: u64) -> Result<TopAccessResponse, String> {
        let total = |(key, requests, overcount): &(&str, u64, u64)| AccessTotal {
            key: (*key).to_owned(),
            requests: *requests,
            overcount: *overcount,
            bytes: requests * 10,
        };
        let requests = totals.iter().map(|(_, requests, overcount)| requests - overcount).sum();
        Ok(TopAccessResponse { totals: totals.iter().map(total).collect(), requests, bytes: 7, unlisted_at_most, ..Default::default() })
    }

    #[test]
    fn exact_counts_add_up() {
        let answers = vec![("a".to_owned(), answer(&[("x", 3, 0), ("y", 1, 0)], 0)), ("b".to_owned(), answer(&[("y", 4, 0)], 0))];
        let top = merged(Key::Client, 9, answers);
        let totals: Vec<_> = top.totals.iter().map(|total| (total.key.as_str(), total.requests, total.at_least, total.bytes)).collect();
        assert_eq!(totals, [("y", 5, 5, 50), ("x", 3, 3, 30)]);
        assert_eq!((top.requests, top.bytes, top.others_at_most), (8, 14, 0));
        let text = top.text();
        assert!(text.contains("CLIENT") && text.contains("62.5 %") && !text.contains('≤'), "{text}");
        assert!(text.contains("8 requests on 2 node(s)"), "{text}");
    }

    #[test]
    fn what_a_node_may_have_forgotten_is_in_the_bounds() {
        let answers = vec![("a".to_owned(), answer(&[("x", 9, 0), ("y", 5, 4)], 4)), ("b".to_owned(), answer(&[("z", 6, 0)], 0))];
        let top = merged(Key::Url, 2, answers);
        let totals: Vec<_> = top.totals.iter().map(|total| (total.key.as_str(), total.requests, total.at_least)).collect();
        assert_eq!(totals, [("z", 10, 6), ("x", 9, 9)]);
        assert_eq!(top.others_at_most, 5);
        let text = top.text();
        assert!(text.contains("≤ 10 (≥ 6)") && text.contains("at most 5"), "{text}");
    }

    #[test]
    fn who_is_missing_is_said() {
        let off = Ok(TopAccessResponse { off: true, ..Default::default() });
        let dropped = Ok(TopAccessResponse { records_dropped: 3, ..Default::default() });
        let top = merged(Key::Status, 9, vec![("a".into(), Err("a did not answer".into())), ("b".into(), off), ("c".into(), dropped)]);
        let text = top.text();
        assert!(text.contains("Without a: a did not answer") && text.contains("b counts nothing") && text.contains("dropped 3"), "{text}");
        assert_eq!(serde_json::to_value(&top).unwrap()["nodes"][0]["error"], "a did not answer");
    }
}
