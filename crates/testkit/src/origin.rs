//! An origin server that counts who arrived.
//!
//! Paths: `/bytes/N` (N bytes, not to be stored), `/cacheable/N` (N bytes, fresh for a minute),
//! `/delay/MS` (answers after that time), `/late/MS` (the same, fresh for a minute), `/echo` (the
//! request's body), `/file/…` (files of a directory, when it was given one). Anything else is a
//! short 200. A request's arrival is counted under its `x-test-id` field, which the load generator
//! makes unique.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::message::{Head, Reader};

#[derive(Debug, Default)]
struct Seen {
    ids: HashMap<String, u32>,
    requests: u64,
    by_via: HashMap<String, u64>,
    last: Option<Head>,
}

/// A running origin; dropping it stops it.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
    certificate: Option<String>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// Plain HTTP on a free loopback port.
    pub async fn start() -> Self {
        Self::serve(None, None).await
    }

    /// Plain HTTP on a free port of another address of this machine.
    pub async fn on(address: IpAddr) -> Self {
        Self::serve_on(address, None, None).await
    }

    /// Plain HTTP that also serves the files below `directory` under `/file/`.
    pub async fn with_files(directory: &Path) -> Self {
        Self::serve(Some(directory.to_owned()), None).await
    }

    /// The same over TLS with a certificate of its own for `localhost` and 127.0.0.1.
    ///
    /// # Panics
    /// When no certificate can be made.
    pub async fn with_tls(directory: &Path) -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate with its key");
        let mut origin =
            Self::serve(Some(directory.to_owned()), Some(TlsAcceptor::from(Arc::new(config))))
                .await;
        origin.certificate = Some(made.cert.pem());
        origin
    }

    async fn serve(directory: Option<PathBuf>, tls: Option<TlsAcceptor>) -> Self {
        Self::serve_on(Ipv4Addr::LOCALHOST.into(), directory, tls).await
    }

    async fn serve_on(
        address: IpAddr,
        directory: Option<PathBuf>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        let directory = Arc::new(directory);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, directory, tls) =
                    (Arc::clone(&shared), Arc::clone(&directory), tls.clone());
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    // What a client does to its connection is the client's business: only arrivals
                    // count here.
                    match tls {
                        None => drop(connection(stream, &shared, directory.as_deref()).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(connection(stream, &shared, directory.as_deref()).await);
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, task, certificate: None }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// An `http://` URL of one of its paths.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The certificate as PEM, of an origin with TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often a request with this `x-test-id` arrived.
    #[must_use]
    pub fn arrivals(&self, id: &str) -> u32 {
        self.seen().ids.get(id).copied().unwrap_or_default()
    }

    /// Requests that arrived more than once, with how often.
    #[must_use]
    pub fn repeated(&self) -> Vec<(String, u32)> {
        self.seen()
            .ids
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(id, count)| (id.clone(), *count))
            .collect()
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.seen().requests
    }

    /// How many requests came over a proxy whose name stands in `Via`.
    #[must_use]
    pub fn requests_via(&self, name: &str) -> u64 {
        let named = |via: &str| {
            via.split(',').any(|hop| {
                hop.split_whitespace()
                    .nth(1)
                    .is_some_and(|by| by == name || by.starts_with(&format!("{name}.")))
            })
        };
        self.seen().by_via.iter().filter(|(via, _)| named(via)).map(|(_, count)| count).sum()
    }

    /// The head of the request that arrived last.
    #[must_use]
    pub fn last(&self) -> Option<Head> {
        self.seen().last.clone()
    }
}

async fn connection<S>(
    stream: S,
    seen: &Mutex<Seen>,
    directory: Option<&Path>,
) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut reader = Reader::new(stream);
    while let Some(head) = reader.head().await? {
        note(seen, &head);
        if head.field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            reader.stream().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = reader.body(&head).await?;
        let answer = answer(&head, body, directory).await;
        reader.stream().write_all(&answer).await?;
        reader.stream().flush().await?;
        if head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return reader.stream().shutdown().await;
        }
    }
    Ok(())
}

fn note(seen: &Mutex<Seen>, head: &Head) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.requests += 1;
    if let Some(id) = head.field("x-test-id") {
        *seen.ids.entry(id.to_owned()).or_default() += 1;
    }
    // Each hop may have added a line of its own.
    let via: Vec<_> = head
        .fields
        .iter()
        .filter(|(name, _)| name == "via")
        .map(|(_, value)| value.as_str())
        .collect();
    if !via.is_empty() {
        *seen.by_via.entry(via.join(", ")).or_default() += 1;
    }
    seen.last = Some(head.clone());
}

async fn answer(head: &Head, body: Vec<u8>, directory: Option<&Path>) -> Vec<u8> {
    let (method, target) = head.request();
    let path = target
        .split_once("://")
        .map_or(target, |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]));
    let number =
        |prefix: &str| path.strip_prefix(prefix)?.split(['?', '/']).next()?.parse::<u64>().ok();
    let bytes = |count: u64| vec![b'x'; usize::try_from(count).unwrap_or_default()];
    let caching;
    let (status, caching, body) = if let Some(count) = number("/bytes/") {
        ("200 OK", "no-store", bytes(count))
    } else if let Some(seconds) = number("/fresh/") {
        caching = format!("max-age={seconds}");
        ("200 OK", caching.as_str(), bytes(100))
    } else if let Some(count) = number("/cacheable/") {
        ("200 OK", "max-age=60", bytes(count))
    } else if let Some(millis) = number("/delay/") {
        // The origin that is slow is the subject of the test here, not a wait of the test.
        tokio::time::sleep(Duration::from_millis(millis)).await;
        ("200 OK", "no-store", b"late\n".to_vec())
    } else if let Some(millis) = number("/late/") {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        ("200 OK", "max-age=60", b"late\n".to_vec())
    } else if path == "/echo" {
        ("200 OK", "no-store", body)
    } else if let (Some(file), Some(directory)) = (path.strip_prefix("/file/"), directory) {
        match read(directory, file).await {
            Some(content) => ("200 OK", "no-store", content),
            None => ("404 Not Found", "no-store", b"no such file\n".to_vec()),
        }
    } else {
        ("200 OK", "no-store", b"origin\n".to_vec())
    };
    let length = body.len();
    let kind = if path.ends_with('/') || path.ends_with(".html") {
        "text/html"
    } else {
        "application/octet-stream"
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: \
            {length}\r\nCache-Control: {caching}\r\n\r\n"
    )
    .into_bytes();
    if method != "HEAD" {
        answer.extend(body);
    }
    answer
}

async fn read(directory: &Path, file: &str) -> Option<Vec<u8>> {
    let path = if file.ends_with('/') { format!("{file}index.html") } else { file.to_owned() };
    let file = Path::new(&path);
    let inside = file
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    if inside { tokio::fs::read(directory.join(file)).await.ok() } else { None }
}
