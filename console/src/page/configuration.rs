//! Revisions, the rollout with every node's acknowledgement, who is not in step, and one revision
//! with what it changed.

use maud::{Markup, html};

use super::{Region, Visitor, overview, parts, shell};
use crate::{
    configuration::{FileDifference, Revision, Rollout},
    look,
    view::View,
    words,
};

/// Lines of one file's difference that are shown.
const MOST_LINES: usize = 2_000;
/// Chips of nodes in a rollout.
const MOST_NODES: usize = 200;

/// The panel of the overview.
#[must_use]
pub fn panel(view: &View) -> Markup {
    let configuration = &view.configuration;
    let astray: Vec<_> = configuration.nodes.iter().filter(|node| !node.in_step).collect();
    html! {
        @if let Some(rollout) = &configuration.rollout { (progress(rollout)) }
        @if !configuration.nodes.is_empty() {
            @if astray.is_empty() {
                p class="step" {
                    span class="badge good" { "● in step" } " all " (configuration.nodes.len())
                    " processes run what they were assigned"
                }
            } @else {
                ul class="step" {
                    @for node in astray.iter().take(MOST_NODES) {
                        li {
                            span class="badge warn" { "▲ astray" } " "
                            (parts::named(view, &node.name)) " runs "
                            code { (or_nothing(&node.applied)) } ", assigned is "
                            code { (or_nothing(&node.assigned)) }
                            @if !node.explanation.is_empty() { ": " (node.explanation) }
                        }
                    }
                }
            }
        }
        @if configuration.revisions.is_empty() { p class="quiet" { "There is no revision yet." } }
        @else { (parts::scroller("revisions", &table(&configuration.revisions))) }
    }
}

fn or_nothing(revision: &str) -> String {
    if revision.is_empty() { "nothing".to_owned() } else { words::cut(revision, 12) }
}

fn table(revisions: &[Revision]) -> Markup {
    html! {
        table class="revisions" {
            thead {
                tr {
                    th scope="col" class="n" { "#" } th scope="col" { "Revision" }
                    th scope="col" class="why" { "Message" } th scope="col" { "Author" }
                    th scope="col" { "Committed" }
                }
            }
            tbody {
                @for revision in revisions {
                    tr data-key=(revision.id) {
                        td class="n" { (revision.number) }
                        th scope="row" {
                            a class="mono" href={ "/revisions/" (words::segment(&revision.id)) } {
                                (revision.id)
                            }
                            @if revision.released { " " span class="badge good" { "● released" } }
                        }
                        td class="why" { (revision.message) }
                        td { (revision.author) }
                        td { @if let Some(at) = revision.committed_at { (parts::ago(at)) } }
                    }
                }
            }
        }
    }
}

/// A rollout with what every node answered.
#[must_use]
pub fn progress(rollout: &Rollout) -> Markup {
    let refused: Vec<_> = rollout.nodes.iter().filter(|node| !node.problems.is_empty()).collect();
    html! {
        div class="rollout" {
            p {
                (parts::badge(look::rollout(rollout.state))) " rollout of revision "
                (rollout.revision.number)
                @if let Some(at) = rollout.changed_at {
                    " " span class="quiet" { (parts::ago(at)) }
                }
                @if !rollout.explanation.is_empty() { br; (rollout.explanation) }
            }
            ul class="chips" aria-label="What every process answered" {
                @for node in rollout.nodes.iter().take(MOST_NODES) {
                    @let look = look::answer(node.state);
                    li class={ "chip " (look.class) } data-key=(node.name) {
                        span aria-hidden="true" { (look.shape) " " } (node.name) " "
                        span class="quiet" { (look.word) }
                    }
                }
                @if rollout.nodes.len() > MOST_NODES {
                    li class="chip" { "and " (rollout.nodes.len() - MOST_NODES) " more" }
                }
            }
            @for node in refused {
                @for problem in &node.problems {
                    p class="problem" { strong { (node.name) } ": " (problem) }
                }
            }
        }
    }
}

/// What changes on a revision's page.
#[must_use]
pub fn regions(view: &View, id: &str) -> Vec<Region> {
    let rollout = view.configuration.rollout.as_ref().filter(|rollout| rollout.revision.id == id);
    let markup = html! {
        @if let Some(rollout) = rollout { (progress(rollout)) }
        @else { p class="quiet" { "The newest rollout is of another revision." } }
    };
    vec![Region::new("banner", overview::banner(view)), Region::new("acknowledgements", markup)]
}

/// The page of one revision.
#[must_use]
pub fn page(
    visitor: &Visitor,
    regions: &[Region],
    revision: &Revision,
    files: &[FileDifference],
) -> Markup {
    let live_page = format!("revision/{}", revision.id);
    let live = shell::Live { page: &live_page, regions };
    let about = html! {
        dl class="facts" {
            dt { "Message" } dd { (revision.message) }
            dt { "Author" }
            dd {
                (revision.author) " "
                span class="quiet" { "(certificate " (revision.committer) ")" }
            }
            dt { "Committed" } dd { @if let Some(at) = revision.committed_at { (parts::ago(at)) } }
            dt { "Parent" }
            dd {
                @if revision.parent.is_empty() {
                    "none: this is the first"
                } @else {
                    a class="mono" href={ "/revisions/" (words::segment(&revision.parent)) } {
                        (revision.parent)
                    }
                }
            }
            dt { "Released" }
            dd {
                @if revision.released {
                    span class="badge good" { "● released" } " joining nodes get it"
                } @else {
                    "no"
                }
            }
        }
    };
    let changes = html! {
        @if revision.parent.is_empty() { p class="quiet" { "This is the first revision: everything \
            in it is new." } }
        @else if files.is_empty() { p class="quiet" { "Nothing differs from its parent." } }
        @for file in files { (difference(file)) }
    };
    let body = html! {
        h1 { "Revision " (revision.number) " " span class="mono quiet" { (revision.id) } }
        (parts::panel("about", "About", &about))
        (parts::panel("acknowledgements", "Acknowledgements", &live.region("acknowledgements")))
        (parts::panel("changes", "What it changed", &changes))
    };
    shell::page(&format!("Revision {}", revision.number), visitor, Some(&live), &body)
}

fn difference(file: &FileDifference) -> Markup {
    let lines: Vec<_> = file.unified.lines().collect();
    html! {
        section class="file" {
            h3 class="mono" {
                (file.path)
                @if file.added { " " span class="badge good" { "new" } }
                @if file.removed { " " span class="badge gone" { "gone" } }
            }
            @if lines.is_empty() {
                p class="quiet" { "No text to compare: it is not text, or \
                larger than 1 MiB." }
            } @else {
                pre class="diff" tabindex="0" aria-label={ "difference of " (file.path) } {
                    @for (place, line) in lines.iter().enumerate().take(MOST_LINES) {
                        span class=(kind(place, line)) { (line) "\n" }
                    }
                    @if lines.len() > MOST_LINES {
                        span class="quiet" {
                            "and " (lines.len() - MOST_LINES) " lines more: shoal config diff"
                        }
                    }
                }
            }
        }
    }
}

fn kind(place: usize, line: &str) -> &'static str {
    match line.as_bytes().first() {
        // The names of the two files.
        Some(b'+' | b'-')
            if place < 2 && (line.starts_with("+++ ") || line.starts_with("--- ")) =>
        {
            "place"
        }
        Some(b'+') => "added",
        Some(b'-') => "removed",
        Some(b'@') => "place",
        _ => "same",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        configuration::{AnswerState, RolloutState},
        sample,
    };

    #[test]
    fn acknowledgements_and_problems_show() {
        let view = sample::view();
        let mut rollout = view.configuration.rollout.clone().unwrap();
        rollout.state = RolloutState::Failed;
        rollout.nodes[1].state = AnswerState::Rejected;
        rollout.nodes[1].problems = vec!["cluster.yaml:3:1: unknown key".into()];
        let text = progress(&rollout).into_string();
        assert!(
            text.contains("✖ </span>proxy-node-2")
                && text.contains("cluster.yaml:3:1: unknown key"),
            "{text}"
        );
        assert!(panel(&view).into_string().contains("all 3 processes"));
    }

    #[test]
    fn a_difference_is_text() {
        let revision = &sample::view().configuration.revisions[0].clone();
        let file = FileDifference {
            path: "pages/x.html".into(),
            unified: "--- a/pages/x.html\n+++ b/pages/x.html\n@@ -1 +1 \
                @@\n-<b>\n+<script>alert(1)</script>\n"
                .into(),
            ..Default::default()
        };
        let text = page(&Visitor::default(), &[], revision, &[file]).into_string();
        assert!(
            text.contains("class=\"added\">+&lt;script&gt;")
                && text.contains("class=\"removed\">-&lt;b&gt;"),
            "{text}"
        );
        assert!(
            text.contains("class=\"place\">+++ b/pages/x.html"),
            "a file's name is no line of it: {text}"
        );
        assert!(!text.contains("<script>alert"));
    }
}
