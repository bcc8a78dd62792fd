//! The model as tables of text: which columns there are, which of them fit, in which order rows
//! come. Pure; drawn by `draw`, printed by `--once`.

mod cell;

use std::cmp::Ordering;

use self::cell::{age, bad_rate, count, percent, rate, state, text, trouble};
use super::model::{BalancerRow, Model, NodeRow, ServerRow};
use crate::output::bytes;

pub use self::cell::{Cell, Tone, padded, sparkline};

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub title: &'static str,
    /// Numbers stand at the right.
    pub right: bool,
    /// Columns with higher numbers go first when there is no room.
    pub rank: u8,
    /// No narrower than this, and no wider.
    pub width: (u16, u16),
}

/// One of the three tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Balancers,
    Servers,
    Nodes,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub kind: Kind,
    pub title: &'static str,
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
}

/// A row, and whom it is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Stays the same from one moment to the next.
    pub id: String,
    /// The instance that a drain of this row would mean; none: none that the registry knows.
    pub instance: Option<String>,
    pub cells: Vec<Cell>,
}

/// The title of the column of sentences.
pub const WHY: &str = "WHY";

const fn column(title: &'static str, right: bool, rank: u8, least: u16, most: u16) -> Column {
    Column { title, right, rank, width: (least, most) }
}

const BALANCERS: &[Column] = &[
    column("BALANCER", false, 0, 10, 24),
    column("STATE", false, 0, 6, 12),
    column("REQ/S", true, 0, 7, 9),
    column("FAIL/S", true, 1, 6, 8),
    column("CONN", true, 1, 5, 7),
    column("REQUESTS", true, 3, 8, 12),
    column("FAILED", true, 2, 6, 9),
    column("REFUSED", true, 4, 7, 9),
    column("CUT", true, 4, 4, 7),
    column("AGE", true, 2, 4, 6),
];

const SERVERS: &[Column] = &[
    column("BACKEND", false, 4, 8, 18),
    column("SERVER", false, 0, 10, 24),
    column("STATE", false, 0, 6, 12),
    column("WEIGHT", true, 3, 6, 6),
    column("NOW", true, 1, 4, 7),
    column("REQ/S", true, 0, 7, 9),
    column("ERR/S", true, 1, 6, 8),
    column("RETRY/S", true, 2, 7, 8),
    column("OWN MS", true, 1, 6, 8),
    column("EJECTED", true, 2, 7, 7),
    column("TOTAL", true, 3, 6, 12),
    column("ERRORS", true, 4, 6, 9),
    column(WHY, false, 5, 12, 60),
];

const NODES: &[Column] = &[
    column("NODE", false, 0, 10, 24),
    column("STATE", false, 0, 6, 12),
    column("REQ/S", true, 0, 7, 9),
    column("ERR/S", true, 2, 6, 8),
    column("HITS", true, 0, 5, 6),
    column("MEMORY", true, 1, 7, 8),
    column("CACHE", true, 2, 8, 17),
    column("TUNNELS", true, 1, 7, 7),
    column("CONN", true, 2, 5, 7),
    column("SENT/S", true, 3, 8, 9),
    column("AGE", true, 1, 4, 6),
    column(WHY, false, 5, 12, 60),
];

/// The three tables.
pub fn tables(model: &Model) -> [Table; 3] {
    [
        Table {
            kind: Kind::Balancers,
            title: "Balancers",
            columns: BALANCERS,
            rows: model.balancers.iter().map(balancer).collect(),
        },
        Table {
            kind: Kind::Servers,
            title: "Servers",
            columns: SERVERS,
            rows: model.servers.iter().map(server).collect(),
        },
        Table {
            kind: Kind::Nodes,
            title: "Nodes",
            columns: NODES,
            rows: model.nodes.iter().map(node).collect(),
        },
    ]
}

fn balancer(row: &BalancerRow) -> Row {
    let cells = vec![
        text(&row.name),
        state(&row.state),
        rate(row.requests_per_second),
        bad_rate(row.failed_per_second),
        count(row.connections),
        count(row.requests),
        trouble(row.failed),
        count(row.refused),
        trouble(row.cut),
        age(row.age),
    ];
    Row { id: row.name.clone(), instance: Some(row.name.clone()), cells }
}

fn server(row: &ServerRow) -> Row {
    let own = row.own_milliseconds.map(|own| Cell {
        text: if own < 9.95 { format!("{own:.2}") } else { format!("{own:.0}") },
        tone: Tone::Plain,
        key: Some(own),
    });
    let why = if row.state == "usable" { String::new() } else { row.reasons.join("; ") };
    let cells = vec![
        text(&row.backend),
        text(&row.name),
        state(row.state),
        count(row.weight.into()),
        count(row.current),
        rate(row.requests_per_second),
        bad_rate(row.failures_per_second),
        bad_rate(row.retries_per_second),
        own.unwrap_or_else(|| rate(None)),
        trouble(row.ejections),
        count(row.requests),
        trouble(row.failures),
        text(&why),
    ];
    Row {
        id: format!("{}/{}", row.backend, row.name),
        instance: row.discovered.then(|| row.name.clone()),
        cells,
    }
}

fn node(row: &NodeRow) -> Row {
    let memory = row
        .memory
        .map_or_else(|| rate(None), |memory| Cell { text: bytes(memory), ..count(memory) });
    // Of who has never answered nothing is known, which is not nothing.
    let known = |cell: Cell| if row.age.is_some() { cell } else { rate(None) };
    let cache = Cell {
        text: format!("{} / {}", bytes(row.cache_bytes), bytes(row.cache_capacity_bytes)),
        ..count(row.cache_bytes)
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people, saturating"
    )]
    let sent = row
        .bytes_per_second
        .map_or_else(|| rate(None), |rate| Cell { text: bytes(rate as u64), ..count(rate as u64) });
    let why = if row.state.trim_end_matches('?') == "usable" {
        String::new()
    } else {
        row.reasons.join("; ")
    };
    let cells = vec![
        text(&row.name),
        state(&row.state),
        rate(row.requests_per_second),
        bad_rate(row.errors_per_second),
        percent(row.hit_ratio),
        memory,
        known(cache),
        known(count(row.tunnels)),
        known(count(row.connections)),
        sent,
        age(row.age),
        text(&why),
    ];
    Row { id: row.name.clone(), instance: Some(row.name.clone()), cells }
}

impl Table {
    /// Keeps rows in which some text holds `wanted`, whatever its case.
    pub fn filter(&mut self, wanted: &str) {
        let wanted = wanted.to_lowercase();
        self.rows.retain(|row| {
            row.cells
                .iter()
                .any(|cell| cell.key.is_none() && cell.text.to_lowercase().contains(&wanted))
        });
    }

    /// Sorts by a column: names upwards, numbers from the largest; equal ones stay by name.
    pub fn sort(&mut self, column: usize) {
        self.rows.sort_by(|one, other| {
            let (Some(one), Some(other)) = (one.cells.get(column), other.cells.get(column)) else {
                return Ordering::Equal;
            };
            match (one.key, other.key) {
                (Some(one), Some(other)) => other.total_cmp(&one),
                _ => one.text.cmp(&other.text),
            }
        });
    }

    /// Which columns fit into so many characters, and how wide each is: the least important go
    /// first, what is left over goes to those that want more.
    pub fn fit(&self, width: u16) -> Vec<(usize, u16)> {
        let wish = |index: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.cells.get(index))
                .map(|cell| cell.text.chars().count());
            let widest = cells.max().unwrap_or(0).max(self.columns[index].title.len());
            let (least, most) = self.columns[index].width;
            u16::try_from(widest).unwrap_or(most).clamp(least.min(most), most)
        };
        let mut shown: Vec<(usize, u16)> =
            (0..self.columns.len()).map(|index| (index, wish(index))).collect();
        let room = |shown: &[(usize, u16)]| shown.iter().map(|(_, width)| width + 1).sum::<u16>();
        while room(&shown) > width + 1 && shown.len() > 1 {
            // First what can be narrower, then what can be missing.
            let rank = |(index, _): &(usize, u16)| self.columns[*index].rank;
            let Some(last) = (0..shown.len()).max_by_key(|&place| (rank(&shown[place]), place))
            else {
                break;
            };
            let (index, wanted) = shown[last];
            let (surplus, least) = (room(&shown) - (width + 1), self.columns[index].width.0);
            if wanted > least && wanted - least >= surplus {
                shown[last].1 = wanted - surplus;
            } else {
                shown.remove(last);
            }
        }
        if let [(_, only)] = &mut shown[..] {
            *only = (*only).min(width);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::{model, tests::snapshot};

    fn all() -> [Table; 3] {
        tables(&model(&snapshot()))
    }

    #[test]
    fn every_row_has_every_column() {
        for table in all() {
            assert!(
                table.rows.iter().all(|row| row.cells.len() == table.columns.len()),
                "{table:?}"
            );
        }
    }

    #[test]
    fn columns_go_until_the_rest_fits() {
        for table in all() {
            for width in 1..200 {
                let shown = table.fit(width);
                let used: u16 = shown.iter().map(|(_, width)| width + 1).sum::<u16>() - 1;
                assert!(used <= width, "{:?} {width}: {shown:?}", table.kind);
                assert!(shown.windows(2).all(|pair| pair[0].0 < pair[1].0));
            }
            let titles = |width| {
                table
                    .fit(width)
                    .iter()
                    .map(|(index, _)| table.columns[*index].title)
                    .collect::<Vec<_>>()
            };
            let narrow = titles(80);
            assert!(["STATE", "REQ/S"].iter().all(|title| narrow.contains(title)), "{narrow:?}");
            assert_eq!(titles(250).len(), table.columns.len());
        }
    }

    #[test]
    fn nothing_known_is_not_nothing() {
        let row = NodeRow { name: "n-9".into(), state: "lost".into(), ..NodeRow::default() };
        let cells = node(&row).cells;
        assert!(cells[2..10].iter().all(|cell| cell.text == "-"), "{cells:?}");
        let heard = node(&NodeRow { age: Some(1.0), ..row }).cells;
        assert_eq!((heard[6].text.as_str(), heard[7].text.as_str()), ("0 B / 0 B", "0"));
    }

    #[test]
    fn sorting_and_filtering() {
        let [_, mut servers, mut nodes] = all();
        let names = |table: &Table| table.rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
        servers.sort(5);
        assert_eq!(names(&servers), ["squid_servers/n-1", "squid_servers/n-2"]);
        servers.sort(2);
        assert_eq!(
            names(&servers),
            ["squid_servers/n-2", "squid_servers/n-1"],
            "unwell before usable"
        );
        nodes.sort(2);
        assert_eq!(
            names(&nodes),
            ["n-1", "n-2"],
            "the busiest first, and of whom nothing is known last"
        );
        nodes.filter("LOST");
        assert_eq!(names(&nodes), ["n-2"]);
        nodes.filter("nobody");
        assert!(nodes.rows.is_empty());
    }

    #[test]
    fn texts_fit_exactly() {
        for (text, width, right, expected) in [
            ("abc", 5, false, "abc  "),
            ("abc", 5, true, "  abc"),
            ("abcdef", 4, false, "abc…"),
            ("äöü", 3, true, "äöü"),
            ("abc", 1, true, "…"),
            ("abc", 0, true, ""),
        ] {
            assert_eq!(padded(text, width, right), expected);
        }
    }

    #[test]
    fn bars() {
        assert_eq!(sparkline(&[], 5), "");
        assert_eq!(sparkline(&[0.0, 0.0], 5), "▁▁");
        assert_eq!(sparkline(&[9.0, 0.0, 7.0, 14.0], 3), "▁▅█");
    }
}
