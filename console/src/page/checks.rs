//! What the health-checkers find: a row for each check on each target, a mark for each checker.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::parts;
use crate::{look, traffic::Finding, view::View, words};

/// Rows of the table.
const MOST: usize = 150;

/// What all checkers find of one check on one target.
#[derive(Debug, Default)]
struct Row<'a> {
    kind: &'a str,
    found: Vec<(&'a str, &'a Finding)>,
}

impl Row<'_> {
    fn failing(&self) -> usize {
        self.found.iter().filter(|(_, finding)| finding.passing == Some(false)).count()
    }
}

/// The table: those that fail are never left out before those that pass.
#[must_use]
pub fn table(view: &View) -> Markup {
    let mut rows: BTreeMap<(&str, &str), Row<'_>> = BTreeMap::new();
    for (checker, findings) in &view.checks {
        for finding in findings.iter() {
            let row = rows.entry((&finding.check, &finding.target)).or_default();
            row.kind = &finding.kind;
            row.found.push((checker, finding));
        }
    }
    let left_out = rows.len().saturating_sub(MOST);
    let mut rows: Vec<_> = rows.into_iter().collect();
    if left_out > 0 {
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.failing()));
        rows.truncate(MOST);
    }
    let body = html! {
        table class="checks" {
            thead {
                tr {
                    th scope="col" { "Check" } th scope="col" { "Target" }
                    th scope="col" { "Checkers" } th scope="col" class="n" { "Took" }
                    th scope="col" class="why" { "Found" }
                }
            }
            tbody {
                @for ((check, target), found) in &rows { (row(view, check, target, found)) }
                @if left_out > 0 {
                    tr {
                        td colspan="5" class="quiet" {
                            "and " (left_out) " more: see " code { "shoal check list" }
                        }
                    }
                }
            }
        }
    };
    html! {
        @if rows.is_empty() { p class="quiet" { "No health-checker has found anything yet." } }
        @else { (parts::scroller("checks", &body)) }
    }
}

fn row(view: &View, check: &str, target: &str, row: &Row<'_>) -> Markup {
    let slowest = row.found.iter().map(|(_, finding)| finding.took).max().unwrap_or_default();
    let worst = row
        .found
        .iter()
        .find(|(_, finding)| finding.passing == Some(false))
        .or_else(|| row.found.first());
    let class = if row.failing() > 0 { "bad" } else { "" };
    html! {
        tr class=(class) data-key={ (check) " " (target) } {
            th scope="row" { (check) " " span class="quiet" { (row.kind) } }
            td { (parts::named(view, target)) }
            td class="marks" {
                @for (checker, finding) in &row.found {
                    @let look = look::passing(finding.passing);
                    span class={ "mark " (look.class) } role="img"
                        title={ (checker) ": " (look.word) ", " (finding.detail) }
                        aria-label={ (checker) " " (look.word) } {
                        (look.shape)
                    }
                }
            }
            td class="n" { (words::took(slowest)) }
            td class="why" title=[worst.map(|(_, finding)| finding.detail.as_str())] {
                @if let Some((checker, finding)) = worst {
                    @if finding.passing == Some(false) { (checker) ": " }
                    (finding.detail)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sample;

    #[test]
    fn each_checker_has_its_mark() {
        let mut view = sample::view();
        let mut second = (*view.checks["health-checker-1"]).clone();
        (second[0].passing, second[0].detail) = (Some(false), "connection refused".into());
        view.checks.insert("health-checker-2".into(), Arc::new(second));
        let text = table(&view).into_string();
        assert_eq!(text.matches("class=\"mark good\"").count(), 5, "{text}");
        assert_eq!(text.matches("class=\"mark bad\"").count(), 1, "{text}");
        assert!(text.contains("health-checker-2: connection refused"), "{text}");
    }
}
