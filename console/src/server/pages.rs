//! Pages that show.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    http::Uri,
    response::{Html, IntoResponse, Redirect, Response},
};
use http::StatusCode;
use maud::Markup;

use super::{Console, error::Error, gate::Caller};
use crate::{explain::Question, page, words};

fn html(markup: Markup) -> Response {
    Html(page::shown(markup)).into_response()
}

pub async fn overview(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let view = console.board.view();
    html(page::overview::page(&caller.visitor(), &console.overview(&view)))
}

pub async fn instance(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    match page::instance::regions(&console.board.view(), &name) {
        Some(regions) => html(page::instance::page(&caller.visitor(), &name, &regions)),
        None => {
            let sentence = format!(
                "There is no instance named {:?}: the registry does not list it (any more).",
                words::cut(&name, 80)
            );
            Error::new(StatusCode::NOT_FOUND, sentence).page(&caller)
        }
    }
}

pub async fn revision(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let Ok(_permit) = console.questions.try_acquire() else { return busy().page(&caller) };
    match console.cluster.revision(&id).await {
        Ok((revision, files)) => {
            let regions = page::configuration::regions(&console.board.view(), &revision.id);
            html(page::configuration::page(&caller.visitor(), &regions, &revision, &files))
        }
        Err(refused) if refused.unknown => Error::new(
            StatusCode::NOT_FOUND,
            format!("There is no revision {:?}.", words::cut(&id, 80)),
        )
        .page(&caller),
        Err(refused) => Error::new(
            StatusCode::BAD_GATEWAY,
            format!("This revision cannot be shown: {refused}."),
        )
        .page(&caller),
    }
}

fn busy() -> Error {
    Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "Too many questions are open at this console: try again in a moment.",
    )
    .after(2)
}

/// The explain box on a page of its own: with an answer when there is a question.
pub async fn explain(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Response {
    let [url, method, client] = asked(&uri);
    let answer = if url.is_empty() { Markup::default() } else { answer(&console, &uri).await };
    html(page::explain::page(&caller.visitor(), [&url, &method, &client], &answer))
}

/// The answer alone, for the script.
pub async fn explained(State(console): State<Arc<Console>>, uri: Uri) -> Response {
    html(answer(&console, &uri).await)
}

async fn answer(console: &Console, uri: &Uri) -> Markup {
    let [url, method, client] = asked(uri);
    let question = match Question::read(&url, &method, &client) {
        Ok(question) => question,
        Err(sentence) => return page::explain::problem(&sentence),
    };
    let Ok(_permit) = console.questions.try_acquire() else {
        return page::explain::problem(
            "Too many questions are open at this console: try again in a moment.",
        );
    };
    let view = console.board.view();
    page::explain::answer(&question, &console.cluster.explain(&view, &question).await)
}

fn asked(uri: &Uri) -> [String; 3] {
    let query = uri.query().unwrap_or_default();
    ["url", "method", "client"].map(|wanted| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    })
}

/// Where people log in; whoever has, is sent on.
pub async fn login(Extension(caller): Extension<Caller>) -> Response {
    if caller.session.is_some() {
        Redirect::to("/").into_response()
    } else {
        html(page::shell::login(&caller.visitor()))
    }
}
