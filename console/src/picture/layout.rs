//! Where everything is: from left to right on a screen, from top to bottom on a phone.

use super::scene::{Column, Scene};

/// A place for every actor and a line for every flow, in the scene's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Of the whole.
    pub width: f64,
    /// Of the whole.
    pub height: f64,
    /// One for each actor.
    pub frames: Vec<Frame>,
    /// One for each flow.
    pub lines: Vec<Line>,
    /// Characters that fit into a title.
    pub letters: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// A curve between two frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Where it begins.
    pub from: (f64, f64),
    /// Where it ends.
    pub to: (f64, f64),
    /// Where its label is; none where there is no room for one.
    pub label: Option<(f64, f64)>,
    /// It runs from top to bottom.
    pub down: bool,
}

const COLUMNS: [Column; 4] = [Column::Clients, Column::Balancers, Column::Nodes, Column::Beyond];
/// More labels than this between balancers and nodes would cover each other.
const MOST_LABELS: usize = 12;

/// From left to right.
#[must_use]
pub fn across(scene: &Scene) -> Layout {
    const X: [f64; 4] = [8.0, 214.0, 640.0, 960.0];
    const WIDTH: [f64; 4] = [130.0, 188.0, 188.0, 152.0];
    const HEIGHT: f64 = 62.0;
    const STEP: f64 = 82.0;
    let tallest =
        COLUMNS.iter().map(|column| members(scene, *column).len()).max().unwrap_or(1).max(1);
    let height = STEP * number(tallest) + 8.0;
    let mut frames = vec![Frame { x: 0.0, y: 0.0, width: 0.0, height: HEIGHT }; scene.actors.len()];
    for (column, place) in COLUMNS.into_iter().zip(0..) {
        let members = members(scene, column);
        let top = (height - STEP * number(members.len()) + (STEP - HEIGHT)) / 2.0;
        for (row, actor) in members.into_iter().enumerate() {
            frames[actor] = Frame {
                x: X[place],
                y: top + STEP * number(row),
                width: WIDTH[place],
                height: HEIGHT,
            };
        }
    }
    let lines = (0..scene.flows.len()).map(|flow| across_line(scene, &frames, flow)).collect();
    Layout { width: 1120.0, height, frames, lines, letters: 21 }
}

fn across_line(scene: &Scene, frames: &[Frame], flow: usize) -> Line {
    let (from, to) = (scene.flows[flow].from, scene.flows[flow].to);
    let (start, end) = (frames[from], frames[to]);
    let from_point = (start.x + start.width, spread(start.y, start.height, scene, flow, true));
    let to_point = (end.x, spread(end.y, end.height, scene, flow, false));
    // Labels of one balancer stand where those of the others do not.
    let balancers = members(scene, Column::Balancers);
    let middle = scene.actors[from].column == Column::Balancers;
    let crowded = middle
        && scene
            .flows
            .iter()
            .filter(|flow| scene.actors[flow.from].column == Column::Balancers)
            .count()
            > MOST_LABELS;
    let share = match balancers.iter().position(|balancer| *balancer == from) {
        Some(place) if balancers.len() > 1 => {
            0.24 + 0.52 * number(place) / number(balancers.len() - 1)
        }
        _ => 0.5,
    };
    let label = (!crowded).then(|| on_curve(from_point, to_point, share));
    Line { from: from_point, to: to_point, label, down: false }
}

/// From top to bottom, three beside each other.
#[must_use]
pub fn down(scene: &Scene) -> Layout {
    const WIDTH: f64 = 360.0;
    const FRAME: f64 = 112.0;
    const HEIGHT: f64 = 58.0;
    const BETWEEN: f64 = 46.0;
    const GAP: f64 = 10.0;
    let mut frames =
        vec![Frame { x: 0.0, y: 0.0, width: FRAME, height: HEIGHT }; scene.actors.len()];
    let mut top = 4.0;
    for column in COLUMNS {
        let members = members(scene, column);
        for row in members.chunks(3) {
            let used = number(row.len()) * FRAME + number(row.len() - 1) * GAP;
            for (place, actor) in row.iter().enumerate() {
                frames[*actor] = Frame {
                    x: (WIDTH - used) / 2.0 + number(place) * (FRAME + GAP),
                    y: top,
                    width: FRAME,
                    height: HEIGHT,
                };
            }
            top += HEIGHT + GAP;
        }
        if !members.is_empty() {
            top += BETWEEN - GAP;
        }
    }
    let line = |flow: usize| {
        let (from, to) = (scene.flows[flow].from, scene.flows[flow].to);
        let (start, end) = (frames[from], frames[to]);
        let from_point = (spread(start.x, start.width, scene, flow, true), start.y + start.height);
        let to_point = (spread(end.x, end.width, scene, flow, false), end.y);
        let outer = scene.actors[from].column != Column::Balancers;
        let label =
            outer.then(|| ((from_point.0 + to_point.0) / 2.0, (from_point.1 + to_point.1) / 2.0));
        Line { from: from_point, to: to_point, label, down: true }
    };
    let lines = (0..scene.flows.len()).map(line).collect();
    Layout { width: WIDTH, height: top - BETWEEN + 6.0, frames, lines, letters: 14 }
}

fn members(scene: &Scene, column: Column) -> Vec<usize> {
    scene
        .actors
        .iter()
        .enumerate()
        .filter(|(_, actor)| actor.column == column)
        .map(|(place, _)| place)
        .collect()
}

/// Where on its side a line begins (or ends), so that several do not meet in one point.
fn spread(begin: f64, length: f64, scene: &Scene, flow: usize, outgoing: bool) -> f64 {
    let end = |flow: &super::scene::Flow| if outgoing { flow.from } else { flow.to };
    let own = end(&scene.flows[flow]);
    let siblings: Vec<_> =
        (0..scene.flows.len()).filter(|other| end(&scene.flows[*other]) == own).collect();
    let place = siblings.iter().position(|other| *other == flow).unwrap_or(0);
    begin + length * (number(place) + 1.0) / (number(siblings.len()) + 1.0)
}

/// A point of the curve that [`super::draw`] makes: a cubic one whose handles are half way.
fn on_curve(from: (f64, f64), to: (f64, f64), t: f64) -> (f64, f64) {
    let (u, middle) = (1.0 - t, f64::midpoint(from.0, to.0));
    let x = u.powi(3) * from.0 + 3.0 * u * t * middle + t.powi(3) * to.0;
    let y = (u.powi(3) + 3.0 * u * u * t) * from.1 + (3.0 * u * t * t + t.powi(3)) * to.1;
    (x, y)
}

#[allow(clippy::cast_precision_loss, reason = "a handful")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{picture::scene, sample, view::View};

    fn overlap(one: &Frame, other: &Frame) -> bool {
        one.x < other.x + other.width
            && other.x < one.x + one.width
            && one.y < other.y + other.height
            && other.y < one.y + one.height
    }

    #[test]
    fn frames_are_inside_and_apart() {
        for nodes in [0, 1, 3, 7, 40] {
            let scene = scene::of(&sample::cluster(nodes));
            for layout in [across(&scene), down(&scene)] {
                for (place, frame) in layout.frames.iter().enumerate() {
                    let inside = frame.x >= 0.0
                        && frame.y >= 0.0
                        && frame.x + frame.width <= layout.width
                        && frame.y + frame.height <= layout.height;
                    assert!(
                        inside,
                        "{nodes} nodes: {frame:?} of {}x{}",
                        layout.width, layout.height
                    );
                    assert!(
                        !layout.frames[..place].iter().any(|other| overlap(frame, other)),
                        "{nodes} nodes: {frame:?} lies on another"
                    );
                }
                assert_eq!(layout.lines.len(), scene.flows.len());
            }
        }
    }

    #[test]
    fn labels_have_room() {
        let scene = scene::of(&sample::view());
        let labels: Vec<_> = across(&scene).lines.iter().filter_map(|line| line.label).collect();
        assert_eq!(labels.len(), scene.flows.len());
        for (place, one) in labels.iter().enumerate() {
            let close = labels[..place]
                .iter()
                .any(|other| (one.0 - other.0).abs() < 44.0 && (one.1 - other.1).abs() < 16.0);
            assert!(!close, "two labels at {one:?}: {labels:?}");
        }
        let crowded = across(&scene::of(&sample::cluster(12)));
        assert!(crowded.lines.iter().any(|line| line.label.is_none()));
    }

    #[test]
    fn an_empty_cluster_can_be_drawn() {
        let scene = scene::of(&View::default());
        assert!(across(&scene).height > 0.0 && down(&scene).height > 0.0);
    }
}
