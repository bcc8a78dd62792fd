//! One access record of one node, as people and programs see it.

use cluster::wire::{from_duration, from_timestamp};
use jiff::{Timestamp, tz::TimeZone};
use proto::proxy::AccessRecord;
use serde::Serialize;

use crate::output::printable;

/// A record and who wrote it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub node: String,
    pub ended_at: Option<Timestamp>,
    pub took_ms: u64,
    /// Empty: it could not be known.
    pub client: String,
    pub outcome: String,
    pub aborted: bool,
    /// 0: none was sent.
    pub status: u32,
    pub bytes: u64,
    pub method: String,
    pub url: String,
    pub hierarchy: String,
    pub media_type: String,
}

impl Line {
    pub fn new(node: &str, record: AccessRecord) -> Self {
        let took = from_duration(record.took).unwrap_or_default();
        Self {
            node: node.to_owned(),
            ended_at: from_timestamp(record.ended_at),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            client: record.client,
            outcome: record.outcome,
            aborted: record.aborted,
            status: record.status,
            bytes: record.bytes,
            method: record.method,
            url: record.url,
            hierarchy: record.hierarchy,
            media_type: record.media_type,
        }
    }

    /// In one line, in the order of Squid's format, the node behind the time.
    pub fn text(&self, zone: &TimeZone) -> String {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text) };
        let time = self.ended_at.map_or_else(|| "-".to_owned(), |at| at.to_zoned(zone.clone()).strftime("%H:%M:%S%.3f").to_string());
        let aborted = if self.aborted { "_ABORTED" } else { "" };
        format!(
            "{time} {} {:>6} {} {}{aborted}/{:03} {} {} {} {} {}",
            self.node,
            self.took_ms,
            or_dash(&self.client),
            or_dash(&self.outcome),
            self.status,
            self.bytes,
            or_dash(&self.method),
            or_dash(&self.url),
            or_dash(&self.hierarchy),
            or_dash(&self.media_type),
        )
    }
}

/// The last `count` of all, oldest first.
pub fn newest(mut lines: Vec<Line>, count: usize) -> Vec<Line> {
    // Stable: records of one node with the same time stay in their order.
    lines.sort_by_key(|line| line.ended_at);
    lines.drain(..lines.len().saturating_sub(count));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(node: &str, millis: i64, url: &str) -> Line {
        let at = Timestamp::from_millisecond(millis).unwrap();
        let record = AccessRecord {
            ended_at: Some(cluster::wire::timestamp(at)),
            took: Some(cluster::wire::duration(std::time::Duration::from_millis(7))),
            client: "10.0.0.5".into(),
            outcome: "TCP_MISS".into(),
            status: 200,
            bytes: 12,
            method: "GET".into(),
            url: url.into(),
            hierarchy: "HIER_DIRECT/192.0.2.7".into(),
            ..AccessRecord::default()
        };
        Line::new(node, record)
    }

    #[test]
    fn a_line_is_one_line_whatever_was_asked_for() {
        let text = line("proxy-node-1", 3_600_045, "http://a/\n\u{1b}[31m").text(&TimeZone::UTC);
        assert_eq!(text, "01:00:00.045 proxy-node-1      7 10.0.0.5 TCP_MISS/200 12 GET http://a/%0A%1B[31m HIER_DIRECT/192.0.2.7 -");
    }

    #[test]
    fn the_newest_of_all_nodes_in_order() {
        let lines = vec![line("a", 3, "3"), line("a", 5, "5"), line("b", 4, "4"), line("b", 4, "4b"), line("b", 1, "1")];
        let urls = |lines: Vec<Line>| lines.into_iter().map(|line| line.url).collect::<Vec<_>>();
        assert_eq!(urls(newest(lines.clone(), 3)), ["4", "4b", "5"]);
        assert_eq!(newest(lines, 99).len(), 5);
    }
}
