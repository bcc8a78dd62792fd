//! Who asks, whether this is our host, whether they may look, whether a change comes from our own
//! page. And the headers of every answer.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::timeout;

use super::{
    Console,
    error::Error,
    listen::{Patience, Peer},
};
use crate::{
    auth::{self, sessions::Session},
    metrics,
    options::Rules,
    page::{Login, Visitor},
    words,
};

/// Only our own script sends it: a form or a link of another page cannot (Fetch standard,
/// CORS-safelisted headers).
pub const OWN_SCRIPT: &str = "x-shoal-console";
/// The session's token, for every change.
pub const TOKEN: &str = "x-shoal-token";
/// Remembers light or dark.
const THEME: &str = "shoal-theme";
/// Bodies of requests are a few words.
const LARGEST_BODY: usize = 16 << 10;

/// Whoever sent this request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where they are.
    pub address: IpAddr,
    /// The session that their cookie names.
    pub session: Option<Session>,
    /// The cookie with which they did.
    pub cookie: Option<String>,
    /// Nobody reads along: it is https, or this page has no https.
    confidential: bool,
    login: Login,
    theme: Option<&'static str>,
}

impl Caller {
    /// What pages need to know of them.
    #[must_use]
    pub fn visitor(&self) -> Visitor {
        Visitor {
            operator: self
                .session
                .as_ref()
                .map(|session| (session.operator.clone(), session.token.clone())),
            login: self.login,
            theme: self.theme,
        }
    }
}

/// Around every request.
pub async fn gate(
    State(console): State<Arc<Console>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = recognise(&console, &request);
    let script = request.headers().contains_key(OWN_SCRIPT);
    let refused = check(&console.rules, &caller, &request);
    let path = request.uri().path().to_owned();
    let named = host(&request).is_some_and(|host| console.rules.hosts.contains(&bare(&host)));
    let mut response = match refused {
        Some(Denied::Encrypt(there)) if request.method() != Method::POST && !script => {
            Redirect::temporary(&there).into_response()
        }
        Some(Denied::LogIn) if request.method() == Method::GET && !script && path != "/live" => {
            Redirect::to("/login").into_response()
        }
        Some(denied) if script || request.method() == Method::POST => Error::from(&denied).json(),
        Some(denied) => Error::from(&denied).page(&caller),
        None => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    };
    ::metrics::counter!(metrics::REQUESTS, "status" => response.status().as_str().to_owned())
        .increment(1);
    protect(console.rules.tls && !console.rules.plain && named, response.headers_mut());
    response
}

/// Around every request that changes something: it has to come from a page of ours, and all of it
/// soon.
pub async fn own_page(State(patience): State<Patience>, request: Request, next: Next) -> Response {
    let host =
        request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !may_change(request.headers(), host) {
        return Error::from(&Denied::Foreign).json();
    }
    let (head, body) = request.into_parts();
    match timeout(patience.body, to_bytes(body, LARGEST_BODY)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok(Err(_)) => {
            let sentence =
                format!("The body of a request has at most {LARGEST_BODY} bytes, and comes whole.");
            Error::new(StatusCode::PAYLOAD_TOO_LARGE, sentence).json()
        }
        Err(_) => Error::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body of this request did not come in time.",
        )
        .json(),
    }
}

fn recognise(console: &Console, request: &Request) -> Caller {
    let peer = request.extensions().get::<Peer>();
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
    let confidential = !console.rules.tls || peer.is_some_and(|peer| peer.encrypted);
    // What came in the clear may be somebody else's by now.
    let cookie = cookie(request.headers(), &console.rules.cookie)
        .filter(|_| confidential)
        .map(str::to_owned);
    let session = cookie.as_deref().and_then(|cookie| console.session(cookie, true));
    let theme = match cookie_theme(request.headers()) {
        Some("light") => Some("light"),
        Some("dark") => Some("dark"),
        _ => None,
    };
    let login = match console.rules.passwords {
        false => Login::Refused,
        true if console.users.is_empty() => Login::Nobody,
        true => Login::Open,
    };
    Caller { address, session, cookie, confidential, login, theme }
}

fn cookie_theme(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, THEME)
}

/// The value of a cookie (RFC 6265 section 5.4).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Denied {
    #[error("This request names no host.")]
    NoHost,
    #[error(
        "This console is not known as {}: use its address, or start it with --host.",
        words::cut(.0, 100)
    )]
    ForeignHost(String),
    #[error("This request comes from another site's page, and is not answered.")]
    Foreign,
    /// Where the same is to be had over https.
    #[error("This takes https: use {}.", words::cut(.0, 200))]
    Encrypt(String),
    #[error("Log in to look: this console is not on a loopback address.")]
    LogIn,
}

impl From<&Denied> for Error {
    fn from(denied: &Denied) -> Self {
        let status = match denied {
            Denied::NoHost => StatusCode::BAD_REQUEST,
            Denied::ForeignHost(_) => StatusCode::MISDIRECTED_REQUEST,
            Denied::Foreign | Denied::Encrypt(_) => StatusCode::FORBIDDEN,
            Denied::LogIn => StatusCode::UNAUTHORIZED,
        };
        Self::new(status, denied.to_string())
    }
}

fn check(rules: &Rules, caller: &Caller, request: &Request) -> Option<Denied> {
    let headers = request.headers();
    let Some(host) = host(request) else { return Some(Denied::NoHost) };
    if !is_ours(&host, rules) {
        return Some(Denied::ForeignHost(host));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && !may_read(headers) {
        return Some(Denied::Foreign);
    }
    let path = request.uri().path();
    let plain = rules.plain && rules.open && reads && path != "/login";
    if !caller.confidential && !plain {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        return Some(Denied::Encrypt(format!("https://{host}{path}")));
    }
    let free = matches!(path, "/login" | "/favicon.svg") || path.starts_with("/assets/");
    (!rules.open && caller.session.is_none() && !free).then_some(Denied::LogIn)
}

fn host(request: &Request) -> Option<String> {
    let host =
        request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    host.or_else(|| request.uri().authority().map(ToString::to_string))
}

/// A host without its port, in lower case.
fn bare(host: &str) -> String {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(bare, _)| bare),
    };
    bare.trim_end_matches('.').to_ascii_lowercase()
}

/// Addresses, localhost and the names that we were told: nobody can make a name of theirs lead here
/// and read with it (DNS rebinding).
fn is_ours(host: &str, rules: &Rules) -> bool {
    let bare = bare(host);
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok()
        || rules.hosts.contains(&bare)
}

/// A page of another site may link here, and nothing more.
fn may_read(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match said("sec-fetch-site") {
        Some("cross-site" | "same-site") => {
            said("sec-fetch-mode") == Some("navigate") && said("sec-fetch-dest") == Some("document")
        }
        _ => true,
    }
}

/// A change comes from a page of ours: its origin is this host, and it is our script that sends it.
fn may_change(headers: &HeaderMap, host: &str) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = said("origin")
        .and_then(|origin| origin.split_once("://"))
        .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    let site = said("sec-fetch-site").is_none_or(|site| site == "same-origin");
    origin && site && headers.contains_key(OWN_SCRIPT)
}

/// Whether a change shows the token of its session.
#[must_use]
pub fn has_token(headers: &HeaderMap, session: &Session) -> bool {
    headers
        .get(TOKEN)
        .and_then(|token| token.to_str().ok())
        .is_some_and(|token| auth::same(token, &session.token))
}

/// Nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// `always`: from now on by https alone. That holds for every port of a host (RFC 6797 section
/// 8.3), so localhost, which many share, is spared.
fn protect(always: bool, headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value))
    };
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if always {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            tls: false,
            passwords: true,
            open: true,
            plain: false,
            hosts: vec!["console.test".into()],
            cookie: "c".into(),
        }
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn hosts() {
        for (host, ours) in [
            ("127.0.0.1:7000", true),
            ("[::1]:7000", true),
            ("10.1.2.3", true),
            ("localhost:7000", true),
            ("LOCALHOST.", true),
            ("lab.localhost:1", true),
            ("Console.Test:7000", true),
            ("evil.test:7000", false),
            ("127.0.0.1.evil.test", false),
            ("console.test.evil.test", false),
            ("", false),
        ] {
            assert_eq!(is_ours(host, &rules()), ours, "{host}");
        }
    }

    #[test]
    fn changes_come_from_our_own_page() {
        let own = ("x-shoal-console", "1");
        for (fields, may) in [
            (vec![("origin", "http://127.0.0.1:7000"), own], true),
            (
                vec![("origin", "https://127.0.0.1:7000"), own, ("sec-fetch-site", "same-origin")],
                true,
            ),
            (vec![("origin", "http://127.0.0.1:7000")], false),
            (vec![own], false),
            (vec![("origin", "null"), own], false),
            (vec![("origin", "http://evil.test"), own], false),
            (vec![("origin", "http://127.0.0.1:7001"), own], false),
            (
                vec![("origin", "http://127.0.0.1:7000"), own, ("sec-fetch-site", "same-site")],
                false,
            ),
        ] {
            assert_eq!(may_change(&headers(&fields), "127.0.0.1:7000"), may, "{fields:?}");
        }
    }

    #[test]
    fn others_may_link_here_and_nothing_more() {
        for (fields, may) in [
            (vec![], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], true),
            (
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                true,
            ),
            (
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "iframe"),
                ],
                false,
            ),
            (
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "no-cors"),
                    ("sec-fetch-dest", "image"),
                ],
                false,
            ),
        ] {
            assert_eq!(may_read(&headers(&fields)), may, "{fields:?}");
        }
    }

    #[test]
    fn cookies() {
        let found = headers(&[("cookie", "a=1; shoal-theme=dark;b=2=3")]);
        assert_eq!(
            (cookie(&found, "b"), cookie(&found, "shoal-theme"), cookie(&found, "x")),
            (Some("2=3"), Some("dark"), None)
        );
    }
}
