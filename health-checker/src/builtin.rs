//! The built-in target: a tiny origin that the checker itself serves, so that a probe through a
//! proxy needs nobody else.
//!
//! It is announced as the endpoint `target`, which proxies let nobody reach but the checker itself,
//! who signs what it asks ([`chassis::probe`]). `GET /shoal-check/NONCE` answers 200 with the
//! nonce, which a cache cannot know; everything else is a 404.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use chassis::places::{Each, Places};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, body::Incoming, header,
    server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, time::timeout};

/// Path of the target; the nonce follows.
pub const PATH: &str = "/shoal-check/";
/// Connections at once, and of one address: the newest are served, in the place of those that do
/// nothing. A probe is over in a moment.
const CONNECTIONS: usize = 256;
const OF_ONE_ADDRESS: usize = 64;
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);

/// Serves the target until the process ends.
pub async fn serve(listener: Arc<TcpListener>) {
    let places = Places::new(CONNECTIONS, Each::Most(OF_ONE_ADDRESS));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the built-in target could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = places.enter(peer.ip()) else { continue };
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            // Whoever asks is being probed: how its connection ends is found out on the other side.
            tokio::select! {
                _ended = timeout(CONNECTION_DEADLINE, connection) => {}
                () = place.displaced() => {}
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let nonce = request
        .uri()
        .path()
        .strip_prefix(PATH)
        .filter(|_| matches!(*request.method(), Method::GET | Method::HEAD));
    let (status, body) = match nonce {
        Some(nonce) => (StatusCode::OK, nonce.to_owned()),
        None => (
            StatusCode::NOT_FOUND,
            "This is the built-in target of a Shoal health checker.\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The URL of the target for one probe.
#[must_use]
pub fn url(address: SocketAddr, nonce: &str) -> String {
    format!("http://{address}{PATH}{nonce}")
}
