//! The picture as SVG. Colours are classes of the style sheet; every text is escaped by `maud`.

use maud::{Markup, html};

use super::{
    layout::{Frame, Layout, Line},
    scene::{Actor, Flow, Scene},
};
use crate::words;

/// Draws a scene as laid out. `class` says for which screens.
#[must_use]
pub fn svg(scene: &Scene, layout: &Layout, class: &str) -> Markup {
    let view_box = format!("0 0 {:.0} {:.0}", layout.width, layout.height);
    html! {
        svg class={ "picture " (class) } viewBox=(view_box) role="group"
            aria-label="clients, balancers, nodes and what is beyond, with the requests a second \
                between them" {
            g class="flows" aria-hidden="true" {
                @for (flow, line) in scene.flows.iter().zip(&layout.lines) { (curve(flow, line)) }
            }
            g class="actors" {
                @for (actor, frame) in scene.actors.iter().zip(&layout.frames) {
                    (boxed(actor, frame, layout.letters))
                }
            }
            g class="labels" aria-hidden="true" {
                @for (flow, line) in scene.flows.iter().zip(&layout.lines) {
                    @if let (Some((x, y)), Some(rate)) = (line.label, flow.rate) {
                        (label(x, y, rate, flow.idle))
                    }
                }
            }
        }
    }
}

fn curve(flow: &Flow, line: &Line) -> Markup {
    let ((x1, y1), (x2, y2)) = (line.from, line.to);
    let handles = if line.down {
        let middle = f64::midpoint(y1, y2);
        format!("{x1:.1} {middle:.1} {x2:.1} {middle:.1}")
    } else {
        let middle = f64::midpoint(x1, x2);
        format!("{middle:.1} {y1:.1} {middle:.1} {y2:.1}")
    };
    let path = format!("M{x1:.1} {y1:.1}C{handles} {x2:.1} {y2:.1}");
    let class = match (flow.idle, flow.rate) {
        (true, _) => "flow idle",
        (false, Some(rate)) if rate >= 0.05 => "flow busy",
        _ => "flow",
    };
    html! { path class=(class) d=(path) stroke-width=(format!("{:.1}", width(flow.rate))) {} }
}

/// Ten times the requests are one step wider.
fn width(rate: Option<f64>) -> f64 {
    1.5 + rate.filter(|rate| *rate >= 1.0).map_or(0.0, |rate| rate.log10().min(5.0))
}

fn boxed(actor: &Actor, frame: &Frame, letters: usize) -> Markup {
    let state = actor.look.map_or("plain", |look| look.class);
    let drawn = html! {
        title { (actor.label) }
        rect class="frame" x=(at(frame.x)) y=(at(frame.y)) width=(at(frame.width))
            height=(at(frame.height)) rx="7" {}
        rect class="edge" x=(at(frame.x)) y=(at(frame.y)) width="5" height=(at(frame.height))
            rx="2.5" {}
        @if let Some(look) = actor.look {
            text class="shape" x=(at(frame.x + frame.width - 13.0))
                y=(at(frame.y + frame.height - 9.0)) {
                (look.shape)
            }
        }
        text class="name" x=(at(frame.x + 14.0)) y=(at(frame.y + 20.0)) {
            (words::cut(&actor.title, letters))
        }
        @for (row, line) in actor.lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
            text class="line" x=(at(frame.x + 14.0))
                y=(at(frame.y + 37.0 + 15.0 * if row == 0 { 0.0 } else { 1.0 })) {
                (words::cut(line, letters + 3))
            }
        }
    };
    html! {
        @if actor.linked {
            a class={ "actor " (state) } href={ "/instances/" (words::segment(&actor.title)) }
                aria-label=(actor.label) data-key=(actor.title) {
                (drawn)
            }
        } @else {
            g class={ "actor " (state) } role="img" aria-label=(actor.label)
                data-key=(actor.title) {
                (drawn)
            }
        }
    }
}

fn label(x: f64, y: f64, rate: f64, idle: bool) -> Markup {
    let text = words::rate(Some(rate));
    #[allow(clippy::cast_precision_loss, reason = "a few characters")]
    let width = 7.0 * text.chars().count() as f64 + 10.0;
    html! {
        g class=(if idle { "rate idle" } else { "rate" }) {
            rect x=(at(x - width / 2.0)) y=(at(y - 9.0)) width=(at(width)) height="18" rx="9" {}
            text x=(at(x)) y=(at(y + 4.0)) { (text) }
        }
    }
}

fn at(number: f64) -> String {
    format!("{number:.1}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        picture::{layout, scene},
        sample,
    };

    #[test]
    fn the_picture_names_everybody_with_state_and_rate() {
        let scene = scene::of(&sample::view());
        let text = svg(&scene, &layout::across(&scene), "across").into_string();
        for expected in [
            "proxy-node-1",
            "balancer-2",
            "origins",
            "usable · 20/s",
            "30/s",
            "10/s",
            "href=\"/instances/proxy-node-3\"",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        assert!(!text.contains("style="), "the content security policy allows no inline style");
    }

    #[test]
    fn names_never_become_markup() {
        let mut view = sample::view();
        let mut stats = (*view.balancers["balancer-1"]).clone();
        stats.backends[0].servers[0].name = "<script>alert(1)</script>\" onload=\"x".into();
        stats.backends[0].servers[0].discovered = false;
        view.balancers.insert("balancer-1".into(), Arc::new(stats));
        let text = crate::picture::svg(&view).into_string();
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
        assert!(!text.contains("\" onload"), "{text}");
    }
}
