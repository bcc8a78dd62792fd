//! The cluster as a picture: clients → balancers → nodes → what is beyond.
//!
//! [`scene`] says who is in it and what flows between them, [`layout`] where everything is,
//! [`draw`] makes SVG of it. Pure, each of them.

pub mod draw;
pub mod layout;
pub mod scene;

use maud::Markup;

use crate::view::View;

/// The picture in both shapes; the style sheet shows the one that fits the screen.
#[must_use]
pub fn svg(view: &View) -> Markup {
    let scene = scene::of(view);
    let across = layout::across(&scene);
    let down = layout::down(&scene);
    maud::html! {
        (draw::svg(&scene, &across, "across"))
        (draw::svg(&scene, &down, "down"))
    }
}
