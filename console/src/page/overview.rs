//! The page that shows everything.

use cluster::{Service, State, alarm::Severity};
use maud::{Markup, html};

use super::{
    Region, Visitor, backends, caches, checks, configuration, explain, instances, parts, shell,
};
use crate::{
    history::{Measure, Meter, Point},
    picture,
    traffic::NodeStats,
    view::View,
    words,
};

/// Events on the page; the rest is on the pages of instances.
const EVENTS: usize = 40;

#[must_use]
pub fn regions(view: &View) -> Vec<Region> {
    vec![
        Region::new("banner", banner(view)),
        Region::new("tiles", tiles(view)),
        Region::new("picture", picture::svg(view)),
        Region::new("servers", backends::tables(view, |_| true)),
        Region::new("instances", instances::table(view)),
        Region::new("caches", caches::table(view)),
        Region::new("configuration", configuration::panel(view)),
        Region::new("checks", checks::table(view)),
        Region::new("events", parts::events(view, view.events.iter().take(EVENTS))),
    ]
}

/// The page around them.
#[must_use]
pub fn page(visitor: &Visitor, regions: &[Region]) -> Markup {
    let live = shell::Live { page: "overview", regions };
    let asking = html! {
        (explain::form("", "", ""))
        div id="explained" aria-live="polite" {}
    };
    let body = html! {
        h1 class="unseen" { "Cluster overview" }
        (live.region("tiles"))
        (parts::panel("picture", "Cluster", &html! { (live.region("picture")) (legend()) }))
        (parts::panel("servers", "Servers", &live.region("servers")))
        (parts::panel("instances", "Instances", &live.region("instances")))
        (parts::panel("caches", "Caches", &live.region("caches")))
        div class="columns" {
            div {
                (parts::panel("configuration", "Configuration", &live.region("configuration")))
                (parts::panel("checks", "Checks", &live.region("checks")))
            }
            div {
                (parts::panel("explain", "Explain a request", &asking))
                (parts::panel("events", "Events", &live.region("events")))
            }
        }
    };
    shell::page("Overview", visitor, Some(&live), &body)
}

/// What has to be known before anything else: clients that are not served, who does not answer,
/// which losses are held back.
#[must_use]
pub fn banner(view: &View) -> Markup {
    let silent = view.silent();
    html! {
        @for alarm in view.alarms() {
            @let (tone, word) = match alarm.severity {
                Severity::Critical => ("bad", "Critical"),
                _ => ("warn", "Warning"),
            };
            p class={ "banner " (tone) } role="alert" data-key=(alarm.text) {
                strong { (word) } ": " (alarm.text) ". "
                span class="quiet" {
                    (alarm.subjects.join(", ")) @if !alarm.subjects.is_empty() { ". " }
                    (alarm.remedy)
                }
            }
        }
        @for (name, source, since) in &silent {
            @let tone = match source.service {
                Service::Registry | Service::ConfigService => "bad",
                _ => "warn",
            };
            p class={ "banner " (tone) } role="alert" data-key=(name) {
                strong { (subject(source.service, name)) } " has not answered "
                (parts::lasting(*since)) ". " (consequence(source.service))
                @if let Some(failure) = &source.failure { " " span class="quiet" { (failure) } }
            }
        }
        @for (name, stats) in &view.nodes { (dead_parents(name, stats)) }
        @for guard in view.guards.iter().filter(|guard| guard.holding) {
            p class="banner warn" role="alert" data-key=(guard.service.as_str()) {
                strong { "Losses of " (guard.service.as_str()) " are held back" }
                ": " (guard.well) " of " (guard.members) " are well, held are "
                (guard.held.join(", ")) ". " (guard.explanation)
            }
        }
    }
}

/// Without any of its parents a node fetches nothing.
fn dead_parents(name: &str, stats: &NodeStats) -> Markup {
    let (dead, all) = stats.dead_parents();
    html! {
        @if !dead.is_empty() {
            p class={ "banner " (if all { "bad" } else { "warn" }) } role="alert"
                data-key={ "parents of " (name) } {
                strong {
                    (name) ": "
                    (if all { "every parent proxy is dead" } else { "a parent proxy is dead" })
                }
                ". "
                @for parent in dead {
                    (parent.address)
                    @if let Some(since) = parent.dead_since { " " (parts::lasting(since)) }
                    ": " (parent.last_failure) ". "
                }
                span class="quiet" {
                    @if all { "What it has not stored, it cannot fetch." }
                    @else { "Its other parents are asked instead." }
                }
            }
        }
    }
}

fn subject(service: Service, name: &str) -> String {
    match service {
        Service::Registry | Service::ConfigService => format!("The {service}"),
        _ => name.to_owned(),
    }
}

const fn consequence(service: Service) -> &'static str {
    match service {
        Service::Registry => {
            "Who is there, and in which state, is as old as that; traffic goes on without it."
        }
        Service::ConfigService => {
            "Revisions and rollouts are as old as that; every process goes on with the \
             configuration it has."
        }
        _ => "What it counts is as old as that.",
    }
}

fn tiles(view: &View) -> Markup {
    let history = &view.history;
    let frontends: Vec<_> =
        history.meters(|meter| matches!(meter, Meter::Frontend { .. })).collect();
    let of = |wanted: Measure| {
        history
            .meters(move |meter| matches!(meter, Meter::Node { measure, .. } if *measure == wanted))
            .collect::<Vec<_>>()
    };
    let requests = history.sum(frontends.iter().copied());
    let (hits, lookups) = (history.sum(of(Measure::Hits)), history.sum(of(Measure::Lookups)));
    let bytes = history.sum(of(Measure::BytesOut));
    // A balancer's own refusals are errors of clients like any other.
    let failures = || {
        history.meters(|meter| {
            matches!(meter, Meter::Refused { .. } | Meter::Node { measure: Measure::Errors, .. })
        })
    };
    let errors = history.sum(failures());
    let errors_now = history.rates(failures());
    let critical = view.alarms().first().is_some_and(|alarm| alarm.severity == Severity::Critical);
    let errors_tone = match (critical, errors_now.unwrap_or_default() >= 0.05) {
        (true, _) => "bad",
        (false, true) => "warn",
        (false, false) => "",
    };
    let now = |wanted: Measure| history.rates(of(wanted));
    let mean = |points: &[Point]| points.iter().map(|point| point.rate).sum::<f64>();
    let failed: u64 = view
        .balancers
        .values()
        .flat_map(|stats| &stats.frontends)
        .map(|frontend| frontend.failed)
        .sum();
    let tunnels: u64 = view.nodes.values().map(|stats| stats.active_tunnels).sum();
    let (cached, capacity) = view.nodes.values().fold((0, 0), |(used, room), stats| {
        (used + stats.cache_bytes, room + stats.cache_capacity)
    });
    let nodes: Vec<_> = view.of(Service::ProxyNode).collect();
    let usable = nodes.iter().filter(|status| status.state == State::Usable).count();
    let heard = !view.silent().iter().any(|(_, source, _)| source.service == Service::Registry);
    let tone = if nodes.is_empty() || !heard {
        ""
    } else if usable == nodes.len() {
        "good"
    } else if usable == 0 {
        "bad"
    } else {
        "warn"
    };
    let now_at = history.now();
    let well = format!("{usable} of {}", nodes.len());
    let others = if heard { unwell(&nodes) } else { "as the registry last said".to_owned() };
    let arriving = words::rate(history.rates(frontends.iter().copied()));
    let failed = format!("{} failed in all", words::count(failed));
    let hit_ratio = words::percent(mean(&hits), mean(&lookups));
    let sent = now(Measure::BytesOut)
        .map_or_else(|| "–".to_owned(), |rate| format!("{}/s", words::bytes_of(rate)));
    let (failing, room) = (words::rate(errors_now), format!("of {}", words::bytes(capacity)));
    html! {
        dl class="tiles" {
            (tile("nodes usable", (&well, &others), None, tone))
            (tile("requests", (&arriving, &failed), Some((&requests, now_at)), ""))
            (tile("from the cache", (&hit_ratio, "of lookups, last \
                minute"), Some((&hits, now_at)), ""))
            (tile("to clients", (&sent, "body bytes of the nodes"), Some((&bytes, now_at)), ""))
            (tile("errors", (&failing, "of nodes and \
                balancers"), Some((&errors, now_at)), errors_tone))
            (tile("tunnels", (&words::count(tunnels), "open now"), None, ""))
            (tile("cache", (&words::bytes(cached), &room), None, ""))
        }
    }
}

fn unwell(nodes: &[&cluster::InstanceStatus]) -> String {
    let mut others: Vec<_> = nodes
        .iter()
        .filter(|status| status.state != State::Usable)
        .map(|status| status.instance.name.as_str())
        .collect();
    let more = others.len().saturating_sub(2);
    others.truncate(2);
    match (others.is_empty(), more) {
        _ if nodes.is_empty() => "none is listed yet".to_owned(),
        (true, _) => "everybody is well".to_owned(),
        (false, 0) => format!("not {}", others.join(", ")),
        (false, more) => format!("not {} and {more} more", others.join(", ")),
    }
}

fn tile(
    name: &str,
    (value, below): (&str, &str),
    line: Option<(&[Point], f64)>,
    tone: &str,
) -> Markup {
    html! {
        div class={ "tile " (tone) } {
            dt { (name) }
            dd class="value" { (value) }
            dd class="below" { (below) }
            @if let Some((points, now)) = line {
                dd class="line" { (parts::sparkline(points, now, name)) }
            }
        }
    }
}

fn legend() -> Markup {
    use State::{Critical, Draining, Lost, Maintenance, Starting, Suspect, Usable};
    html! {
        p class="legend" aria-label="What the shapes mean" {
            @for state in [Usable, Starting, Suspect, Critical, Lost, Draining, Maintenance] {
                (parts::badge(crate::look::state(state))) " "
            }
            span class="quiet" { "numbers on the lines are requests a second" }
        }
    }
}

#[cfg(test)]
mod tests;
