//! Accepts connections within bounds: their number, the handshake, the head of a request, and how
//! long somebody may not read.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Extension, Router};
use chassis::{
    Error, ErrorContext, StopSignal,
    places::{Each, Places, counting},
    supervise,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, Sleep, timeout},
};

use tokio_util::task::TaskTracker;

use super::tls::Certificate;

/// Connections at once, and of one address, which may be a proxy with many browsers behind it: the
/// newest are served, in the place of those that idle.
const CONNECTIONS: usize = 256;
const OF_ONE_ADDRESS: usize = 192;
/// How long what is under way may take once the console closes.
const FINISH_WITHIN: Duration = Duration::from_secs(60);
/// After a failure to accept, such as a lack of descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// How long somebody may keep a place while nothing comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the connection to the end of the TLS handshake, each half.
    pub handshake: Duration,
    /// Until the whole head of a request has come; an idle connection waits as long for the next
    /// one.
    pub head: Duration,
    /// Until the whole body has.
    pub body: Duration,
    /// Without reading anything, while there is something to read.
    pub reading: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [handshake, head, body, reading] = [5, 15, 10, 20].map(Duration::from_secs);
        Self { handshake, head, body, reading }
    }
}

/// Where a request comes from, and how.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// It came over TLS.
    pub encrypted: bool,
}

/// Serves until `closing`, then finishes what is under way.
///
/// # Errors
/// The listener cannot be used.
pub fn serve(
    listener: std::net::TcpListener,
    tls: Option<Certificate>,
    router: Router,
    closing: StopSignal,
    patience: Patience,
) -> Result<JoinHandle<()>, Error> {
    let listener = TcpListener::from_std(listener)
        .context("listen for browsers", "check --console and the limits of this process")?;
    let places = Places::new(CONNECTIONS, Each::Most(OF_ONE_ADDRESS));
    Ok(tokio::spawn(accept(Listener {
        socket: listener,
        places,
        open: TaskTracker::new(),
        greeter: Greeter { tls, router, closing, patience },
    })))
}

async fn accept(listener: Listener) {
    let (open, closing) = (listener.open.clone(), listener.greeter.closing.clone());
    let accepting = || async {
        tokio::select! {
            () = closing.wait() => {}
            () = listener.accept_each() => {}
        }
    };
    supervise::run("console-accept", closing.clone(), accepting).await;
    // Whoever comes now is refused, and whoever is here is finished.
    drop(listener);
    open.close();
    drop(timeout(FINISH_WITHIN, open.wait()).await);
}

/// What the accept loop has, and keeps when it is started again.
struct Listener {
    socket: TcpListener,
    places: Places,
    open: TaskTracker,
    greeter: Greeter,
}

impl Listener {
    async fn accept_each(&self) {
        loop {
            let (tcp, address) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("cannot accept a browser's connection: {error}");
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            #[cfg(test)]
            tests::fault();
            // Everything of its address is busy: it may come again.
            let Some(place) = self.places.enter(address.ip()) else { continue };
            let mut greeter = self.greeter.clone();
            greeter.router = counting(greeter.router, place.doing());
            self.open.spawn(supervise::once("console-connection", async move {
                let ended = tokio::select! {
                    ended = greeter.greet(tcp, address) => ended,
                    () = place.displaced() => Ok(()),
                };
                // What ends a connection in an error concerns only its browser.
                if let Err(error) = ended {
                    tracing::debug!(%address, "a browser's connection ended: {error}");
                }
            }));
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What every connection needs.
#[derive(Clone)]
struct Greeter {
    tls: Option<Certificate>,
    router: Router,
    closing: StopSignal,
    patience: Patience,
}

impl Greeter {
    async fn greet(self, tcp: TcpStream, address: SocketAddr) -> Ended {
        tcp.set_nodelay(true)?;
        let within = self.patience.handshake;
        match self.tls.clone() {
            Some(certificate) if timeout(within, begins_tls(&tcp)).await?? => {
                let stream = timeout(within, certificate.acceptor().accept(tcp)).await??;
                self.talk(stream, Peer { address, encrypted: true }).await
            }
            // Beside https, what plain http gets is the gate's business.
            _ => self.talk(tcp, Peer { address, encrypted: false }).await,
        }
    }

    async fn talk(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
    ) -> Ended {
        let mut server = hyper::server::conn::http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience.head)
            .max_buf_size(32 << 10);
        let stream = TokioIo::new(Impatient::new(stream, self.patience.reading));
        let connection = server
            .serve_connection(stream, TowerToHyperService::new(self.router.layer(Extension(peer))));
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = self.closing.wait() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }
}

/// A TLS connection begins with a handshake record, type 22 (RFC 8446 section 5.1), which begins no
/// HTTP request.
async fn begins_tls(tcp: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(tcp.peek(&mut first).await? > 0 && first == [22])
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

    fn got_on<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let until = Instant::now() + self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        waiting.as_mut().poll(context).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read what it asked for"))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
pub(super) mod tests {
    use std::cell::Cell;

    use tokio::io::AsyncWriteExt;

    use super::*;

    thread_local! {
        static ARMED: Cell<bool> = const { Cell::new(false) };
    }

    /// The next accepted connection of this thread makes the loop panic.
    pub fn arm() {
        ARMED.set(true);
    }

    /// Whether it has not yet.
    pub fn is_armed() -> bool {
        ARMED.get()
    }

    pub(super) fn fault() {
        assert!(!ARMED.replace(false), "accepting panics (expected by this test)");
    }

    #[tokio::test]
    async fn who_does_not_read_is_dropped_and_who_reads_is_not() {
        let (ours, theirs) = tokio::io::duplex(16);
        let mut stream = Impatient::new(ours, Duration::from_millis(20));
        let given_up = timeout(testkit::wait::PATIENCE, stream.write_all(&[0; 64])).await;
        let error = given_up.expect("it is given up").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        let (ours, mut theirs) = tokio::io::duplex(16);
        let reading =
            tokio::spawn(async move { tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await });
        let mut stream = Impatient::new(ours, Patience::default().reading);
        stream.write_all(&[0; 64]).await.unwrap();
        assert!(stream.waiting.is_none());
        drop(stream);
        assert_eq!(reading.await.unwrap().unwrap(), 64);
    }
}
