//! The explain box: the question, and what everybody says to it.

use maud::{Markup, html};

use super::{Visitor, parts, shell};
use crate::{
    explain::{Explanation, Pick, Question, Said, Verdict},
    look,
};

/// The question. Works without the script too, on a page of its own.
#[must_use]
pub fn form(url: &str, method: &str, client: &str) -> Markup {
    html! {
        form id="explain-form" class="explain" action="/explain" method="get" {
            div class="field wide" {
                label for="explain-url" { "URL" }
                input id="explain-url" name="url" type="text" inputmode="url" required
                    maxlength="8192" placeholder="http://example.com/file.deb" value=(url)
                    spellcheck="false" autocomplete="off";
            }
            div class="field" {
                label for="explain-method" { "Method" }
                select id="explain-method" name="method" {
                    option value="" selected[method.is_empty()] { "as clients do" }
                    @for one in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT"] {
                        option value=(one) selected[method == one] { (one) }
                    }
                }
            }
            div class="field" {
                label for="explain-client" { "Client" }
                input id="explain-client" name="client" type="text" placeholder="127.0.0.1"
                    maxlength="45" value=(client) spellcheck="false" autocomplete="off";
            }
            button type="submit" class="primary" { "Explain" }
        }
        p class="quiet" { "What would happen to this request, and why. Nothing is sent." }
    }
}

/// The page with the question and its answer.
#[must_use]
pub fn page(visitor: &Visitor, [url, method, client]: [&str; 3], answer: &Markup) -> Markup {
    let body = html! {
        h1 { "Explain a request" }
        section class="panel" id="explain" aria-label="Explain a request" {
            (form(url, method, client))
            div id="explained" aria-live="polite" { (answer) }
        }
    };
    shell::page("Explain", visitor, None, &body)
}

/// A question that cannot be answered.
#[must_use]
pub fn problem(sentence: &str) -> Markup {
    html! { p class="problem" role="alert" { (sentence) } }
}

/// What everybody says.
#[must_use]
pub fn answer(question: &Question, explanation: &Explanation) -> Markup {
    html! {
        div class="explanation" {
            p class="question mono" {
                (question.method) " " (question.target)
                span class="quiet" { " from " (question.client) }
            }
            @for said in &explanation.picks { (pick(said)) }
            @if explanation.verdicts.len() > 1 { p class="banner warn" { "The nodes do not all say \
                the same." } }
            @for said in &explanation.verdicts { (verdict(said)) }
            @if explanation.picks.is_empty() && explanation.verdicts.is_empty() {
                p class="problem" { "There is nobody who could be asked." }
            }
            @if explanation.left_out > 0 {
                p class="quiet" { (explanation.left_out) " instances were not asked." }
            }
        }
    }
}

fn pick(said: &Said<Pick>) -> Markup {
    html! {
        section class="said" {
            h3 { (said.names.join(", ")) }
            @match &said.answer {
                Err(sentence) => { (problem(sentence)) }
                Ok(pick) => {
                    p class="outcome" {
                        @if pick.server.is_empty() {
                            span class="badge bad" { "✖ nobody" }
                            " no server is left in " (pick.backend)
                        } @else {
                            "would send it to " strong { (pick.server) } " "
                            span class="quiet" { "of " (pick.backend) }
                        }
                    }
                    ol class="candidates" {
                        @for server in &pick.candidates {
                            li {
                                (parts::badge(look::standing(server.standing))) " " (server.name)
                                " " span class="quiet" { (server.reasons.join("; ")) }
                            }
                        }
                    }
                    (steps(&pick.steps))
                }
            }
        }
    }
}

fn verdict(said: &Said<Verdict>) -> Markup {
    html! {
        section class="said" {
            h3 { (said.names.join(", ")) }
            @match &said.answer {
                Err(sentence) => { (problem(sentence)) }
                Ok(verdict) => {
                    p class="outcome" {
                        (outcome(verdict)) " "
                        span class="quiet" { "revision " (verdict.revision) }
                    }
                    (steps(&verdict.steps))
                }
            }
        }
    }
}

fn outcome(verdict: &Verdict) -> Markup {
    html! {
        @if verdict.rule.is_empty() {
            "answered by the node itself,"
        } @else if verdict.allowed {
            span class="badge good" { "● allowed" } " by " code { (verdict.rule) } ", "
            (way(verdict))
        } @else {
            span class="badge bad" { "✖ denied" } " by " code { (verdict.rule) }
        }
    }
}

fn way(verdict: &Verdict) -> String {
    match (verdict.cache.as_str(), verdict.route.as_str()) {
        ("hit", _) => "would be answered from the cache,".to_owned(),
        (_, "") => "would fail, because there is nowhere to send it,".to_owned(),
        ("", route) => format!("would go to {route},"),
        (cache, route) => format!("{cache}: would go to {route},"),
    }
}

fn steps(steps: &[String]) -> Markup {
    html! {
        @if !steps.is_empty() {
            details {
                summary { (steps.len()) " steps" }
                ol class="steps" { @for step in steps { li { (step) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let question = Question::read("http://a.test/<b>", "", "").unwrap();
        let verdict = |allowed, rule: &str, cache: &str, route: &str| Said {
            names: vec!["n".into()],
            answer: Ok(Verdict {
                allowed,
                rule: rule.into(),
                cache: cache.into(),
                route: route.into(),
                ..Verdict::default()
            }),
        };
        for (said, expected) in [
            (
                verdict(true, "allow all", "miss", "origin 192.0.2.7:80"),
                "miss: would go to origin 192.0.2.7:80",
            ),
            (verdict(true, "allow all", "hit", ""), "answered from the cache"),
            (verdict(true, "allow all", "", ""), "nowhere to send it"),
            (
                verdict(false, "deny blocked (rule 1)", "", ""),
                "denied</span> by <code>deny blocked (rule 1)",
            ),
            (
                Said { names: vec!["n".into()], answer: Err("n cannot be reached".into()) },
                "n cannot be reached",
            ),
        ] {
            let explanation = Explanation { verdicts: vec![said], ..Explanation::default() };
            let text = answer(&question, &explanation).into_string();
            assert!(
                text.contains(expected) && text.contains("http://a.test/&lt;b&gt;"),
                "{expected}: {text}"
            );
        }
    }
}
