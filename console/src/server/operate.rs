//! Drain, enable, disable: the one thing that the page changes, for people who have logged in.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use cluster::Service;
use http::StatusCode;
use proto::registry::{AdminState, SetAdminStateRequest};
use serde::Deserialize;
use serde_json::json;

use super::{
    Console,
    error::Error,
    gate::{Caller, has_token},
};
use crate::words;

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 800;

/// What the confirmation sends.
#[derive(Deserialize)]
pub struct Wanted {
    state: Admin,
    #[serde(default)]
    reason: String,
    /// Although no usable node would be left.
    #[serde(default)]
    force: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Admin {
    Ready,
    Drain,
    Maintenance,
}

impl Admin {
    const fn code(self) -> AdminState {
        match self {
            Self::Ready => AdminState::Ready,
            Self::Drain => AdminState::Drain,
            Self::Maintenance => AdminState::Maintenance,
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Ready => "is enabled",
            Self::Drain => "drains: it finishes what it has and gets nothing new",
            Self::Maintenance => "is disabled: it gets nothing",
        }
    }
}

/// Sets what operators want of a node.
pub async fn admin_state(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Response {
    set(&console, &caller, &name, &headers, wanted).await.unwrap_or_else(Error::json)
}

async fn set(
    console: &Console,
    caller: &Caller,
    name: &str,
    headers: &HeaderMap,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, Error> {
    let gone = || {
        Error::new(
            StatusCode::UNAUTHORIZED,
            "Log in to do this: nobody is logged in, or the session has ended.",
        )
    };
    let session = caller.session.as_ref().ok_or_else(gone)?;
    if !has_token(headers, session) {
        return Err(Error::new(
            StatusCode::FORBIDDEN,
            "This request does not show the token of its page: load the page again.",
        ));
    }
    let Json(Wanted { state, reason, force }) = wanted.map_err(|rejection| {
        Error::new(
            rejection.status(),
            "A state (ready, drain or maintenance) is expected, as JSON.",
        )
    })?;
    let view = console.board.view();
    let status = view.instance(name).filter(|status| status.instance.service == Service::ProxyNode);
    if status.is_none() {
        return Err(Error::new(
            StatusCode::NOT_FOUND,
            format!("There is no proxy-node named {:?}.", words::cut(name, 80)),
        ));
    }
    if reason.len() > LONGEST_REASON {
        return Err(Error::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("A reason has at most {LONGEST_REASON} bytes."),
        ));
    }
    if !force && !matches!(state, Admin::Ready) && view.is_last(name) {
        let sentence = format!(
            "Nothing was changed: {}. Confirm that it is meant.",
            cluster::leaving::warning(name, Service::ProxyNode)
        );
        return Err(Error::new(StatusCode::CONFLICT, sentence));
    }
    let request = SetAdminStateRequest {
        name: name.to_owned(),
        admin_state: state.code().into(),
        reason: reason.trim().to_owned(),
        force,
        ..SetAdminStateRequest::default()
    };
    match console.cluster.set_admin_state(&session.operator, request).await {
        Ok(()) => {
            let (operator, state_code) = (&session.operator, state.code());
            tracing::info!(operator, instance = name, state = ?state_code, "admin state set");
            Ok(Json(json!({ "said": format!("{name} {}.", state.done()) })).into_response())
        }
        Err(refused) => Err(Error::new(
            StatusCode::BAD_GATEWAY,
            format!("Nothing was changed as far as is known: {refused}."),
        )),
    }
}
