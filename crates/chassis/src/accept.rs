//! The listener of gRPC and of what else certificates open: accepts connections, shakes hands
//! within a deadline, and keeps their number bounded.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tonic::transport::server::Connected;

use crate::{
    connect::Transport,
    lifecycle::StopSignal,
    metrics, pki,
    places::{Busy, Each, Place, Places},
    role::{Identity, Peer, Role},
    stream::Stream,
    supervise,
};

/// Connections at once, those in their handshake included, where descriptors allow them: ten
/// thousand instances hold two each.
const CONNECTIONS: usize = 32_768;
/// Where nobody says how many descriptors there may be.
const USUAL_DESCRIPTORS: u64 = 1024;
/// Connections of one address, or with one certificate, however little is left for others.
const OF_ONE: usize = 256;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// After an accept that failed for want of file descriptors or memory.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// An accepted connection whose peer is known.
#[derive(Debug)]
pub struct Accepted {
    stream: Stream,
    peer: Peer,
    /// Counted among those of gRPC.
    counted: bool,
    /// Whoever has shaken hands is not displaced.
    _place: (Place, Busy),
}

impl Accepted {
    fn new(stream: Stream, peer: Peer, place: Place, counted: bool) -> Self {
        if counted {
            ::metrics::gauge!(metrics::GRPC_CONNECTIONS).increment(1.0);
        }
        let busy = place.busy();
        Self { stream, peer, counted, _place: (place, busy) }
    }

    /// Who is at the other end.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if self.counted {
            ::metrics::gauge!(metrics::GRPC_CONNECTIONS).decrement(1.0);
        }
    }
}

/// What gRPC's connections are called in the log.
pub(crate) const GRPC: &str = "gRPC";

/// Connections that operators' certificates have opened, and no others: for what speaks another
/// language than gRPC to people's tools.
#[derive(Debug)]
pub struct Operators {
    address: SocketAddr,
    accepted: mpsc::Receiver<io::Result<Accepted>>,
}

impl Operators {
    pub(crate) const fn new(
        address: SocketAddr,
        accepted: mpsc::Receiver<io::Result<Accepted>>,
    ) -> Self {
        Self { address, accepted }
    }

    /// Where they come in.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next one; none once the process closes its servers. On a plaintext port anybody counts
    /// as an operator.
    pub async fn next(&mut self) -> Option<Accepted> {
        loop {
            let Ok(accepted) = self.accepted.recv().await? else { continue };
            if accepted.peer.role().is_none_or(|role| role == Role::Operator) {
                return Some(accepted);
            }
            tracing::warn!(peer = %accepted.peer, "refused: only operators may connect here");
        }
    }
}

/// Accepts until `closing`; what has shaken hands comes out of the channel.
pub(crate) fn accept(
    what: &'static str,
    listener: TcpListener,
    transport: Transport,
    closing: StopSignal,
) -> mpsc::Receiver<io::Result<Accepted>> {
    let (sender, receiver) = mpsc::channel(64);
    let listener = Arc::new(Listener {
        what,
        socket: listener,
        transport,
        places: Places::new(room(), Each::TwiceLeft(OF_ONE)),
        sender,
    });
    let stop = closing.clone();
    tokio::spawn(supervise::run("grpc-accept", stop, move || {
        let (listener, closing) = (Arc::clone(&listener), closing.clone());
        async move {
            tokio::select! {
                () = closing.wait() => {}
                () = listener.serve() => {}
            }
        }
    }));
    receiver
}

/// What the accept loop has, and keeps when it is started again.
struct Listener {
    /// What is spoken there.
    what: &'static str,
    socket: TcpListener,
    transport: Transport,
    places: Places,
    sender: mpsc::Sender<io::Result<Accepted>>,
}

impl Listener {
    async fn serve(&self) {
        loop {
            let accepted = tokio::select! {
                () = self.sender.closed() => return,
                accepted = self.socket.accept() => accepted,
            };
            #[cfg(test)]
            crate::fault::point("gRPC accept");
            match accepted {
                Ok((tcp, address)) => {
                    // Everything of its address is in use: it tries again.
                    let Some(place) = self.places.enter(address.ip()) else {
                        // Not worth a line each: it may be an attack.
                        ::metrics::counter!(metrics::HANDSHAKES_FAILED, "side" => "server")
                            .increment(1);
                        tracing::debug!(%address, "{} connection refused: its address has its \
                            share of them", self.what);
                        continue;
                    };
                    let (transport, sender) = (self.transport.clone(), self.sender.clone());
                    let what = self.what;
                    tokio::spawn(async move {
                        greet(what, (tcp, address), transport, place, sender).await;
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a {} connection: {error}", self.what);
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// How many connections there may be: an eighth of the descriptors stays for everything else.
fn room() -> usize {
    let descriptors =
        getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL_DESCRIPTORS, |(soft, _)| soft);
    usize::try_from(descriptors - descriptors / 8).unwrap_or(CONNECTIONS).min(CONNECTIONS)
}

async fn greet(
    what: &'static str,
    (tcp, address): (TcpStream, SocketAddr),
    transport: Transport,
    place: Place,
    sender: mpsc::Sender<io::Result<Accepted>>,
) {
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_WITHIN, shake_hands(tcp, address, transport)) => shaken,
        () = place.displaced() => {
            ::metrics::counter!(metrics::HANDSHAKES_FAILED, "side" => "server").increment(1);
            return tracing::debug!(%address, "{what} connection refused: its place was wanted for \
                a newer one");
        }
    };
    match shaken {
        Ok(Ok((stream, peer))) => {
            // Fails only when the server has ended, and then the connection ends too.
            drop(sender.send(Ok(Accepted::new(stream, peer, place, what == GRPC))).await);
        }
        Ok(Err(error)) => refused(what, address, &error.to_string()),
        Err(_) => refused(what, address, "no handshake in time"),
    }
}

async fn shake_hands(
    tcp: TcpStream,
    address: SocketAddr,
    transport: Transport,
) -> io::Result<(Stream, Peer)> {
    tcp.set_nodelay(true)?;
    let Transport::Mutual(credentials) = transport else {
        return Ok((Stream::Plain(tcp), Peer { identity: None, address, hosts: Vec::new() }));
    };
    let tls = TlsAcceptor::from(credentials.current().server.clone()).accept(tcp).await?;
    let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.ok_or_else(|| io::Error::other("no client certificate"))?;
    let identity = Identity::of_certificate(certificate).map_err(io::Error::other)?;
    let hosts = pki::hosts(certificate, &identity).unwrap_or_default();
    Ok((
        Stream::Tls(Box::new(TlsStream::Server(tls))),
        Peer { identity: Some(identity), address, hosts },
    ))
}

fn refused(what: &str, address: SocketAddr, reason: &str) {
    ::metrics::counter!(metrics::HANDSHAKES_FAILED, "side" => "server").increment(1);
    tracing::info!(%address, "{what} connection refused: {reason}");
}

impl Connected for Accepted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_while_accepting_loses_that_connection_and_the_port_stays_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut accepted = accept(GRPC, listener, Transport::Plaintext, StopSignal::default());
        crate::fault::arm("gRPC accept");
        let mut lost = TcpStream::connect(address).await.expect("the backlog takes it");
        let ended = tokio::io::AsyncReadExt::read(&mut lost, &mut [0]).await;
        assert!(matches!(ended, Ok(0) | Err(_)) && !crate::fault::is_armed());
        let _kept = TcpStream::connect(address).await.expect("a connection");
        accepted.recv().await.expect("the loop goes on").expect("an accepted connection");
    }
}
