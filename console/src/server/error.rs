//! The only table from errors to answers: one clear sentence, as a page for people and as JSON
//! for the script.

use axum::{
    Extension, Json,
    http::{Method, Uri},
    response::{Html, IntoResponse, Response},
};
use http::{StatusCode, header};
use serde_json::json;

use super::gate::Caller;
use crate::{
    page::{self, shell},
    words,
};

/// Why a request is not answered as it was meant: a status and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Error {
    status: StatusCode,
    sentence: String,
    retry_after: Option<u64>,
}

impl Error {
    /// A status with its sentence.
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into(), retry_after: None }
    }

    /// When to try again, in seconds.
    #[must_use]
    pub const fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// For a browser's window.
    pub fn page(self, caller: &Caller) -> Response {
        let markup = shell::problem(self.status, &self.sentence, &caller.visitor());
        self.finish(Html(page::shown(markup)).into_response())
    }

    /// For the script.
    pub fn json(self) -> Response {
        let body = Json(json!({ "problem": cluster::text::shown(&self.sentence) })).into_response();
        self.finish(body)
    }

    fn finish(self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// No page has this address.
pub async fn unknown_path(Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    Error::new(StatusCode::NOT_FOUND, format!("There is no page {}.", words::cut(uri.path(), 100)))
        .page(&caller)
}

/// The page is there, but not for this method.
pub async fn wrong_method(
    Extension(caller): Extension<Caller>,
    method: Method,
    uri: Uri,
) -> Response {
    let sentence = format!(
        "{} cannot be used with {}.",
        words::cut(uri.path(), 100),
        words::cut(method.as_str(), 20)
    );
    Error::new(StatusCode::METHOD_NOT_ALLOWED, sentence).page(&caller)
}
