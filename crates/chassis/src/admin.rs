//! Admin HTTP: `/livez`, `/readyz`, `/metrics`, `/version`. Plaintext and read-only, for probes and scrapers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    Failure, StopSignal,
    failure::Fail,
    process::{ADMIN_REMEDY, Process},
    supervise,
};

/// Connections at once; more wait in the backlog.
const CONNECTIONS: usize = 256;
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A scraper that takes longer is cut.
const CONNECTION_WITHIN: Duration = Duration::from_secs(300);

/// Binds the admin port and serves until the process closes.
pub(crate) fn serve(process: &Process, extra: Router) -> Result<SocketAddr, Failure> {
    let listener = process.bind("admin", process.options().admin_address(process.service()))?;
    let address = listener.local_addr().fail("read the admin port's address", ADMIN_REMEDY)?;
    let _runtime = process.runtime().enter();
    let listener = TcpListener::from_std(listener).fail("listen for admin HTTP", ADMIN_REMEDY)?;
    let router = routes(process.clone()).merge(extra);
    let closing = process.servers_closing();
    process.server(accept(listener, router, closing));
    Ok(address)
}

/// Accepts until `closing`; a panic costs the connection that was being accepted.
async fn accept(listener: TcpListener, router: Router, closing: StopSignal) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let stop = closing.clone();
    let accepting = || async {
        tokio::select! {
            () = stop.wait() => {}
            () = accept_each(&listener, &router, &room) => {}
        }
    };
    supervise::run("admin-accept", closing, accepting).await;
}

async fn accept_each(listener: &TcpListener, router: &Router, room: &Arc<Semaphore>) {
    loop {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { return };
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        #[cfg(test)]
        crate::fault::point("admin accept");
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
            // A connection that ends in an error concerns only its client.
            drop(tokio::time::timeout(CONNECTION_WITHIN, server.serve_connection(TokioIo::new(tcp), service)).await);
            drop(permit);
        });
    }
}

fn routes(process: Process) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(process)
}

async fn ready(State(process): State<Process>) -> (StatusCode, &'static str) {
    if process.stop().is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if process.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

async fn metrics(State(process): State<Process>) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], process.render_metrics())
}

async fn version(State(process): State<Process>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "service": process.service(),
        "name": process.name(),
        "id": process.id(),
        "version": crate::VERSION,
    }))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn a_panic_while_accepting_loses_that_connection_and_the_door_stays_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stop = StopSignal::default();
        let router = Router::new().route("/livez", get(|| async { "ok\n" }));
        let serving = tokio::spawn(accept(listener, router, stop.clone()));
        crate::fault::arm("admin accept");
        let mut lost = TcpStream::connect(address).await.expect("the backlog takes it");
        assert!(matches!(lost.read(&mut [0]).await, Ok(0) | Err(_)) && !crate::fault::is_armed());
        let mut client = TcpStream::connect(address).await.expect("a connection");
        client.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
        stop.raise();
        serving.await.expect("ends when it is told to");
    }
}
