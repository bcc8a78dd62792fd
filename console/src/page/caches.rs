//! What the nodes have stored: a row for each, memory and disk apart.

use maud::{Markup, html};

use super::parts;
use crate::{
    history::{Measure, Meter},
    traffic::{DiskStats, NodeStats},
    view::View,
    words,
};

/// Rows of the table.
const MOST: usize = 100;

/// The table: nodes whose disk has a problem are never left out before others.
#[must_use]
pub fn table(view: &View) -> Markup {
    let mut nodes: Vec<_> = view.nodes.iter().collect();
    nodes.sort_by_key(|(_, stats)| stats.disk.as_ref().is_none_or(|disk| disk.problem.is_empty()));
    let left_out = nodes.len().saturating_sub(MOST);
    nodes.truncate(MOST);
    let body = html! {
        table {
            thead {
                tr {
                    th scope="col" { "Node" }
                    th scope="col" class="n" title="of lookups, last seconds" { "Hits" }
                    th scope="col" class="n" title="since the node started" { "Validated" }
                    th scope="col" class="n" { "Objects" }
                    th scope="col" class="n" { "Memory" }
                    th scope="col" class="n" { "On the disk" }
                    th scope="col" class="n" { "Disk" }
                    th scope="col" class="n" title="answered by the node that owns the object" {
                        "From owners"
                    }
                }
            }
            tbody {
                @for (name, stats) in &nodes { (row(view, name, stats)) }
                @if left_out > 0 {
                    tr {
                        td colspan="8" class="quiet" {
                            "and " (left_out) " more: see " code { "shoal cache stats" }
                        }
                    }
                }
            }
        }
    };
    html! {
        @if nodes.is_empty() { p class="quiet" { "No proxy-node has told of its cache yet." } }
        @else { (parts::scroller("caches", &body)) }
    }
}

fn row(view: &View, name: &str, stats: &NodeStats) -> Markup {
    let rate = |measure| view.history.rate(&Meter::Node { node: name.to_owned(), measure });
    let hits = match (rate(Measure::Hits), rate(Measure::Lookups)) {
        (Some(hits), Some(lookups)) if lookups > 0.0 => words::percent(hits, lookups),
        _ => "–".to_owned(),
    };
    let problem = stats.disk.as_ref().map(|disk| &disk.problem).filter(|it| !it.is_empty());
    html! {
        tr class=(if problem.is_some() { "bad" } else { "" }) data-key=(name) {
            th scope="row" { (parts::named(view, name)) }
            td class="n" { (hits) }
            td class="n" { (words::count(stats.revalidated)) }
            td class="n" { (words::count(stats.cache_objects)) }
            td class="n" {
                (words::bytes(stats.cache_bytes)) " of " (words::bytes(stats.cache_capacity))
            }
            @match (&stats.disk, problem) {
                (_, Some(problem)) => { td colspan="2" { (problem) } }
                (Some(disk), None) => (on_disk(disk)),
                (None, None) => { td class="n quiet" { "–" } td class="n quiet" { "none" } }
            }
            td class="n" {
                @match stats.from_owners {
                    Some(hits) => (words::count(hits)),
                    None => span class="quiet" { "off" },
                }
            }
        }
    }
}

fn on_disk(disk: &DiskStats) -> Markup {
    html! {
        td class="n" title={ (words::count(disk.hits)) " hits were read from there" } {
            (words::count(disk.objects))
        }
        td class="n" { (words::bytes(disk.bytes)) " of " (words::bytes(disk.capacity)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sample;

    #[test]
    fn each_node_has_its_row_and_one_whose_disk_fails_comes_first() {
        let mut view = sample::view();
        let disk = |problem: &str| DiskStats {
            problem: problem.into(),
            objects: 1234,
            bytes: 5 << 20,
            capacity: 1 << 30,
            hits: 77,
        };
        let mut nodes = view.nodes.values_mut();
        let first = Arc::make_mut(nodes.next().unwrap());
        (first.disk, first.from_owners) = (Some(disk("")), Some(55));
        let last = Arc::make_mut(nodes.next_back().unwrap());
        (last.disk, last.cache_bytes) = (Some(disk("no space <left>")), 3 << 20);
        let names: Vec<String> = view.nodes.keys().cloned().collect();
        let text = table(&view).into_string();
        assert_eq!(text.matches("<tr").count(), names.len() + 1, "{text}");
        for part in ["1,234", "5.2 MB of 1.1 GB", "77 hits", ">55<", "no space &lt;left&gt;", "off"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let place = |name: &String| text.find(&format!("data-key=\"{name}\"")).unwrap();
        assert!(place(names.last().unwrap()) < place(&names[0]), "{text}");
    }
}
