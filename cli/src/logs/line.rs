//! One access record of one node or balancer, as people and programs see it.

use cluster::{
    Service,
    wire::{from_duration, from_timestamp},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use proto::{balancer, proxy::AccessRecord};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::output::{self, Cell, Column, column, long, printable, table};

/// A record and who wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// Name of the process.
    pub node: String,
    /// Its service.
    pub service: &'static str,
    /// The id that the answer carries in Shoal-Request-Id.
    pub request_id: String,
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
    /// What a balancer tells beside this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balancer: Option<Balancer>,
}

/// Of a request on a balancer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Balancer {
    pub frontend: String,
    /// Who answered; empty: the balancer itself.
    pub server: String,
    /// How many servers were asked.
    pub attempts: u32,
    /// What went wrong; empty: nothing.
    pub error: String,
}

impl Line {
    pub fn of_node(node: &str, record: AccessRecord) -> Self {
        let took = from_duration(record.took).unwrap_or_default();
        Self {
            node: node.to_owned(),
            service: Service::ProxyNode.as_str(),
            request_id: record.request_id,
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
            balancer: None,
        }
    }

    /// A balancer's in the same columns: `RELAYED` from a server, or an `OWN_ANSWER`.
    pub fn of_balancer(balancer: &str, record: balancer::AccessRecord) -> Self {
        let took = from_duration(record.took).unwrap_or_default();
        let own = record.server.is_empty();
        Self {
            node: balancer.to_owned(),
            service: Service::Balancer.as_str(),
            request_id: record.request_id,
            ended_at: from_timestamp(record.ended_at),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            client: record.client,
            outcome: if own { "OWN_ANSWER" } else { "RELAYED" }.to_owned(),
            aborted: record.error == "client_aborted",
            status: record.status,
            bytes: record.bytes,
            method: record.method,
            url: record.target,
            hierarchy: if own {
                "HIER_NONE/-".to_owned()
            } else {
                format!("SERVER/{}", record.server)
            },
            media_type: String::new(),
            balancer: Some(Balancer {
                frontend: record.frontend,
                server: record.server,
                attempts: record.attempts,
                error: record.error,
            }),
        }
    }

    /// In one line, in the order of Squid's format, the process behind the time. Last, where a node
    /// has a media type, a balancer says what went wrong; then the request's id.
    pub fn text(&self, zone: &TimeZone, today: Date) -> String {
        self.cells(zone, today).join(" ")
    }

    /// The same, apart.
    fn cells(&self, zone: &TimeZone, today: Date) -> [String; COLUMNS.len()] {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text) };
        let time = |at: Timestamp| {
            let at = at.to_zoned(zone.clone());
            // Of another day than today: which one.
            at.strftime(if at.date() == today { "%H:%M:%S%.3f" } else { "%F %H:%M:%S%.3f" })
                .to_string()
        };
        let aborted = if self.aborted { "_ABORTED" } else { "" };
        [
            self.ended_at.map_or_else(|| "-".to_owned(), time),
            self.node.clone(),
            format!("{:>6}", self.took_ms),
            or_dash(&self.client),
            format!("{}{aborted}/{:03}", or_dash(&self.outcome), self.status),
            self.bytes.to_string(),
            or_dash(&self.method),
            or_dash(&self.url),
            or_dash(&self.hierarchy),
            or_dash(self.balancer.as_ref().map_or(&self.media_type, |balancer| &balancer.error)),
            or_dash(&self.request_id),
        ]
    }
}

/// What a terminal that is too narrow for whole lines shows, the least important going first.
const COLUMNS: [Column; 11] = [
    column("TIME", 0),
    column("NODE", 3),
    column("MS", 4),
    column("CLIENT", 5),
    column("RESULT", 0),
    column("BYTES", 6),
    column("METHOD", 2),
    long("URL"),
    column("FROM", 8),
    column("TYPE", 7),
    column("ID", 9),
];

/// All of them: whole lines where there is room for the longest, else a table that fits.
pub fn lines(records: &[Line], zone: &TimeZone, room: Option<usize>) -> String {
    let today = chassis::Clock::system().now().to_zoned(zone.clone()).date();
    let whole: Vec<_> = records.iter().map(|line| line.text(zone, today)).collect();
    let Some(room) = room.filter(|room| whole.iter().any(|line| line.width() > *room)) else {
        return whole.join("\n");
    };
    let table = table::render(&COLUMNS, &rows(records, zone, today), Some(room), false);
    let note = "Columns are left out and URLs are cut to fit: -o wide shows all of it.";
    format!("{table}\n\n{}", output::wrap(note, room).join("\n"))
}

/// One that comes by itself.
pub fn followed(line: &Line, zone: &TimeZone, room: Option<usize>) -> String {
    let today = chassis::Clock::system().now().to_zoned(zone.clone()).date();
    let whole = line.text(zone, today);
    let Some(room) = room.filter(|room| whole.width() > *room) else { return whole };
    let table =
        table::render(&COLUMNS, &rows(std::slice::from_ref(line), zone, today), Some(room), false);
    table.split_once('\n').map_or(whole, |(_, row)| row.to_owned())
}

fn rows(records: &[Line], zone: &TimeZone, today: Date) -> Vec<Vec<Cell>> {
    records.iter().map(|line| line.cells(zone, today).map(Cell::new).into()).collect()
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
            request_id: "id".into(),
            ..AccessRecord::default()
        };
        Line::of_node(node, record)
    }

    #[test]
    fn a_line_is_one_line_whatever_was_asked_for() {
        let text = line("proxy-node-1", 3_600_045, "http://a/\n\u{1b}[31m")
            .text(&TimeZone::UTC, Date::new(1970, 1, 1).unwrap());
        assert_eq!(
            text,
            "01:00:00.045 proxy-node-1      7 10.0.0.5 TCP_MISS/200 12 GET http://a/%0A%1B[31m \
             HIER_DIRECT/192.0.2.7 - id"
        );
    }

    #[test]
    fn a_balancer_s_line_says_who_answered() {
        let record = balancer::AccessRecord {
            ended_at: Some(cluster::wire::timestamp(
                Timestamp::from_millisecond(3_600_045).unwrap(),
            )),
            request_id: "id".into(),
            client: "10.0.0.5".into(),
            status: 400,
            bytes: 12,
            method: "GET".into(),
            target: "http://a/b".into(),
            error: "http_request_error".into(),
            ..Default::default()
        };
        let text = Line::of_balancer("balancer-1", record.clone())
            .text(&TimeZone::UTC, Date::new(1970, 1, 1).unwrap());
        let expected = "01:00:00.045 balancer-1      0 10.0.0.5 OWN_ANSWER/400 12 GET http://a/b \
            HIER_NONE/- http_request_error id";
        assert_eq!(text, expected);
        let relayed = balancer::AccessRecord { server: "n".into(), error: String::new(), ..record };
        let text = Line::of_balancer("balancer-1", relayed)
            .text(&TimeZone::UTC, Date::new(1970, 1, 1).unwrap());
        assert!(text.contains(" RELAYED/400 12 GET http://a/b SERVER/n - id"), "{text}");
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_and_says_so() {
        let url = format!("http://origin.example/{}", "a/".repeat(60));
        let records = [line("proxy-node-in-frankfurt-1", 45, &url), line("n", 46, "http://b/")];
        let zone = TimeZone::UTC;
        assert_eq!(
            lines(&records, &zone, None).lines().count(),
            2,
            "whole lines where nobody looks"
        );
        for room in [60, 80, 120] {
            for text in
                [lines(&records, &zone, Some(room)), followed(&records[0], &zone, Some(room))]
            {
                assert!(text.lines().all(|line| line.width() <= room), "{room}:\n{text}");
                assert!(
                    text.contains("TCP_MISS")
                        && text.contains("http://origin")
                        && text.contains('…'),
                    "{room}:\n{text}"
                );
            }
        }
        let text = lines(&records, &zone, Some(100));
        assert!(
            text.starts_with("TIME")
                && text.contains("-o wide")
                && text.contains("proxy-node-in-frankfurt-1"),
            "{text}"
        );
        assert_eq!(
            lines(&records[1..], &zone, Some(120)),
            records[1].text(&zone, chassis::Clock::system().now().to_zoned(zone.clone()).date())
        );
    }

    #[test]
    fn the_newest_of_all_nodes_in_order() {
        let lines = vec![
            line("a", 3, "3"),
            line("a", 5, "5"),
            line("b", 4, "4"),
            line("b", 4, "4b"),
            line("b", 1, "1"),
        ];
        let urls = |lines: Vec<Line>| lines.into_iter().map(|line| line.url).collect::<Vec<_>>();
        assert_eq!(urls(newest(lines.clone(), 3)), ["4", "4b", "5"]);
        assert_eq!(newest(lines, 99).len(), 5);
    }
}
