//! What surrounds every page: head, header, dialogs. And the pages that have nothing else: log in,
//! and a problem.

use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::{Login, Region, Visitor, assets};

/// A page whose regions follow what happens.
pub struct Live<'a> {
    /// What the stream is asked for: `overview`, `instance/NAME`, `revision/ID`.
    pub page: &'a str,
    /// How they are now.
    pub regions: &'a [Region],
}

impl Live<'_> {
    /// A region's place in the page.
    #[must_use]
    pub fn region(&self, id: &str) -> Markup {
        let html = self
            .regions
            .iter()
            .find(|region| region.id == id)
            .map_or("", |region| region.html.as_str());
        html! {
            div class="region" id={ "region-" (id) } data-region=(id) { (maud::PreEscaped(html)) }
        }
    }
}

/// A whole page.
#[must_use]
pub fn page(title: &str, visitor: &Visitor, live: Option<&Live<'_>>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[visitor.theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some((_, token)) = &visitor.operator {
                    meta name="shoal-token" content=(token);
                }
                title { (title) " · Shoal" }
                link rel="icon" href="/favicon.svg" type="image/svg+xml";
                link rel="stylesheet" href=(assets::style_path());
                script src=(assets::script_path()) defer {}
            }
            body data-operator=[visitor.operator.as_ref().map(|(name, _)| name)]
                data-live=[live.map(|live| live.page)] {
                a class="skip" href="#main" { "Skip to the content" }
                (header(visitor, live))
                @if let Some(live) = live { (live.region("banner")) }
                noscript {
                    p class="banner warn" {
                        "This page is as it was when it was loaded: following what happens, and \
                        changing anything, takes JavaScript."
                    }
                }
                main id="main" tabindex="-1" { (body) }
                output id="said" role="status" aria-live="polite" {}
                (confirmation())
            }
        }
    }
}

fn header(visitor: &Visitor, live: Option<&Live<'_>>) -> Markup {
    html! {
        header class="top" {
            a class="brand" href="/" { (mark()) span { "Shoal" } }
            nav aria-label="Sections" {
                @for (target, word) in [
                    ("picture", "Cluster"), ("servers", "Servers"), ("instances", "Instances"),
                    ("caches", "Caches"), ("configuration", "Configuration"), ("checks", "Checks"),
                    ("events", "Events"), ("explain", "Explain"),
                ] {
                    a href={ "/#" (target) } { (word) }
                }
            }
            div class="who" {
                @if live.is_some() {
                    span id="liveness" class="liveness" role="status" { "loading" }
                }
                button type="button" id="theme" aria-label="Switch between light and dark"
                    title="Light or dark" {
                    "◐"
                }
                @if let Some((name, _)) = &visitor.operator {
                    span class="operator" { (name) }
                    button type="button" id="logout" { "Log out" }
                } @else if visitor.login != Login::Refused {
                    a class="button" href="/login" { "Log in" }
                }
            }
        }
    }
}

/// A fish, three of which make a shoal.
fn mark() -> Markup {
    html! {
        svg class="mark" viewBox="0 0 32 32" aria-hidden="true" {
            path d="M3 9c4-5 10-5 14 0l4-3v6l-4-3c-4 5-10 5-14 0z" {}
            path d="M9 18c4-5 10-5 14 0l4-3v6l-4-3c-4 5-10 5-14 0z" {}
            path d="M3 27c4-5 10-5 14 0l4-3v6l-4-3c-4 5-10 5-14 0z" {}
        }
    }
}

fn confirmation() -> Markup {
    html! {
        dialog id="confirm" aria-labelledby="confirm-title" aria-describedby="confirm-text" {
            form method="dialog" {
                h2 id="confirm-title" {}
                p id="confirm-text" {}
                p id="confirm-warning" class="problem" role="alert" {}
                div id="confirm-strongly" hidden {
                    label for="confirm-name" { "Type its name to confirm that it is meant" }
                    input id="confirm-name" name="name" maxlength="200" autocomplete="off";
                }
                label for="confirm-reason" { "Why (for the audit record)" }
                input id="confirm-reason" name="reason" maxlength="200" autocomplete="off";
                div class="choices" {
                    button type="submit" value="no" { "Cancel" }
                    button type="submit" value="yes" class="primary" id="confirm-yes" { "Confirm" }
                }
            }
        }
    }
}

/// Where people log in.
#[must_use]
pub fn login(visitor: &Visitor) -> Markup {
    let body = html! {
        section class="panel narrow" aria-labelledby="login-title" {
            h1 id="login-title" { "Log in" }
            @if visitor.login == Login::Open {
                form id="login" {
                    label for="login-name" { "Name" }
                    input id="login-name" name="name" autocomplete="username" maxlength="63"
                        required autofocus;
                    label for="login-password" { "Password" }
                    input id="login-password" name="password" type="password"
                        autocomplete="current-password" maxlength="1024" required;
                    p id="login-problem" class="problem" role="alert" {}
                    button type="submit" class="primary" { "Log in" }
                }
                p class="quiet" {
                    "People are added with " code { "shoal console passwd NAME" } "."
                }
            } @else if visitor.login == Login::Nobody {
                p {
                    "Nobody has a password yet. "
                    code { "shoal console passwd NAME --users FILE" }
                    " makes one, with the file that this console was started with; then load this \
                    page again."
                }
                p class="quiet" { "With docker-compose: " code { "docker-compose run --rm console \
                    console passwd NAME" } }
            } @else {
                p { "Passwords are not taken here, because this page is neither encrypted nor on a \
                    loopback address. Start the console with "
                    code { "--tls-cert" } " and " code { "--tls-key" } "." }
            }
        }
    };
    page("Log in", visitor, None, &body)
}

/// A page that says in one sentence what is wrong.
#[must_use]
pub fn problem(status: StatusCode, sentence: &str, visitor: &Visitor) -> Markup {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let body = html! {
        section class="panel narrow" aria-labelledby="problem-title" {
            h1 id="problem-title" { (title) }
            p { (sentence) }
            p { a href="/" { "To the overview" } }
        }
    };
    page(&title, visitor, None, &body)
}
