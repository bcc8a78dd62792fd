//! The server with real sockets: what browsers, and those who are none, get.

mod https;
mod patience;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use chassis::{Clock, StopSignal};
use futures::future::BoxFuture;
use http::StatusCode;
use proto::registry::SetAdminStateRequest;
use testkit::client::{Answer, Connection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Cluster, Console, MOST_VIEWERS,
    listen::{self, Patience},
    router,
    tls::Certificate,
};
use crate::{
    auth::users::{self, Users},
    configuration::{FileDifference, Revision},
    explain::{Explanation, Question},
    gather::{Board, ask},
    options::Rules,
    sample,
    view::View,
};

const PASSWORD: &str = "correct horse";

/// A cluster that remembers what it is told.
#[derive(Default)]
struct Double {
    told: Mutex<Vec<String>>,
}

impl Cluster for Double {
    fn set_admin_state<'a>(
        &'a self,
        operator: &'a str,
        request: SetAdminStateRequest,
    ) -> BoxFuture<'a, Result<(), ask::Error>> {
        let told =
            format!("{operator}: {} {:?} {}", request.name, request.admin_state(), request.reason);
        self.told.lock().unwrap().push(told);
        Box::pin(async { Ok(()) })
    }

    fn revision<'a>(
        &'a self,
        id: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Vec<FileDifference>), ask::Error>> {
        Box::pin(async move {
            match id {
                "4f2a" => Ok((sample::view().configuration.revisions[0].clone(), Vec::new())),
                "down" => Err(ask::Error {
                    sentence: "the config-service cannot be reached".into(),
                    unknown: false,
                }),
                _ => Err(ask::Error { sentence: "no such revision".into(), unknown: true }),
            }
        })
    }

    fn explain<'a>(&'a self, _: &'a View, _: &'a Question) -> BoxFuture<'a, Explanation> {
        Box::pin(async { Explanation::default() })
    }
}

/// A console on a port of its own.
struct Served {
    address: SocketAddr,
    board: Board,
    double: Arc<Double>,
    scratch: tempfile::TempDir,
    closing: StopSignal,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.closing.raise();
    }
}

fn rules() -> Rules {
    Rules {
        tls: false,
        passwords: true,
        open: true,
        plain: false,
        hosts: Vec::new(),
        cookie: "shoal-console".into(),
    }
}

fn serve(rules: Rules) -> Served {
    serve_with(rules, None)
}

fn serve_with(rules: Rules, tls: Option<Certificate>) -> Served {
    serve_for(rules, tls, Patience::default())
}

fn serve_for(rules: Rules, tls: Option<Certificate>, patience: Patience) -> Served {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("users");
    users::set(&path, "ann", PASSWORD).unwrap();
    let (board, double, closing) =
        (Board::default(), Arc::new(Double::default()), StopSignal::default());
    board.publish(sample::view());
    let users = Users::open(Some(path)).unwrap();
    let cluster: Arc<dyn Cluster> = Arc::clone(&double) as _;
    let console =
        Console::new(board.clone(), cluster, users, rules, Clock::system(), closing.clone());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    drop(
        listen::serve(
            listener,
            tls,
            router(Arc::new(console), patience),
            closing.clone(),
            patience,
        )
        .unwrap(),
    );
    Served { address, board, double, scratch, closing }
}

impl Served {
    async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let host = self.address.to_string();
        let host =
            fields.iter().find(|(name, _)| *name == "host").map_or(host.as_str(), |(_, host)| host);
        let mut message =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        for (name, value) in fields.iter().filter(|(name, _)| *name != "host") {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            message.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            ));
        }
        let mut connection = Connection::open(self.address).await.unwrap();
        connection.send(format!("{message}\r\n{body}").as_bytes()).await.unwrap();
        connection.answer(method).await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// As our own script sends it.
    async fn post(&self, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let origin = format!("http://{}", self.address);
        let own = [("origin", origin.as_str()), ("x-shoal-console", "1")];
        self.ask("POST", path, &[&own, fields].concat(), body).await
    }

    async fn log_in(&self, password: &str) -> Answer {
        self.post("/login", &[], &format!(r#"{{"name":"ann","password":"{password}"}}"#)).await
    }

    /// The cookie and the token of a new session.
    async fn session(&self) -> (String, String) {
        let answer = self.log_in(PASSWORD).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        let cookie = answer.head.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let page = text(&self.ask("GET", "/", &[("cookie", &cookie)], "").await);
        let token = page
            .split("name=\"shoal-token\" content=\"")
            .nth(1)
            .expect("a token")
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        (cookie, token)
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn pages_and_what_is_none() {
    let served = serve(rules());
    for (method, path, status, said) in [
        ("GET", "/", 200, "proxy-node-1"),
        ("HEAD", "/", 200, ""),
        ("GET", "/instances/proxy-node-1", 200, "Operators want"),
        (
            "GET",
            "/instances/proxy-node-9",
            404,
            "There is no instance named &quot;proxy-node-9&quot;",
        ),
        ("GET", "/instances/%3Cscript%3E", 404, "&lt;script&gt;"),
        ("GET", "/instances/%FF", 400, ""),
        ("GET", "/revisions/4f2a", 200, "block a domain"),
        ("GET", "/revisions/none", 404, "There is no revision"),
        ("GET", "/revisions/down", 502, "the config-service cannot be reached"),
        ("GET", "/explain?url=example.com", 200, "is not an absolute URL"),
        (
            "GET",
            "/explain/answer?url=http%3A%2F%2Fa.test%2F%3Cb%3E",
            200,
            "http://a.test/&lt;b&gt;",
        ),
        ("GET", "/nowhere", 404, "There is no page /nowhere."),
        ("GET", "/assets/console.css", 404, "no such file"),
        ("GET", &crate::page::assets::style_path(), 200, "--page"),
        ("GET", &crate::page::assets::script_path(), 200, "EventSource"),
        ("GET", "/live?page=nothing", 400, "overview"),
        ("POST", "/", 405, "cannot be used with POST"),
        ("DELETE", "/instances/proxy-node-1", 405, "cannot be used with DELETE"),
        ("GET", "/logout", 405, "cannot be used with GET"),
    ] {
        let answer = served.ask(method, path, &[], "").await;
        assert_eq!(answer.status(), status, "{method} {path}: {}", text(&answer));
        assert!(text(&answer).contains(said), "{method} {path}: {}", text(&answer));
        let policy = answer.head.field("content-security-policy").unwrap_or_default();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{method} {path}: {policy}"
        );
        assert_eq!(answer.head.field("x-content-type-options"), Some("nosniff"));
    }
    let refused = served.ask("POST", "/", &[], "").await;
    assert_eq!(refused.head.field("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn names_and_pages_of_others_are_refused() {
    let served = serve(rules());
    let rebound = served.ask("GET", "/", &[("host", "evil.test")], "").await;
    assert_eq!(rebound.status(), StatusCode::MISDIRECTED_REQUEST.as_u16());
    let image = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "image"),
    ];
    assert_eq!(
        served.ask("GET", "/explain/answer?url=http://a.test/", &image, "").await.status(),
        403
    );
    assert_eq!(served.ask("GET", "/live?page=overview", &image, "").await.status(), 403);
}

#[tokio::test]
async fn only_people_of_the_file_change_something_and_only_from_our_page() {
    let served = serve(rules());
    let path = "/instances/proxy-node-1/admin-state";
    let drain = r#"{"state":"drain","reason":"new disk"}"#;
    let (cookie, token) = served.session().await;
    let origin = format!("http://{}", served.address);
    let (cookie, token) = (("cookie", cookie.as_str()), ("x-shoal-token", token.as_str()));
    let (own, origin) = (("x-shoal-console", "1"), ("origin", origin.as_str()));
    for (what, fields, status) in [
        ("nobody", vec![own, origin], 401),
        ("without the token", vec![own, origin, cookie], 403),
        ("with another token", vec![own, origin, cookie, ("x-shoal-token", "x")], 403),
        ("without an origin", vec![own, cookie, token], 403),
        ("from elsewhere", vec![own, ("origin", "http://evil.test"), cookie, token], 403),
        ("from a form", vec![origin, cookie, token], 403),
        ("another's cookie", vec![own, origin, ("cookie", "shoal-console=0000"), token], 401),
    ] {
        let answer = served.ask("POST", path, &fields, drain).await;
        assert_eq!(answer.status(), status, "{what}: {}", text(&answer));
    }
    assert!(served.double.told.lock().unwrap().is_empty());

    let answer = served.post(path, &[cookie, token], drain).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    assert_eq!(*served.double.told.lock().unwrap(), ["ann: proxy-node-1 Drain new disk"]);
    // The last one that serves clients is taken out by those alone who say that they mean it.
    let mut view = sample::view();
    view.instances.retain(|status| {
        !["proxy-node-2", "proxy-node-3"].contains(&status.instance.name.as_str())
    });
    served.board.publish(view);
    let answer = served.post(path, &[cookie, token], drain).await;
    assert_eq!(answer.status(), 409, "{}", text(&answer));
    assert!(text(&answer).contains("the last usable proxy-node"), "{}", text(&answer));
    assert_eq!(served.double.told.lock().unwrap().len(), 1);
    assert_eq!(
        served.post(path, &[cookie, token], r#"{"state":"drain","force":true}"#).await.status(),
        200
    );
    assert_eq!(
        served.post(path, &[cookie, token], r#"{"state":"ready"}"#).await.status(),
        200,
        "to enable is always well"
    );
    served.board.publish(sample::view());
    for (path, body, status) in [
        ("/instances/proxy-node-9/admin-state", drain, 404),
        ("/instances/registry-1/admin-state", drain, 404),
        (path, r#"{"state":"explode"}"#, 422),
        (path, "{", 400),
    ] {
        let answer = served.post(path, &[cookie, token], body).await;
        assert_eq!(answer.status(), status, "{path} {body}: {}", text(&answer));
        assert!(text(&answer).contains("problem"), "{}", text(&answer));
    }

    // Whoever is taken out of the file is out, and so is whoever logs out.
    std::fs::write(served.scratch.path().join("users"), "# nobody\n").unwrap();
    assert_eq!(served.post(path, &[cookie, token], drain).await.status(), 401);
    users::set(&served.scratch.path().join("users"), "ann", PASSWORD).unwrap();
    let (cookie, token) = served.session().await;
    let fields = [("cookie", cookie.as_str()), ("x-shoal-token", token.as_str())];
    let answer = served.post("/logout", &fields, "{}").await;
    assert!(
        answer.status() == 200 && answer.head.field("set-cookie").unwrap().contains("Max-Age=0")
    );
    assert_eq!(served.post(path, &fields, drain).await.status(), 401);
}

#[tokio::test]
async fn passwords() {
    let served = serve(rules());
    let right = served.log_in(PASSWORD).await;
    let cookie = right.head.field("set-cookie").unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Strict")
            && !cookie.contains("Secure"),
        "{cookie}"
    );
    let unknown = served.post("/login", &[], r#"{"name":"eve","password":"x"}"#).await;
    let wrong = served.log_in("wrong").await;
    assert_eq!((unknown.status(), text(&unknown)), (401, text(&wrong)), "who is known is not told");
    assert_eq!(served.post("/login", &[], "name=ann").await.status(), 400);
    let mut last = wrong;
    for _ in 0..6 {
        last = served.log_in("wrong").await;
    }
    assert_eq!(last.status(), 429, "{}", text(&last));
    assert!(
        last.head.field("retry-after").is_some_and(|seconds| seconds.parse::<u64>().unwrap() > 0)
    );
    assert_eq!(served.log_in(PASSWORD).await.status(), 429, "the right one has to wait too");
    assert_eq!(
        served.ask("POST", "/login", &[("x-shoal-console", "1")], "{}").await.status(),
        403,
        "without an origin"
    );
    let long = format!(r#"{{"name":"ann","password":"{}"}}"#, "x".repeat(17 << 10));
    assert_eq!(served.post("/login", &[], &long).await.status(), 413);

    let plain = serve(Rules { passwords: false, open: false, ..rules() });
    assert_eq!(plain.log_in(PASSWORD).await.status(), 403);
    assert!(text(&plain.get("/login").await).contains("Passwords are not taken here"));
}

#[tokio::test]
async fn guesses_at_once_are_not_more_than_guesses_one_by_one() {
    let served = serve(rules());
    let answers = futures::future::join_all((0..40).map(|_| served.log_in("wrong"))).await;
    let of = |status| answers.iter().filter(|answer| answer.status() == status).count();
    // Five are free, and two are hashed at a time; a slow machine may be past the first waits of
    // some seconds.
    assert!(of(401) >= 5 && of(401) <= 12, "{} passwords were compared", of(401));
}

#[tokio::test]
async fn nobody_has_a_password_yet() {
    let served = serve(rules());
    let users = served.scratch.path().join("users");
    assert!(text(&served.get("/login").await).contains("id=\"login\""));
    std::fs::remove_file(&users).unwrap();
    assert!(text(&served.get("/login").await).contains("Nobody has a password yet"));
    assert_eq!(served.log_in(PASSWORD).await.status(), 401);
    users::set(&users, "ann", PASSWORD).unwrap();
    served.session().await;
}

#[tokio::test]
async fn without_loopback_looking_takes_a_password() {
    let served = serve(Rules { open: false, ..rules() });
    let page = served.get("/").await;
    assert_eq!((page.status(), page.head.field("location")), (303, Some("/login")));
    for (path, status) in [
        ("/live?page=overview", 401),
        ("/login", 200),
        ("/favicon.svg", 200),
        (&crate::page::assets::script_path(), 200),
    ] {
        assert_eq!(served.get(path).await.status(), status, "{path}");
    }
    let (cookie, _) = served.session().await;
    assert_eq!(served.ask("GET", "/", &[("cookie", &cookie)], "").await.status(), 200);
    let mut stream = Stream::open(served.address, "overview", &cookie).await;
    stream.until("event: frame").await;
    std::fs::write(served.scratch.path().join("users"), "# nobody\n").unwrap();
    served.board.publish(sample::cluster(4));
    stream.until_closed().await;
}

/// A browser that follows a page.
struct Stream {
    tcp: TcpStream,
    seen: String,
}

impl Stream {
    async fn open(address: SocketAddr, page: &str, cookie: &str) -> Self {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /live?page={page} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        Self { tcp, seen: String::new() }
    }

    async fn read(&mut self) -> usize {
        let mut piece = [0; 16 << 10];
        let read = tokio::time::timeout(testkit::wait::PATIENCE, self.tcp.read(&mut piece))
            .await
            .expect("something to read");
        let count = read.unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        count
    }

    /// What came until (and with) this text, which is then forgotten.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(place) = self.seen.find(text) {
                return self.seen.drain(..place + text.len()).collect();
            }
            assert!(self.read().await > 0, "the stream ended without {text:?}: {}", self.seen);
        }
    }

    async fn until_closed(&mut self) {
        // Signs of life would keep this going for ever.
        let closed = async { while !self.seen.ends_with("0\r\n\r\n") && self.read().await > 0 {} };
        tokio::time::timeout(testkit::wait::PATIENCE, closed).await.expect("the end of the stream");
    }
}

#[tokio::test]
async fn the_stream_sends_everything_and_then_what_changed() {
    let served = serve(rules());
    let mut stream = Stream::open(served.address, "overview", "").await;
    let head = stream.until("event: frame").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    let first = stream.until("\n\n").await;
    for region in [
        "banner",
        "tiles",
        "picture",
        "servers",
        "instances",
        "caches",
        "configuration",
        "checks",
        "events",
    ] {
        assert!(first.contains(&format!("\"{region}\":")), "{region} is missing");
    }
    let mut view = sample::view();
    let status =
        view.instances.iter_mut().find(|status| status.instance.name == "proxy-node-2").unwrap();
    Arc::make_mut(status).state = cluster::State::Draining;
    served.board.publish(view);
    stream.until("event: frame").await;
    let second = stream.until("\n\n").await;
    assert!(
        second.contains("\"instances\":")
            && second.contains("\"picture\":")
            && second.contains("draining"),
        "{second}"
    );
    for region in ["servers", "caches", "configuration", "checks", "events", "banner"] {
        assert!(!second.contains(&format!("\"{region}\":")), "{region} did not change");
    }
    // The end of the process ends the stream, and not in an error.
    served.closing.raise();
    stream.until_closed().await;
}

#[tokio::test]
async fn a_slow_reader_gets_the_newest_and_nobody_waits_for_it() {
    let served = serve(rules());
    let mut slow = Stream::open(served.address, "overview", "").await;
    slow.until("event: frame").await;
    let mut quick = Stream::open(served.address, "overview", "").await;
    // Far more than fits into the socket of somebody who does not read.
    for round in 0..400 {
        served.board.publish(sample::cluster(20 + round % 40));
        quick.until("event: frame").await;
    }
    served.board.publish(sample::cluster(77));
    quick.until("77 of 77").await;
    slow.until("77 of 77").await;
}

#[tokio::test]
async fn how_many_follow_is_bounded() {
    let served = serve(rules());
    let mut streams = Vec::new();
    for _ in 0..MOST_VIEWERS {
        let mut stream = Stream::open(served.address, "instance/proxy-node-1", "").await;
        stream.until("event: frame").await;
        streams.push(stream);
    }
    let refused = served.get("/live?page=overview").await;
    assert_eq!(refused.status(), 503, "{}", text(&refused));
    assert!(refused.head.field("retry-after").is_some());
    assert_eq!(served.get("/").await.status(), 200, "pages are still shown");
    streams.pop();
    served.board.publish(sample::cluster(4));
    testkit::wait::until("one more may follow", || async {
        let mut stream = Stream::open(served.address, "overview", "").await;
        stream.read().await;
        stream.seen.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_instance_has_nothing_to_follow_and_a_gone_one_ends_quietly() {
    let served = serve(rules());
    let mut stream = Stream::open(served.address, "instance/proxy-node-9", "").await;
    stream.until("event: frame").await;
    assert!(stream.until("\n\n").await.contains("\"regions\":{}"));
}
