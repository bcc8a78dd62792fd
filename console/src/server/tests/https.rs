//! With a certificate of the page's own, and beside it.

use std::{io, path::PathBuf, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    options: crate::Options,
}

/// The page's certificate and key, in files.
struct Papers {
    scratch: tempfile::TempDir,
    options: crate::Options,
}

type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

fn made() -> Made {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()
}

impl Papers {
    fn of(made: &Made) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let [cert, key] = ["cert.pem", "key.pem"].map(|file| scratch.path().join(file));
        let arguments =
            ["console", "--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        let options = <Line as clap::Parser>::parse_from(arguments).options;
        let papers = Self { scratch, options };
        papers.write(made);
        papers
    }

    fn write(&self, made: &Made) {
        self.replace("key.pem", &made.signing_key.serialize_pem());
        self.replace("cert.pem", &made.cert.pem());
    }

    /// As `shoal pki` does it.
    fn replace(&self, file: &str, content: &str) {
        chassis::data_dir::write_atomically(&self.path(file), content.as_bytes()).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.scratch.path().join(file)
    }

    fn read(&self) -> Certificate {
        Certificate::read(&self.options).unwrap().unwrap()
    }
}

fn https_rules() -> Rules {
    Rules { tls: true, cookie: "__Host-c".into(), hosts: vec!["console.test".into()], ..rules() }
}

/// A browser that trusts one certificate.
async fn connect(address: SocketAddr, trusted: &Made) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(chassis::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::from(address.ip()), tcp).await
}

/// One exchange, in lower case.
async fn exchange(address: SocketAddr, trusted: &Made, head: &str, body: &str) -> String {
    let mut stream = connect(address, trusted).await.unwrap();
    let message =
        format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(message.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Some servers close without a word; what came before counts.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).to_lowercase()
}

#[tokio::test]
async fn with_a_certificate_it_speaks_https() {
    let own = made();
    let papers = Papers::of(&own);
    let served = serve_with(https_rules(), Some(papers.read()));
    let body = format!(r#"{{"name":"ann","password":"{PASSWORD}"}}"#);
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {0}\r\norigin: https://{0}\r\nx-shoal-console: \
         1\r\ncontent-type: application/json\r\n",
        served.address
    );
    let answer = exchange(served.address, &own, &head, &body).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("set-cookie: __host-c=") && answer.contains("; secure"), "{answer}");
    assert!(
        !answer.contains("strict-transport-security"),
        "an address may have other ports that speak http: {answer}"
    );
    let named =
        exchange(served.address, &own, "GET / HTTP/1.1\r\nhost: console.test\r\n", "").await;
    assert!(
        named.starts_with("http/1.1 200") && named.contains("strict-transport-security"),
        "{named}"
    );
}

#[test]
fn files_that_are_none_are_refused() {
    let own = made();
    let papers = Papers::of(&own);
    for (what, file, content) in [
        ("no key", "key.pem", "no key".to_owned()),
        ("another's key", "key.pem", made().signing_key.serialize_pem()),
        ("no certificate", "cert.pem", String::new()),
    ] {
        papers.write(&own);
        papers.read();
        papers.replace(file, &content);
        let refused = Certificate::read(&papers.options)
            .err()
            .unwrap_or_else(|| panic!("{what} is taken"))
            .to_string();
        assert!(refused.contains("cert.pem") && refused.contains("--tls-key"), "{what}: {refused}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let (first, other, last) = (made(), made(), made());
    let papers = Papers::of(&first);
    let certificate = papers.read();
    let served = serve_with(https_rules(), Some(certificate.clone()));
    let mut known = certificate.stamp();
    connect(served.address, &first).await.unwrap();

    // A certificate whose key is not there (yet): the one before stays.
    papers.replace("cert.pem", &other.cert.pem());
    certificate.look(&mut known).await;
    connect(served.address, &first).await.expect("the one before");
    assert!(connect(served.address, &other).await.is_err());

    papers.write(&last);
    certificate.look(&mut known).await;
    connect(served.address, &last).await.expect("the new one");
    assert!(connect(served.address, &first).await.is_err(), "the one before is gone");
    certificate.look(&mut known).await;
    connect(served.address, &last).await.expect("nothing has changed since");
}

#[tokio::test]
async fn files_are_followed_while_it_serves() {
    let (first, last) = (made(), made());
    let papers = Papers::of(&first);
    let certificate = papers.read();
    let served = serve_with(https_rules(), Some(certificate.clone()));
    let following = tokio::spawn(certificate.follow(Duration::from_millis(5)));
    connect(served.address, &first).await.unwrap();
    papers.write(&last);
    testkit::wait::until("the new certificate", || async {
        connect(served.address, &last).await.ok()
    })
    .await;
    following.abort();
}

#[tokio::test]
async fn plain_http_beside_https_leads_there() {
    let served = serve_with(https_rules(), Some(Papers::of(&made()).read()));
    let there = |path: &str| format!("https://{}{path}", served.address);
    for path in ["/", "/login", "/explain?url=http%3A%2F%2Fa.test%2F", "/live?page=overview"] {
        let answer = served.get(path).await;
        assert_eq!(
            (answer.status(), answer.head.field("location")),
            (307, Some(there(path).as_str())),
            "{path}"
        );
    }
    let answer = served.log_in(PASSWORD).await;
    assert!(
        answer.status() == 403 && text(&answer).contains(&there("/login")),
        "{}",
        text(&answer)
    );
    assert!(answer.head.field("set-cookie").is_none());
    let elsewhere = served.ask("GET", "/", &[("host", "evil.test")], "").await;
    assert_eq!(
        (elsewhere.status(), elsewhere.head.field("location")),
        (421, None),
        "nobody is sent to another's host"
    );
}

#[tokio::test]
async fn plain_http_may_look_where_that_was_said_and_nothing_more() {
    let own = made();
    let served = serve_with(Rules { plain: true, ..https_rules() }, Some(Papers::of(&own).read()));
    let page = served.get("/").await;
    assert!(
        page.status() == 200
            && text(&page).contains("proxy-node-1")
            && text(&page).contains("href=\"/login\"")
    );
    let mut stream = Stream::open(served.address, "overview", "").await;
    stream.until("event: frame").await;
    assert_eq!(served.get("/login").await.status(), 307, "the way to log in is encrypted");
    assert_eq!(served.log_in(PASSWORD).await.status(), 403);

    // A session of https is worth nothing in the clear, where others may have read it.
    let body = format!(r#"{{"name":"ann","password":"{PASSWORD}"}}"#);
    let head = |path: &str| {
        let own = format!(
            "host: {0}\r\norigin: https://{0}\r\nx-shoal-console: 1\r\ncontent-type: \
             application/json\r\n",
            served.address
        );
        format!("POST {path} HTTP/1.1\r\n{own}")
    };
    let answer = exchange(served.address, &own, &head("/login"), &body).await;
    let cookie = answer
        .split("set-cookie: __host-c=")
        .nth(1)
        .expect("a cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let cookie = format!("__Host-c={cookie}");
    let page = exchange(
        served.address,
        &own,
        &format!("GET / HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\n", served.address),
        "",
    )
    .await;
    let token = page
        .split("name=\"shoal-token\" content=\"")
        .nth(1)
        .expect("a token")
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    assert!(
        !text(&served.ask("GET", "/", &[("cookie", &cookie)], "").await).contains("shoal-token")
    );
    let path = "/instances/proxy-node-1/admin-state";
    let (fields, drain) =
        ([("cookie", cookie.as_str()), ("x-shoal-token", token.as_str())], r#"{"state":"drain"}"#);
    assert_eq!(served.post(path, &fields, drain).await.status(), 403);
    assert!(served.double.told.lock().unwrap().is_empty());
    let session = format!("{}cookie: {cookie}\r\nx-shoal-token: {token}\r\n", head(path));
    let answer = exchange(served.address, &own, &session, drain).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");

    // Where looking takes a password, it takes https as well.
    let closed = serve_with(
        Rules { plain: true, open: false, ..https_rules() },
        Some(Papers::of(&own).read()),
    );
    assert_eq!(closed.get("/").await.status(), 307);
}
