//! Logging in and out.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{State, rejection::JsonRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::{
    Console,
    error::Error,
    gate::{Caller, has_token},
    lock,
};
use crate::{
    auth::{random, sessions, users},
    metrics,
};

/// How long somebody waits for others' passwords to be hashed.
const QUEUE: Duration = Duration::from_secs(5);

/// What the form sends.
#[derive(Deserialize)]
pub struct Credentials {
    name: String,
    password: String,
}

/// Opens a session for whoever knows a password.
pub async fn login(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    given: Result<Json<Credentials>, JsonRejection>,
) -> Response {
    let result = try_login(&console, &caller, given).await;
    let counted = match &result {
        Ok(_) => "ok",
        Err((counted, _)) => counted,
    };
    ::metrics::counter!(metrics::LOGINS, "result" => counted).increment(1);
    result.unwrap_or_else(|(_, problem)| problem.json())
}

type Refused = (&'static str, Error);

async fn try_login(
    console: &Arc<Console>,
    caller: &Caller,
    given: Result<Json<Credentials>, JsonRejection>,
) -> Result<Response, Refused> {
    if !console.rules.passwords {
        let sentence = "Passwords are not taken here, because this page is neither encrypted nor \
            on a loopback address.";
        return Err(("refused", Error::new(StatusCode::FORBIDDEN, sentence)));
    }
    let Json(Credentials { name, password }) = given.map_err(|rejection| {
        ("refused", Error::new(rejection.status(), "A name and a password are expected, as JSON."))
    })?;
    has_to_wait(console, caller, &name)?;
    let known = console.users.hash_of(&name);
    let hash = known.clone().unwrap_or_else(|| users::NOBODY.to_owned());
    let busy = || {
        (
            "busy",
            Error::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many people log in at once: try again in a moment.",
            )
            .after(5),
        )
    };
    let _permit = timeout(QUEUE, console.hashing.acquire())
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(busy)?;
    // Whoever was wrong while this one waited counts, too: trying many at once is no way round.
    has_to_wait(console, caller, &name)?;
    let checked = tokio::task::spawn_blocking(move || users::verify(&hash, &password)).await;
    let right = checked.map_err(|error| {
        (
            "busy",
            Error::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("The password was not checked: {error}."),
            ),
        )
    })?;
    let (true, Some(hash)) = (right, known) else {
        lock(&console.attempts).failed(caller.address, &name, console.now());
        let (name, address) = (crate::words::cut(&name, 63), caller.address);
        tracing::warn!(name, %address, "a wrong name or password");
        return Err((
            "wrong",
            Error::new(StatusCode::UNAUTHORIZED, "The name or the password is wrong."),
        ));
    };
    lock(&console.attempts).succeeded(caller.address, &name);
    open(console, caller, &name, &hash)
}

fn has_to_wait(console: &Console, caller: &Caller, name: &str) -> Result<(), Refused> {
    let Some(wait) = lock(&console.attempts).wait(caller.address, name, console.now()) else {
        return Ok(());
    };
    let seconds = wait.as_secs() + 1;
    let sentence = format!("Too many wrong passwords: try again in {seconds} s.");
    Err(("waiting", Error::new(StatusCode::TOO_MANY_REQUESTS, sentence).after(seconds)))
}

fn open(console: &Console, caller: &Caller, name: &str, hash: &str) -> Result<Response, Refused> {
    let secret = || {
        random::<32>().map_err(|failure| {
            ("busy", Error::new(StatusCode::INTERNAL_SERVER_ERROR, failure.to_string()))
        })
    };
    let (cookie, token) = (secret()?, secret()?);
    // The session of before, if any, is nobody's now.
    if let Some(old) = &caller.cookie {
        lock(&console.sessions).close(old);
    }
    lock(&console.sessions).open(&cookie, token, name, hash, console.now());
    tracing::info!(operator = name, address = %caller.address, "logged in");
    let mut response = Json(json!({ "said": format!("Logged in as {name}.") })).into_response();
    set_cookie(console, &mut response, &cookie, sessions::LONGEST.as_secs());
    Ok(response)
}

fn set_cookie(console: &Console, response: &mut Response, value: &str, seconds: u64) {
    let secure = if console.rules.tls { "; Secure" } else { "" };
    let text = format!(
        "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}",
        console.rules.cookie
    );
    if let Ok(text) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(header::SET_COOKIE, text);
    }
}

/// Ends the session.
pub async fn logout(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let Some(session) = &caller.session else {
        return Error::new(StatusCode::UNAUTHORIZED, "Nobody is logged in here.").json();
    };
    if !has_token(&headers, session) {
        return Error::new(
            StatusCode::FORBIDDEN,
            "This request does not show the token of its page: load the page again.",
        )
        .json();
    }
    if let Some(cookie) = &caller.cookie {
        lock(&console.sessions).close(cookie);
    }
    let mut response = Json(json!({ "said": "Logged out." })).into_response();
    set_cookie(&console, &mut response, "", 0);
    response
}
