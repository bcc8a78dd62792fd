//! Admin HTTP: `/livez`, `/readyz`, `/metrics`, `/version`. Plaintext and read-only, for probes and scrapers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    Failure,
    failure::Fail,
    process::{ADMIN_REMEDY, Process},
    vitals,
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
    process.server(async move {
        tokio::select! {
            () = closing.wait() => {}
            () = accept(listener, router) => {}
        }
    });
    Ok(address)
}

async fn accept(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
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
    ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], process.metrics().render() + &vitals::render(&process))
}

async fn version(State(process): State<Process>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "service": process.service(),
        "name": process.name(),
        "id": process.id(),
        "version": crate::VERSION,
    }))
}
