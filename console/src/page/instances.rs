//! Everybody who is registered, with the reasons for their state.

use cluster::{InstanceStatus, State};
use maud::{Markup, html};

use super::parts;
use crate::{view::View, words};

/// Rows of the table.
const MOST: usize = 200;

/// The table: those who are not well are never left out before those who are.
#[must_use]
pub fn table(view: &View) -> Markup {
    let mut shown: Vec<&InstanceStatus> = view.instances.iter().map(AsRef::as_ref).collect();
    let left_out = shown.len().saturating_sub(MOST);
    if left_out > 0 {
        shown.sort_by_key(|status| status.state == State::Usable);
        shown.truncate(MOST);
    }
    let body = html! {
        table class="instances" {
            thead {
                tr {
                    th scope="col" { "Name" } th scope="col" { "Service" }
                    th scope="col" { "State" } th scope="col" class="why" { "Why" }
                    th scope="col" { "Since" } th scope="col" { "Address" }
                    th scope="col" { "Revision" } th scope="col" class="n" { "Weight" }
                    th scope="col" class="operate" { "Operate" }
                }
            }
            tbody {
                @for status in shown { (row(view, status)) }
                @if left_out > 0 {
                    tr {
                        td colspan="9" class="quiet" {
                            "and " (words::count(left_out as u64)) " more: see "
                            code { "shoal status" }
                        }
                    }
                }
            }
        }
    };
    html! {
        @if view.instances.is_empty() { p class="quiet" { "The registry has listed nobody yet." } }
        @else { (parts::scroller("instances", &body)) }
    }
}

fn row(view: &View, status: &InstanceStatus) -> Markup {
    let (instance, look) = (&status.instance, view.look(status));
    html! {
        tr class=(look.class) data-key=(instance.name) {
            th scope="row" {
                a href={ "/instances/" (words::segment(&instance.name)) } { (instance.name) }
            }
            td { (instance.service.as_str()) }
            td class="state" { (parts::badge(look)) }
            td class="why" { (parts::reasons(&status.reasons, " · ")) }
            td { (parts::ago(status.changed_at)) }
            td class="mono" { (address(status)) }
            td class="mono" {
                @if instance.applied_revision.is_empty() {
                    "–"
                } @else {
                    (words::cut(&instance.applied_revision, 12))
                }
            }
            td class="n" { (status.effective_weight) }
            td class="operate" { (parts::operations(view, status)) }
        }
    }
}

/// Where its users find it.
fn address(status: &InstanceStatus) -> &str {
    let endpoints = &status.instance.endpoints;
    let known = ["proxy", "frontend", "console"].iter().find_map(|name| endpoints.get(*name));
    let frontend = || {
        endpoints
            .iter()
            .find(|(name, _)| !matches!(name.as_str(), "grpc" | "admin" | "relay" | "icp"))
            .map(|(_, at)| at)
    };
    known.or_else(frontend).or_else(|| endpoints.get("grpc")).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sample;

    #[test]
    fn the_unwell_are_not_left_out() {
        let mut view = sample::cluster(300);
        let last = view
            .instances
            .iter_mut()
            .find(|status| status.instance.name == "proxy-node-300")
            .unwrap();
        let last = Arc::make_mut(last);
        (last.state, last.reasons) = (State::Critical, vec!["2 of 3 checkers".into()]);
        let text = table(&view).into_string();
        assert!(
            text.contains("proxy-node-300")
                && text.contains("2 of 3 checkers")
                && text.contains("and 105 more"),
            "{}",
            text.len()
        );
    }
}
