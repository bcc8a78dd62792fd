//! What several pages have in common.

use jiff::{Timestamp, tz::TimeZone};
use maud::{Markup, html};

use crate::{
    events::Event,
    history::{Point, WINDOW},
    look::Look,
    view::View,
    words,
};

/// A shape and a word in the colour of a state.
#[must_use]
pub fn badge(look: Look) -> Markup {
    html! {
        span class={ "badge " (look.class) } {
            span class="shape" aria-hidden="true" { (look.shape) }
            " " (look.word)
        }
    }
}

/// The name of an instance, leading to its page when it has one.
#[must_use]
pub fn named(view: &View, name: &str) -> Markup {
    html! {
        @if view.has_page(name) {
            a href={ "/instances/" (words::segment(name)) } { (name) }
        } @else {
            (name)
        }
    }
}

/// A moment. The script turns it into an age and keeps that true.
#[must_use]
pub fn ago(at: Timestamp) -> Markup {
    let clock = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time data-age="" datetime=(at.to_string()) title=(clock) { (clock) } }
}

/// For how long something has been so. The script turns it into a duration and keeps that true.
#[must_use]
pub fn lasting(since: Timestamp) -> Markup {
    let clock = since.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time data-age="for" datetime=(since.to_string()) title=(clock) { "since " (clock) } }
}

/// The time of day, for lists.
#[must_use]
pub fn clock(at: Timestamp) -> Markup {
    let zoned = at.to_zoned(TimeZone::UTC);
    html! {
        time datetime=(at.to_string()) title=(zoned.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) {
            (zoned.strftime("%H:%M:%S").to_string())
        }
    }
}

/// The last minute as a line.
#[must_use]
pub fn sparkline(points: &[Point], now: f64, what: &str) -> Markup {
    const WIDTH: f64 = 120.0;
    const HEIGHT: f64 = 24.0;
    let most = points.iter().map(|point| point.rate).fold(0.0, f64::max);
    let scale = if most > 0.0 { most } else { 1.0 };
    let place = |point: &Point| {
        let x = WIDTH * (1.0 - (now - point.at) / WINDOW);
        (x.clamp(0.0, WIDTH), HEIGHT - 2.0 - (HEIGHT - 4.0) * point.rate / scale)
    };
    let line: Vec<_> = points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let line = line.join(" ");
    let ends = points.first().zip(points.last()).map(|(first, end)| (place(first).0, place(end).0));
    let last = points.last().map_or(0.0, |point| point.rate);
    let label = format!(
        "{what} in the last minute: now {}, at most {}",
        words::short(last),
        words::short(most)
    );
    html! {
        svg class="spark" viewBox="0 0 120 24" preserveAspectRatio="none" role="img"
            aria-label=(label) {
            @if let Some((first, end)) = ends {
                polygon points=(format!("{first:.1},{HEIGHT} {line} {end:.1},{HEIGHT}")) {}
                polyline points=(line) {}
            }
        }
    }
}

/// A heading, and what is below it.
#[must_use]
pub fn panel(id: &str, title: &str, body: &Markup) -> Markup {
    html! {
        section class="panel" id=(id) aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            (body)
        }
    }
}

/// A wide table that scrolls by itself, with the keyboard too.
#[must_use]
pub fn scroller(label: &str, table: &Markup) -> Markup {
    html! { div class="scroll" role="region" tabindex="0" aria-label=(label) { (table) } }
}

/// Reasons that are shown; the page of the instance has all.
const REASONS: usize = 3;

/// The most important reasons, and how many there are beside them.
#[must_use]
pub fn reasons(reasons: &[String], between: &str) -> Markup {
    let (shown, rest) = reasons.split_at(reasons.len().min(REASONS));
    html! {
        @for (place, reason) in shown.iter().enumerate() { @if place > 0 { (between) } (reason) }
        @if !rest.is_empty() {
            (between)
            span class="quiet" title=(rest.join("; ")) { "and " (rest.len()) " more" }
        }
    }
}

/// What happened, newest first.
#[must_use]
pub fn events<'a>(view: &View, events: impl Iterator<Item = &'a Event>) -> Markup {
    let events: Vec<_> = events.collect();
    html! {
        @if events.is_empty() {
            p class="quiet" { "Nothing has happened since this console was started." }
        } @else {
            ol class="events" {
                @for event in events {
                    li class=(event.look.class) {
                        (clock(event.at)) " "
                        span class="shape" aria-hidden="true" { (event.look.shape) } " "
                        span class="subject" { (named(view, &event.subject)) } " "
                        span class="text" { (event.text) }
                    }
                }
            }
        }
    }
}

/// Buttons for whoever may change an admin state; the style sheet hides them from everybody else,
/// and the server refuses everybody else.
#[must_use]
pub fn operations(view: &View, status: &cluster::InstanceStatus) -> Markup {
    use cluster::AdminState::{Drain, Maintenance, Ready};
    let name = &status.instance.name;
    // Whoever takes a node out should know who is left.
    let others = view
        .of(cluster::Service::ProxyNode)
        .filter(|other| other.instance.name != *name && other.state == cluster::State::Usable);
    let left = if view.is_last(name) { 0 } else { others.count().max(1) };
    let button = |act: &str, word: &str| {
        html! {
            button type="button" class="operate" data-act=(act) data-name=(name) data-left=(left)
                aria-label={ (word) " " (name) } {
                (word)
            }
        }
    };
    html! {
        @if status.instance.service == cluster::Service::ProxyNode {
            span class="operations" {
                @if status.admin_state != Ready { (button("ready", "Enable")) }
                @if status.admin_state != Drain { (button("drain", "Drain")) }
                @if status.admin_state != Maintenance { (button("maintenance", "Disable")) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_stays_in_its_box() {
        let points: Vec<_> = (0..70)
            .map(|second| Point { at: f64::from(second), rate: f64::from(second % 7) * 1e6 })
            .collect();
        let text = sparkline(&points, 70.0, "requests a second").into_string();
        let line = text.split("<polyline points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in line.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let inside =
                |number: &str, most: f64| (0.0..=most).contains(&number.parse::<f64>().unwrap());
            assert!(inside(x, 120.0) && inside(y, 24.0), "{point}");
        }
        assert!(text.contains("now 6.0M"), "{text}");
        assert!(!sparkline(&[], 0.0, "x").into_string().contains("poly"));
    }

    #[test]
    fn buttons_offer_what_would_change_something() {
        let view = crate::sample::view();
        let mut status = crate::sample::instance(cluster::Service::ProxyNode, "proxy-node-1");
        assert!(
            operations(&view, &status).into_string().contains("data-left=\"2\""),
            "two others are usable"
        );
        let words = |status: &_| {
            let text = operations(&view, status).into_string();
            ["Enable", "Drain", "Disable"]
                .into_iter()
                .filter(|word| text.contains(&format!(">{word}<")))
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&status), ["Drain", "Disable"]);
        status.admin_state = cluster::AdminState::Drain;
        assert_eq!(words(&status), ["Enable", "Disable"]);
        status.instance.service = cluster::Service::Registry;
        assert_eq!(words(&status), Vec::<&str>::new());
    }
}
