//! Whether this balancer serves, for whoever asks a frontend itself: a load balancer in front (HAProxy asks `OPTIONS /` or `OPTIONS *` by default), a
//! name server with checks, a person. Nothing of it is counted as a request.

use std::time::SystemTime;

use relay::{
    head::{Request, RequestHead},
    method::Method,
    respond::Canned,
    rewrite::Persistence,
    stream::Stream,
    target::Target,
};

use crate::{
    desk::{Backend, Desk},
    request::Next,
};

/// Whether a request is for the balancer itself: `OPTIONS *`, or the frontend's health path. Without one, everything is for the servers.
#[must_use]
pub fn is_asked(request: Request<'_>, health_path: Option<&str>) -> bool {
    // Nearly every request names a host, and goes on.
    let (false, Some(health_path)) = (request.head().names_authority(), health_path) else { return false };
    let method = request.method();
    match request.target_text().as_bytes() {
        b"*" => true,
        [b'/', ..] if matches!(method, Method::Get | Method::Head | Method::Options) => {
            matches!(request.target(), Target::Origin(path) if path.split('?').next() == Some(health_path))
        }
        _ => false,
    }
}

/// What is said of a balancer that is leaving, or has nobody to ask.
#[must_use]
pub fn verdict(leaving: bool, has_servers: bool) -> (u16, &'static [u8]) {
    match (leaving, has_servers) {
        (true, _) => (503, b"draining\n"),
        (false, false) => (503, b"no server\n"),
        (false, true) => (200, b"ready\n"),
    }
}

/// Answers.
pub async fn answer(desk: &Desk, backend: Option<&Backend>, head: &RequestHead, client: &mut Stream, out: &mut Vec<u8>) -> Next {
    let leaving = desk.worker().leaving();
    let (status, body) = verdict(leaving, backend.is_some_and(Backend::has_servers));
    // A body is not read, and would be taken for the next request.
    let stays = head.persistent() && head.framing().is_empty() && !leaving;
    let canned = Canned {
        status,
        now: SystemTime::now(),
        content_type: "text/plain",
        fields: &[("Cache-Control", "no-store"), ("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, CONNECT")],
        body,
        persistence: match (stays, head.version()) {
            (false, _) => Persistence::Close,
            (true, relay::head::Version::Http10) => Persistence::KeepAlive,
            (true, relay::head::Version::Http11) => Persistence::Implied,
        },
    };
    out.clear();
    if head.method() == Method::Head {
        canned.write_head(out);
    } else {
        canned.write(out);
    }
    let within = backend.map_or(std::time::Duration::from_secs(10), |it| it.pool.settings.timeouts.client);
    match client.write_all(&[out], within).await {
        Ok(()) if stays => Next::Stay,
        Ok(()) if head.is_last() && client.input().is_empty() => Next::Over,
        Ok(()) => Next::Close,
        Err(_) => Next::Abort,
    }
}

#[cfg(test)]
mod tests {
    use relay::head::Limits;

    use super::*;

    #[test]
    fn who_is_asked() {
        for (line, path, asked) in [
            ("OPTIONS * HTTP/1.0", Some("/"), true),
            ("OPTIONS / HTTP/1.0", Some("/"), true),
            ("GET / HTTP/1.0", Some("/"), true),
            ("HEAD /?x HTTP/1.0", Some("/"), true),
            ("GET /up HTTP/1.0", Some("/up"), true),
            ("GET / HTTP/1.0", Some("/up"), false),
            ("POST / HTTP/1.0", Some("/"), false),
            ("GET http://a/ HTTP/1.0", Some("/"), false),
            ("OPTIONS http://a HTTP/1.0", Some("/"), false),
            ("CONNECT a:1 HTTP/1.0", Some("/"), false),
            ("OPTIONS * HTTP/1.0", None, false),
            ("GET / HTTP/1.0", None, false),
        ] {
            let (bytes, mut head) = (format!("{line}\r\n\r\n"), RequestHead::new());
            head.parse(bytes.as_bytes(), &Limits::default()).expect("a head");
            assert_eq!(is_asked(head.view(bytes.as_bytes()), path), asked, "{line} {path:?}");
        }
    }

    #[test]
    fn verdicts() {
        assert_eq!([verdict(false, true).0, verdict(false, false).0, verdict(true, true).0], [200, 503, 503]);
    }
}
