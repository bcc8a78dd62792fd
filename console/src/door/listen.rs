//! Accepts connections within bounds: their number, the handshake, the head of a request, and how long somebody may not read.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Extension, Router};
use chassis::{Fail, Failure, StopSignal};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{Instant, Sleep, timeout},
};

use super::tls::Certificate;

/// Connections at once; more wait in the backlog.
const CONNECTIONS: usize = 256;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// Somebody who reads nothing for so long, while there is something to read, is dropped.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// Serves until `closing`, then finishes what is under way.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(
    listener: std::net::TcpListener,
    tls: Option<Certificate>,
    router: Router,
    closing: StopSignal,
) -> Result<JoinHandle<()>, Failure> {
    let listener = TcpListener::from_std(listener).fail("listen for browsers", "check --console and the limits of this process")?;
    Ok(tokio::spawn(accept(listener, tls, router, closing)))
}

async fn accept(listener: TcpListener, tls: Option<Certificate>, router: Router, closing: StopSignal) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = closing.wait() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a browser's connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let (tls, router, closing) = (tls.clone(), router.clone().layer(Extension(PeerAddress(address))), closing.clone());
        connections.spawn(async move {
            // What ends a connection in an error concerns only its browser.
            if let Err(error) = greet(tcp, tls, router, closing).await {
                tracing::debug!(%address, "a browser's connection ended: {error}");
            }
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn greet(tcp: TcpStream, tls: Option<Certificate>, router: Router, closing: StopSignal) -> Ended {
    tcp.set_nodelay(true)?;
    match tls {
        None => talk(tcp, router, closing).await,
        Some(certificate) => talk(timeout(HANDSHAKE_WITHIN, certificate.acceptor().accept(tcp)).await??, router, closing).await,
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, closing: StopSignal) -> Ended {
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(32 << 10);
    let connection = server.serve_connection(TokioIo::new(Impatient::new(stream, READ_WITHIN)), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = closing.wait() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// A stream whose writes have to get on.
struct Impatient<S> {
    stream: S,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    const fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    fn got_on<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let until = Instant::now() + self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        waiting.as_mut().poll(context).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read what it asked for")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.got_on(result, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(context);
        this.got_on(result, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_shutdown(context);
        this.got_on(result, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn who_does_not_read_is_dropped_and_who_reads_is_not() {
        let (ours, theirs) = tokio::io::duplex(16);
        let mut stream = Impatient::new(ours, Duration::from_millis(20));
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        let (ours, mut theirs) = tokio::io::duplex(16);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await });
        let mut stream = Impatient::new(ours, READ_WITHIN);
        stream.write_all(&[0; 64]).await.unwrap();
        assert!(stream.waiting.is_none());
        drop(stream);
        assert_eq!(reading.await.unwrap().unwrap(), 64);
    }
}
