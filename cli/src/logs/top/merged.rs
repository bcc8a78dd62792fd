//! The counts of several nodes, added up, and how they are shown.

use anyhow::Result;
use cluster::{Service, wire::from_timestamp};
use jiff::{Timestamp, tz::TimeZone};
use proto::proxy::TopAccessResponse;
use proxy_node::record::heavy::{Hitter, Summary};
use serde::Serialize;

use super::super::Key;
use crate::output::{self, Cell, View, bytes, column, long, printable};

/// What was counted by all together.
#[derive(Debug, Serialize)]
pub struct Top {
    pub(super) by: &'static str,
    /// Largest first.
    pub(super) totals: Vec<Total>,
    pub(super) requests: u64,
    pub(super) bytes: u64,
    /// No other key has more requests than this.
    pub(super) others_at_most: u64,
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Total {
    pub(super) key: String,
    /// An upper bound.
    pub(super) requests: u64,
    /// A lower bound; the same where the count is exact.
    pub(super) at_least: u64,
    /// A lower bound where the count is not exact.
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    /// A proxy-node counts all that it was asked for, a balancer what it answered itself.
    pub(super) service: &'static str,
    pub(super) requests: u64,
    /// Where its counts begin.
    pub(super) from: Option<Timestamp>,
    /// Its access log is switched off: nothing is counted there.
    pub(super) off: bool,
    /// Records that it dropped since it started: requests that are missing in every count.
    pub(super) records_dropped: u64,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// Merges what they told. Pure.
pub(super) fn merged(
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

pub(super) fn summary(answer: &TopAccessResponse) -> Summary<String> {
    let entry = |total: &proto::proxy::AccessTotal| Hitter {
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

pub(super) fn title(by: &str) -> &'static str {
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
    pub(super) fn footer(&self) -> String {
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
    use proto::proxy::AccessTotal;

    use super::*;
    use crate::logs::{line::Line, top::counted};

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
