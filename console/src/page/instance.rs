//! The page of one instance.

use cluster::{InstanceStatus, Service, Verdict};
use maud::{Markup, html};

use super::{Region, Visitor, backends, overview, parts, shell};
use crate::{
    history::{Measure, Meter},
    look,
    traffic::{NodeStats, Parent},
    view::View,
    words,
};

/// Events of the instance that are shown.
const EVENTS: usize = 30;

/// Its pieces; none when there is no such instance.
#[must_use]
pub fn regions(view: &View, name: &str) -> Option<Vec<Region>> {
    let status = view.instance(name)?;
    let about_it = view.events.iter().filter(|event| event.subject == name).take(EVENTS);
    Some(vec![
        Region::new("banner", overview::banner(view)),
        Region::new("facts", facts(view, status)),
        Region::new("traffic", traffic(view, status)),
        Region::new("opinions", opinions(status)),
        Region::new("events", parts::events(view, about_it)),
    ])
}

/// The page around them.
#[must_use]
pub fn page(visitor: &Visitor, name: &str, regions: &[Region]) -> Markup {
    let live_page = format!("instance/{name}");
    let live = shell::Live { page: &live_page, regions };
    let body = html! {
        h1 { (name) }
        (parts::panel("facts", "State", &live.region("facts")))
        (parts::panel("traffic", "Traffic", &live.region("traffic")))
        div class="columns" {
            (parts::panel("opinions", "Opinions of checkers", &live.region("opinions")))
            (parts::panel("events", "Events", &live.region("events")))
        }
    };
    shell::page(name, visitor, Some(&live), &body)
}

fn facts(view: &View, status: &InstanceStatus) -> Markup {
    let instance = &status.instance;
    html! {
        p class="standing" {
            (parts::badge(view.look(status))) " "
            span class="quiet" { (parts::lasting(status.changed_at)) }
            " " (parts::operations(view, status))
        }
        @if !status.reasons.is_empty() {
            ul class="reasons" { @for reason in &status.reasons { li { (reason) } } }
        }
        @if let Some(withheld) = status.withheld_state {
            p class="banner warn" {
                "It would be " (look::state(withheld).word)
                ", but so many losses at once are not believed."
            }
        }
        dl class="facts" {
            dt { "Service" }
            dd { (instance.service.as_str()) " " span class="quiet" { (instance.version) } }
            dt { "Operators want" } dd { (wanted(status)) }
            dt { "Weight" }
            dd {
                (status.effective_weight)
                @if status.effective_weight != instance.weight {
                    " "
                    span class="quiet" { "(its own is " (instance.weight) ")" }
                }
            }
            dt { "Revision" }
            dd class="mono" {
                @if instance.applied_revision.is_empty() {
                    "none"
                } @else {
                    a href={ "/revisions/" (words::segment(&instance.applied_revision)) } {
                        (instance.applied_revision)
                    }
                }
            }
            dt { "Registered" } dd { (parts::ago(status.registered_at)) }
            dt { "Place" } dd { (place(status)) }
            dt { "Id" } dd class="mono" { (instance.id) }
            @for (purpose, address) in &instance.endpoints {
                dt { (purpose) } dd class="mono" { (address) }
            }
        }
    }
}

const fn wanted(status: &InstanceStatus) -> &'static str {
    match status.admin_state {
        cluster::AdminState::Ready => "that it serves",
        cluster::AdminState::Drain => "that it drains",
        cluster::AdminState::Maintenance => "that it gets nothing",
    }
}

fn place(status: &InstanceStatus) -> String {
    let instance = &status.instance;
    // The key of a checker is for machines.
    let tags: Vec<_> = instance
        .tags
        .iter()
        .map(String::as_str)
        .filter(|tag| !tag.starts_with(chassis::probe::TAG))
        .collect();
    let parts = [instance.datacenter.as_str(), instance.zone.as_str(), &tags.join(", ")];
    let said: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if said.is_empty() { "–".to_owned() } else { said.join(" · ") }
}

fn traffic(view: &View, status: &InstanceStatus) -> Markup {
    let name = status.instance.name.as_str();
    match status.instance.service {
        Service::ProxyNode => {
            view.nodes.get(name).map_or_else(silence, |stats| node(view, name, stats))
        }
        Service::Balancer => backends::tables(view, |balancer| balancer == name),
        _ => html! { p class="quiet" { "No requests of clients pass this process." } },
    }
}

fn silence() -> Markup {
    html! { p class="quiet" { "It has not answered the console yet." } }
}

fn node(view: &View, name: &str, stats: &NodeStats) -> Markup {
    let meter = |measure| Meter::Node { node: name.to_owned(), measure };
    let line = |word: &str, measure, bytes: bool| {
        let meter = meter(measure);
        let rate = view.history.rate(&meter);
        let text = if bytes {
            rate.map_or_else(|| "–".to_owned(), |rate| format!("{}/s", words::bytes_of(rate)))
        } else {
            words::rate(rate)
        };
        html! {
            div class="tile" {
                dt { (word) } dd class="value" { (text) }
                dd class="line" {
                    (parts::sparkline(view.history.points(&meter), view.history.now(), word))
                }
            }
        }
    };
    html! {
        dl class="tiles" {
            (line("requests", Measure::Requests, false)) (line("hits", Measure::Hits, false))
            (line("sent on", Measure::Onward, false))
            (line("errors", Measure::Errors, false)) (line("to clients", Measure::BytesOut, true))
        }
        dl class="facts" {
            @for (word, number) in [
                ("Requests", stats.requests),
                ("Hits", stats.hits),
                ("Revalidated", stats.revalidated),
                ("Collapsed", stats.collapsed),
                ("Misses", stats.misses),
                ("Denied", stats.denied),
                ("Errors", stats.errors),
                ("Tunnels", stats.tunnels),
                ("Tunnels now", stats.active_tunnels),
                ("Connections now", stats.active_connections),
                ("Objects in the cache", stats.cache_objects),
                ("Log records dropped", stats.log_records_dropped),
            ] {
                dt { (word) } dd { (words::count(number)) }
            }
            dt { "Cache" }
            dd { (words::bytes(stats.cache_bytes)) " of " (words::bytes(stats.cache_capacity)) }
            dt { "To clients" } dd { (words::bytes(stats.bytes_to_clients)) }
            dt { "From origins" } dd { (words::bytes(stats.bytes_from_origins)) }
            @for parent in &stats.parents {
                dt { "Parent " span class="mono" { (parent.address) } }
                dd { (parent_state(parent)) }
            }
        }
    }
}

fn parent_state(parent: &Parent) -> Markup {
    html! {
        @match parent.dead_since {
            Some(since) => {
                strong { "dead" } " " (parts::lasting(since)) ": " (parent.last_failure)
            },
            None => {
                @if parent.alive { "alive" }
                @else { strong { "dead" } ": " (parent.last_failure) }
            },
        }
        " "
        span class="quiet" {
            (words::count(parent.failures)) " of " (words::count(parent.requests))
            " requests failed"
        }
    }
}

fn opinions(status: &InstanceStatus) -> Markup {
    html! {
        @if status.opinions.is_empty() {
            p class="quiet" { "No checker has a fresh opinion: that \
            counts as usable." }
        } @else {
            ul class="opinions" {
                @for opinion in &status.opinions {
                    li {
                        (parts::badge(look::passing(Some(opinion.verdict == Verdict::Passing)))) " "
                        (opinion.check) " "
                        span class="quiet" {
                            (opinion.checker) ", " (parts::ago(opinion.observed_at)) ": "
                            (opinion.detail)
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn everybody_has_a_page_and_nobody_else() {
        let view = sample::view();
        for status in &view.instances {
            let name = &status.instance.name;
            let regions = regions(&view, name).unwrap();
            let text = page(&Visitor::default(), name, &regions).into_string();
            assert!(text.contains(name.as_str()) && text.contains("usable"), "{name}");
        }
        assert_eq!(regions(&view, "proxy-node-9"), None);
    }

    #[test]
    fn a_node_shows_its_parents() {
        let mut view = sample::view();
        let stats = std::sync::Arc::make_mut(view.nodes.get_mut("proxy-node-1").unwrap());
        let dead = Parent {
            address: "10.0.0.9:3128".into(),
            dead_since: Some(jiff::Timestamp::UNIX_EPOCH),
            last_failure: "it refused the <connection>".into(),
            ..Parent::default()
        };
        stats.parents = vec![
            dead,
            Parent {
                address: "10.0.0.8:3128".into(),
                alive: true,
                requests: 7,
                failures: 1,
                ..Parent::default()
            },
        ];
        let text = |name: &str| {
            regions(&view, name)
                .unwrap()
                .into_iter()
                .find(|region| region.id == "traffic")
                .unwrap()
                .html
        };
        let html = text("proxy-node-1");
        assert!(
            html.contains("10.0.0.9:3128")
                && html.contains("<strong>dead</strong>")
                && html.contains("refused the &lt;connection&gt;"),
            "{html}"
        );
        assert!(
            html.contains("alive <span class=\"quiet\">1 of 7 requests failed</span>"),
            "{html}"
        );
        assert!(!text("proxy-node-2").contains("Parent"));
    }
}
