//! Clients that speak HTTP/2, and servers that answer as a test says.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::support::Cluster;

/// Nodes behind a frontend that takes HTTP/2 without TLS.
pub async fn cluster(nodes: usize, extra: Value) -> Cluster {
    Cluster::with(nodes, with_http2(extra)).await
}

fn with_http2(mut extra: Value) -> Value {
    let mut http2 = json!({
        "enabled": true, "prior_knowledge": true, "max_concurrent_streams": 100
    });
    for (key, value) in extra["frontend"]["http2"].as_object().into_iter().flatten() {
        http2[key] = value.clone();
    }
    extra["frontend"]["http2"] = http2;
    extra
}

/// The same in front of one server by address.
pub async fn in_front_of(server: SocketAddr, mut extra: Value) -> Cluster {
    extra["discover"] = Value::Null;
    extra["servers"] = json!([{
        "name": "s", "host": server.ip(), "port": server.port(), "weight": 1, "backup": false
    }]);
    extra["check"] = json!({
        "enabled": false, "inter": "1s", "timeout": "2s", "rise": 2, "fall": 3
    });
    cluster(0, extra).await
}

/// A server that reads a request's head and then does what `answer` says: it is given the head and
/// the connection.
pub async fn server<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(String, TcpStream) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|it| it == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                answer(String::from_utf8(head).expect("text"), stream).await;
            });
        }
    });
    address
}

/// A server that answers everything with these bytes, and tells what it was sent.
pub async fn scripted(bytes: &'static [u8]) -> (SocketAddr, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel(64);
    let address = server(move |head, mut stream| {
        let tell = tell.clone();
        async move {
            drop(tell.send(head).await);
            drop(stream.write_all(bytes).await);
            // Until the balancer has had enough of it.
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            drop(tell.send(String::from_utf8_lossy(&rest).into_owned()).await);
        }
    })
    .await;
    (address, told)
}

/// A client over a connection of its own.
pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    speak(TcpStream::connect(address).await.expect("the frontend")).await
}

/// A client over this one.
pub async fn speak(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(io).await.expect("a connection");
    tokio::spawn(async move { drop(connection.await) });
    client.ready().await.expect("a connection")
}

pub fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

/// A request without content; its answer.
pub async fn ask(
    client: &SendRequest<Bytes>,
    request: Request<()>,
) -> Result<Response<RecvStream>, h2::Error> {
    let mut client = client.clone().ready().await?;
    let (answer, _) = client.send_request(request, true)?;
    answer.await
}

/// All of an answer's content, and its trailers.
pub async fn content(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        all.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok((all, body.trailers().await?))
}
