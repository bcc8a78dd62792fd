//! The socket: datagrams in, answers out. It is opened when the bundle says so, and tried again
//! while its address is in use: nothing else of the node waits for it.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use cluster_config::document::proxy::Icp as Settings;
use tokio::sync::watch;

use super::{
    Icp,
    answer::{Rate, Said, answer},
    packet::{self, Opcode, Packet},
};
use crate::cache::key::Key;

/// How often an address is tried that cannot be had.
const AGAIN: Duration = Duration::from_secs(1);
/// Longer datagrams are of somebody else.
const LARGEST: usize = 16 << 10;

/// What serving needs of the node.
pub trait Face: Send + Sync + 'static {
    /// Whether something is stored for a URL that any request would be served now.
    fn has(&self, key: &Key) -> bool;
    /// Steady milliseconds.
    fn now(&self) -> u64;
    /// What became of a datagram.
    fn count(&self, what: Counted);
    /// The socket is bound there, or none is.
    fn bound(&self, at: Option<SocketAddr>);
}

/// What becomes of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// A question, answered with this.
    Answered(Opcode),
    /// A question that is not answered: from elsewhere, or one too many.
    Refused,
    /// No datagram of this protocol, or an answer to nothing that was asked.
    Ignored,
}

/// Serves for as long as the node lives.
pub async fn serve(icp: Arc<Icp>, face: Arc<impl Face>) {
    let mut wanted = icp.wanted.subscribe();
    let said = std::sync::atomic::AtomicBool::new(false);
    loop {
        let settings = wanted.borrow_and_update().clone();
        let Some(settings) = settings else {
            close(&icp, &*face);
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        match open(&icp, settings.bind) {
            Ok(socket) => {
                said.store(false, Ordering::Relaxed);
                face.bound(socket.local_addr().ok());
                receive(&icp, &*face, &settings, &socket, &mut wanted).await;
            }
            Err(error) => {
                if !said.swap(true, Ordering::Relaxed) {
                    let bind = settings.bind;
                    tracing::error!(%bind, %error, "no ICP: choose another address in \
                        proxy.hierarchy.icp, or end what has this one; it is tried every second");
                }
                close(&icp, &*face);
                let pause = tokio::time::timeout(AGAIN, wanted.changed());
                if let Ok(Err(_)) = pause.await {
                    return;
                }
            }
        }
    }
}

fn close(icp: &Icp, face: &impl Face) {
    if icp.socket.swap(None).is_some() {
        face.bound(None);
    }
}

fn open(icp: &Icp, bind: SocketAddr) -> std::io::Result<tokio::net::UdpSocket> {
    // An address that is bound already goes first, or it would be in use by itself.
    icp.socket.store(None);
    let socket = UdpSocket::bind(bind)?;
    socket.set_nonblocking(true)?;
    let receiving = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
    icp.socket.store(Some(Arc::new(socket)));
    Ok(receiving)
}

/// Until other settings are wanted.
async fn receive(
    icp: &Icp,
    face: &impl Face,
    settings: &Settings,
    socket: &tokio::net::UdpSocket,
    wanted: &mut watch::Receiver<Option<Settings>>,
) {
    let mut bytes = vec![0; LARGEST];
    let mut rate = Rate::new(settings.max_rate, face.now());
    let mut out = Vec::new();
    loop {
        let (length, peer) = tokio::select! {
            biased;
            changed = wanted.changed() => {
                drop(changed);
                return;
            }
            received = socket.recv_from(&mut bytes) => match received {
                Ok(received) => received,
                // What an earlier datagram met with (ICMP) is nobody's end.
                Err(error) => {
                    tracing::debug!(%error, "an ICP datagram did not arrive");
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        let from = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Ok(packet) = packet::parse(&bytes[..length]) else {
            face.count(Counted::Ignored);
            continue;
        };
        if packet.opcode != Opcode::Query {
            if !icp.questions.answered(from, &packet) {
                face.count(Counted::Ignored);
            }
            continue;
        }
        let has = |key: &Key| face.has(key);
        match answer(settings, from.ip(), &packet, (&mut rate, face.now()), has) {
            Said::Answer(opcode) => {
                out.clear();
                packet::write(&mut out, &Packet { opcode, ..packet });
                face.count(Counted::Answered(opcode));
                // Who asks again has lost nothing.
                drop(socket.try_send_to(&out, peer));
            }
            Said::Stranger | Said::TooFast => face.count(Counted::Refused),
        }
    }
}
