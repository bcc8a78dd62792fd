//! Where a request goes: to a backend, or to the balancer itself. Decided by what the bundle says
//! of its frontend and by its head, and by nothing else; live requests and explanations ask the
//! same function.
//!
//! Built once with the generation. Rules that send some requests elsewhere (by source, host, path,
//! header) will be read here, before [`Route::backend`] is what is left.

use cluster_config::document::balancer::{Backend, Frontend};
use relay::{head::Request, method::Method, target::Target};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The balancer is asked whether it serves.
    Health,
    /// The backend with this index, in the order of the bundle.
    Backend(usize),
}

/// The routes of one frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    health_path: Option<String>,
    /// Index of the backend of all requests that are not for the balancer itself.
    pub backend: usize,
}

impl Route {
    /// Those of a frontend. None: its backend is not among these.
    #[must_use]
    pub fn build(frontend: &Frontend, backends: &[Backend]) -> Option<Self> {
        let backend = backends.iter().position(|it| it.name == frontend.backend)?;
        Some(Self { health_path: frontend.health_path.clone(), backend })
    }

    #[must_use]
    pub fn choose(&self, request: Request<'_>) -> Destination {
        // One that may go no further is answered as a request is (RFC 9110 §7.6.2).
        if self.asks_for_health(request) && request.max_forwards() != Some(0) {
            return Destination::Health;
        }
        Destination::Backend(self.backend)
    }

    /// `OPTIONS *`, or the frontend's health path. Where there is none, everything is for the
    /// servers.
    fn asks_for_health(&self, request: Request<'_>) -> bool {
        // Nearly every request names a host, and goes on.
        let (false, Some(health_path)) =
            (request.head().names_authority(), self.health_path.as_deref())
        else {
            return false;
        };
        let method = request.method();
        match request.target_text().as_bytes() {
            b"*" => true,
            [b'/', ..] if matches!(method, Method::Get | Method::Head | Method::Options) => {
                let Target::Origin(path) = request.target() else { return false };
                path.split('?').next() == Some(health_path)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use relay::head::{Limits, RequestHead};

    use super::*;

    #[test]
    fn who_is_asked() {
        for (head, path, asked) in [
            ("OPTIONS * HTTP/1.0", Some("/"), true),
            ("OPTIONS / HTTP/1.0", Some("/"), true),
            ("OPTIONS / HTTP/1.0\r\nMax-Forwards: 1", Some("/"), true),
            ("OPTIONS / HTTP/1.0\r\nMax-Forwards: 0", Some("/"), false),
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
            let (bytes, mut parsed) = (format!("{head}\r\n\r\n"), RequestHead::new());
            parsed.parse(bytes.as_bytes(), &Limits::default()).expect("a head");
            let route = Route { health_path: path.map(str::to_owned), backend: 3 };
            let expected = if asked { Destination::Health } else { Destination::Backend(3) };
            assert_eq!(route.choose(parsed.view(bytes.as_bytes())), expected, "{head} {path:?}");
        }
    }
}
