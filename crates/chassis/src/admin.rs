//! Admin HTTP: `/livez`, `/readyz`, `/metrics`, `/version`. Plaintext and read-only, for probes and
//! scrapers.

use std::time::Duration;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle};

use crate::{
    error::{Error, ErrorContext},
    exposition::Exposition,
    identity::ProcessIdentity,
    lifecycle::StopSignal,
    places::{Each, Places, counting},
    ports::ADMIN_REMEDY,
    status::StatusHandle,
    supervise,
};

/// Connections at once, and of one address: the newest are served, in the place of those that idle.
const CONNECTIONS: usize = 256;
const OF_ONE_ADDRESS: usize = 64;
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A scraper that takes longer is cut.
const CONNECTION_WITHIN: Duration = Duration::from_secs(300);

/// What the pages tell of.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) identity: ProcessIdentity,
    pub(crate) status: StatusHandle,
    pub(crate) stop: StopSignal,
    pub(crate) exposition: Exposition,
}

/// Serves `pages` and `extra` until `closing`.
pub(crate) fn serve(
    listener: std::net::TcpListener,
    pages: Pages,
    extra: Router,
    runtime: &Handle,
    closing: StopSignal,
) -> Result<JoinHandle<()>, Error> {
    let _runtime = runtime.enter();
    let listener =
        TcpListener::from_std(listener).context("listen for admin HTTP", ADMIN_REMEDY)?;
    Ok(runtime.spawn(accept(listener, routes(pages).merge(extra), closing)))
}

/// Accepts until `closing`; a panic costs the connection that was being accepted.
async fn accept(listener: TcpListener, router: Router, closing: StopSignal) {
    let places = Places::new(CONNECTIONS, Each::Most(OF_ONE_ADDRESS));
    let stop = closing.clone();
    let accepting = || async {
        tokio::select! {
            () = stop.wait() => {}
            () = accept_each(&listener, &router, &places) => {}
        }
    };
    supervise::run("admin-accept", closing, accepting).await;
}

async fn accept_each(listener: &TcpListener, router: &Router, places: &Places) {
    loop {
        let Ok((tcp, address)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        #[cfg(test)]
        crate::fault::point("admin accept");
        // Everything of its address is busy: it may come again.
        let Some(place) = places.enter(address.ip()) else { continue };
        let service = TowerToHyperService::new(counting(router.clone(), place.doing()));
        tokio::spawn(async move {
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
            // A connection that ends in an error concerns only its client.
            let serving = tokio::time::timeout(
                CONNECTION_WITHIN,
                server.serve_connection(TokioIo::new(tcp), service),
            );
            tokio::select! {
                ended = serving => drop(ended),
                () = place.displaced() => {}
            }
        });
    }
}

fn routes(pages: Pages) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(pages)
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    if pages.stop.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if pages.status.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

async fn metrics(State(pages): State<Pages>) -> ([(http::HeaderName, &'static str); 1], String) {
    (
        [(http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        pages.exposition.render(),
    )
}

async fn version(State(pages): State<Pages>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "service": pages.identity.service(),
        "name": pages.identity.name(),
        "id": pages.identity.id(),
        "version": crate::version::VERSION,
    }))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn asks(client: &mut TcpStream, close: bool) -> std::io::Result<String> {
        let connection = if close { "close" } else { "keep-alive" };
        client
            .write_all(
                format!("GET /livez HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n")
                    .as_bytes(),
            )
            .await?;
        let mut answer = [0; 512];
        let n = client.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..n]).into_owned())
    }

    #[tokio::test]
    async fn connections_that_are_kept_do_not_keep_a_probe_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stop = StopSignal::default();
        let serving = tokio::spawn(accept(
            listener,
            Router::new().route("/livez", get(|| async { "ok\n" })),
            stop.clone(),
        ));
        let mut kept = Vec::new();
        for number in 0..2 * CONNECTIONS {
            let mut client = TcpStream::connect(address).await.expect("a connection");
            // Some have asked, some say nothing, some half of it.
            match number % 3 {
                0 => assert!(asks(&mut client, false).await.expect("an answer").contains("200")),
                1 => client.write_all(b"GET /li").await.expect("sent"),
                _ => {}
            }
            kept.push(client);
        }
        let mut probe = TcpStream::connect(address).await.expect("a connection");
        assert!(asks(&mut probe, true).await.expect("an answer").starts_with("HTTP/1.1 200 "));
        stop.raise();
        serving.await.expect("ends when it is told to");
    }

    #[tokio::test]
    async fn a_panic_while_accepting_loses_that_connection_and_the_port_stays_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stop = StopSignal::default();
        let router = Router::new().route("/livez", get(|| async { "ok\n" }));
        let serving = tokio::spawn(accept(listener, router, stop.clone()));
        crate::fault::arm("admin accept");
        let mut lost = TcpStream::connect(address).await.expect("the backlog takes it");
        assert!(matches!(lost.read(&mut [0]).await, Ok(0) | Err(_)) && !crate::fault::is_armed());
        let mut client = TcpStream::connect(address).await.expect("a connection");
        client
            .write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
        stop.raise();
        serving.await.expect("ends when it is told to");
    }
}
