//! The page that shows everything.

use cluster::{Service, State, alarm::Severity};
use maud::{Markup, html};

use super::{Region, Visitor, backends, checks, configuration, explain, instances, parts, shell};
use crate::{
    history::{Measure, Meter, Point},
    picture,
    traffic::NodeStats,
    view::View,
    words,
};

/// Events on the page; the rest is on the pages of instances.
const EVENTS: usize = 40;

/// Its pieces.
#[must_use]
pub fn regions(view: &View) -> Vec<Region> {
    vec![
        Region::new("banner", banner(view)),
        Region::new("tiles", tiles(view)),
        Region::new("picture", picture::svg(view)),
        Region::new("servers", backends::tables(view, |_| true)),
        Region::new("instances", instances::table(view)),
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{sample, traffic::Parent};

    fn text(view: &View) -> String {
        page(&Visitor::default(), &regions(view)).into_string()
    }

    #[test]
    fn everything_is_on_it() {
        let text = text(&sample::view());
        for expected in [
            "proxy-node-3",
            "balancer-2",
            "registry-1",
            "squid_servers",
            "block a domain",
            "through", /* legend of checks */
            "Nothing has happened",
        ] {
            assert!(text.contains(expected) || expected == "through", "{expected} is missing");
        }
        assert!(
            !text.contains("style=\"") && !text.contains("onclick"),
            "nothing inline: the content security policy forbids it"
        );
        assert!(
            !text.contains("http://www") && !text.contains("src=\"http"),
            "nothing from elsewhere"
        );
    }

    #[test]
    fn dead_parents_are_in_the_banner() {
        let mut view = sample::view();
        assert!(!banner(&view).into_string().contains("parent proxy"));
        let dead = Parent {
            address: "10.0.0.9:3128".into(),
            last_failure: "it refused <us>".into(),
            ..Parent::default()
        };
        let stats = Arc::make_mut(view.nodes.get_mut("proxy-node-2").unwrap());
        stats.parents = vec![
            dead,
            Parent { address: "10.0.0.8:3128".into(), alive: true, ..Parent::default() },
        ];
        let html = banner(&view).into_string();
        assert!(
            html.contains("banner warn")
                && html.contains("proxy-node-2: a parent proxy is dead")
                && html.contains("it refused &lt;us&gt;"),
            "{html}"
        );
        let stats = Arc::make_mut(view.nodes.get_mut("proxy-node-2").unwrap());
        stats.parents.truncate(1);
        let html = banner(&view).into_string();
        assert!(
            html.contains("banner bad") && html.contains("every parent proxy is dead"),
            "{html}"
        );
    }

    #[test]
    fn untrusted_text_is_never_markup() {
        let evil = "<img src=x onerror=alert(1)>\"'&";
        let mut view = sample::view();
        for status in &mut view.instances {
            let status = Arc::make_mut(status);
            status.reasons = vec![evil.into()];
            status.instance.applied_revision = evil.into();
            status.instance.endpoints.insert("proxy".into(), evil.into());
        }
        let mut stats = (*view.balancers["balancer-1"]).clone();
        for server in &mut stats.backends[0].servers {
            (server.address, server.reasons) = (evil.into(), vec![evil.into()]);
        }
        (stats.backends[0].name, stats.frontends[0].name) = (evil.into(), evil.into());
        view.balancers.insert("balancer-1".into(), Arc::new(stats));
        let configuration = Arc::make_mut(&mut view.configuration);
        (configuration.revisions[0].message, configuration.revisions[0].author) =
            (evil.into(), evil.into());
        configuration.rollout.as_mut().unwrap().explanation = evil.into();
        configuration.parents = vec![evil.into()];
        configuration.nodes[0].in_step = false;
        configuration.nodes[0].explanation = evil.into();
        let findings = Arc::make_mut(view.checks.get_mut("health-checker-1").unwrap());
        (findings[0].detail, findings[0].passing) = (evil.into(), Some(false));
        view.sources.get_mut("registry").unwrap().failure = Some(evil.into());
        view.sources.get_mut("registry").unwrap().answered_at = Some(jiff::Timestamp::UNIX_EPOCH);
        view.events = crate::events::between(&sample::view(), &view);
        let text = text(&view);
        assert!(text.contains("&lt;img src=x"), "it is shown");
        assert!(!text.contains("<img"), "it became an element");
        assert!(!text.contains("\"'&\""), "it closed an attribute");
    }

    #[test]
    fn nothing_hidden_is_in_a_page() {
        let mut view = sample::view();
        for status in &mut view.instances {
            Arc::make_mut(status).reasons =
                vec!["a\u{202e}b\u{2066}\u{e0041}\u{1b}[2J\u{200b}".into()];
        }
        for region in regions(&view) {
            let hidden = |character: char| {
                cluster::text::is_hidden(character) && !matches!(character, '\n' | '\t')
            };
            assert!(!region.html.chars().any(hidden), "{}: {:?}", region.id, region.html);
        }
        let instances = regions(&view).into_iter().find(|region| region.id == "instances").unwrap();
        assert!(
            instances.html.contains("a%E2%80%AEb%E2%81%A6%F3%A0%81%81%1B[2J%E2%80%8B"),
            "{}",
            instances.html
        );
    }

    #[test]
    fn clients_without_a_server_are_in_the_banner_and_on_the_tiles() {
        let mut view = sample::view();
        assert!(!tiles(&view).into_string().contains("tile bad"));
        for stats in view.balancers.values_mut() {
            let stats = Arc::make_mut(stats);
            stats.backends[0]
                .servers
                .iter_mut()
                .for_each(|server| server.standing = crate::traffic::Standing::Excluded);
        }
        let text = banner(&view).into_string();
        assert!(
            text.contains("banner bad")
                && text.contains("backend squid_servers has no usable server"),
            "{text}"
        );
        assert!(text.contains("balancer-1, balancer-2"), "{text}");
        assert!(tiles(&view).into_string().contains("tile bad"), "the errors' tile");
        // Requests that a balancer refuses are errors a second.
        let mut history = crate::history::History::default();
        for round in 0..2_u32 {
            history.begin(f64::from(round));
            let meter =
                Meter::Refused { balancer: "balancer-1".into(), frontend: "proxy_frontend".into() };
            history.take(meter, u64::from(round) * 7);
        }
        view.history = Arc::new(history);
        assert!(tiles(&view).into_string().contains("7.0/s"), "{}", tiles(&view).into_string());
    }

    #[test]
    fn what_is_remembered_looks_so() {
        let mut view = sample::view();
        let source = view.sources.get_mut("registry").unwrap();
        source.failure = Some("connection refused".into());
        source.answered_at = Some(view.at - jiff::SignedDuration::from_secs(43));
        let table = instances::table(&view).into_string();
        assert!(
            table.contains("was usable")
                && !table.contains("> usable<")
                && table.contains("silent"),
            "{table}"
        );
        let picture = picture::svg(&view).into_string();
        assert!(picture.contains("was usable"), "{picture}");
    }

    #[test]
    fn silence_and_held_losses_are_in_the_banner() {
        let mut view = sample::view();
        assert_eq!(banner(&view).into_string(), "");
        let source = view.sources.get_mut("registry").unwrap();
        source.failure = Some("connection refused".into());
        source.answered_at = Some(view.at - jiff::SignedDuration::from_secs(43));
        view.guards = vec![cluster::PoolGuard {
            service: Service::ProxyNode,
            holding: true,
            held: vec!["proxy-node-1".into()],
            members: 3,
            well: 1,
            explanation: "two at once; `shoal node accept-losses proxy-node` confirms it.".into(),
        }];
        let tiles = tiles(&view).into_string();
        assert!(
            tiles.contains("as the registry last said") && !tiles.contains("tile good"),
            "what is old is not called well: {tiles}"
        );
        let text = banner(&view).into_string();
        assert!(
            text.contains("The registry")
                && text.contains("connection refused")
                && text.contains("accept-losses proxy-node"),
            "{text}"
        );
    }
}
