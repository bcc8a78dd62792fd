//! The gRPC port's door: accepts connections, shakes hands within a deadline, and keeps their number bounded.

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
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tonic::transport::server::Connected;

use crate::{
    connect::Transport,
    drain::StopSignal,
    metrics,
    role::{Identity, Peer},
    stream::Stream,
    supervise,
};

/// Connections at once, those in their handshake included, where descriptors allow them: ten thousand instances hold two each.
const CONNECTIONS: usize = 32_768;
/// Where nobody says how many descriptors there may be.
const USUAL_DESCRIPTORS: u64 = 1024;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// After an accept that failed for want of file descriptors or memory.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// An accepted connection whose peer is known.
#[derive(Debug)]
pub(crate) struct Accepted {
    stream: Stream,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

impl Accepted {
    fn new(stream: Stream, peer: Peer, permit: OwnedSemaphorePermit) -> Self {
        ::metrics::gauge!(metrics::GRPC_CONNECTIONS).increment(1.0);
        Self { stream, peer, _permit: permit }
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        ::metrics::gauge!(metrics::GRPC_CONNECTIONS).decrement(1.0);
    }
}

/// Accepts until `closing`; what has shaken hands comes out of the channel.
pub(crate) fn accept(listener: TcpListener, transport: Transport, closing: StopSignal) -> mpsc::Receiver<io::Result<Accepted>> {
    let (sender, receiver) = mpsc::channel(64);
    let door = Arc::new(Door { listener, transport, room: Arc::new(Semaphore::new(room())), sender });
    let stop = closing.clone();
    tokio::spawn(supervise::run("grpc-accept", stop, move || {
        let (door, closing) = (Arc::clone(&door), closing.clone());
        async move {
            tokio::select! {
                () = closing.wait() => {}
                () = door.serve() => {}
            }
        }
    }));
    receiver
}

/// What the accept loop has, and keeps when it is started again.
struct Door {
    listener: TcpListener,
    transport: Transport,
    room: Arc<Semaphore>,
    sender: mpsc::Sender<io::Result<Accepted>>,
}

impl Door {
    async fn serve(&self) {
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = self.sender.closed() => return,
                accepted = self.listener.accept() => accepted,
            };
            #[cfg(test)]
            crate::fault::point("gRPC accept");
            match accepted {
                Ok((tcp, address)) => {
                    let (transport, sender) = (self.transport.clone(), self.sender.clone());
                    tokio::spawn(async move { greet(tcp, address, transport, permit, sender).await });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a gRPC connection: {error}");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// How many connections there may be: an eighth of the descriptors stays for everything else.
fn room() -> usize {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL_DESCRIPTORS, |(soft, _)| soft);
    usize::try_from(descriptors - descriptors / 8).unwrap_or(CONNECTIONS).min(CONNECTIONS)
}

async fn greet(
    tcp: TcpStream,
    address: SocketAddr,
    transport: Transport,
    permit: OwnedSemaphorePermit,
    sender: mpsc::Sender<io::Result<Accepted>>,
) {
    match timeout(HANDSHAKE_WITHIN, shake_hands(tcp, address, transport)).await {
        Ok(Ok((stream, peer))) => {
            // Fails only when the server has ended, and then the connection ends too.
            drop(sender.send(Ok(Accepted::new(stream, peer, permit))).await);
        }
        Ok(Err(error)) => refused(address, &error.to_string()),
        Err(_) => refused(address, "no handshake in time"),
    }
}

async fn shake_hands(tcp: TcpStream, address: SocketAddr, transport: Transport) -> io::Result<(Stream, Peer)> {
    tcp.set_nodelay(true)?;
    let Transport::Mutual(credentials) = transport else {
        return Ok((Stream::Plain(tcp), Peer { identity: None, address }));
    };
    let tls = TlsAcceptor::from(credentials.current().server.clone()).accept(tcp).await?;
    let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.ok_or_else(|| io::Error::other("no client certificate"))?;
    let identity = Identity::of_certificate(certificate).map_err(io::Error::other)?;
    Ok((Stream::Tls(Box::new(TlsStream::Server(tls))), Peer { identity: Some(identity), address }))
}

fn refused(address: SocketAddr, reason: &str) {
    ::metrics::counter!(metrics::HANDSHAKES_FAILED, "side" => "server").increment(1);
    tracing::info!(%address, "gRPC connection refused: {reason}");
}

impl Connected for Accepted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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
    async fn a_panic_while_accepting_loses_that_connection_and_the_door_stays_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut accepted = accept(listener, Transport::Plaintext, StopSignal::default());
        crate::fault::arm("gRPC accept");
        let mut lost = TcpStream::connect(address).await.expect("the backlog takes it");
        let ended = tokio::io::AsyncReadExt::read(&mut lost, &mut [0]).await;
        assert!(matches!(ended, Ok(0) | Err(_)) && !crate::fault::is_armed());
        let _kept = TcpStream::connect(address).await.expect("a connection");
        accepted.recv().await.expect("the loop goes on").expect("an accepted connection");
    }
}
