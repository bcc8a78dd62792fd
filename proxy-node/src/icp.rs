//! The Internet Cache Protocol, version 2 (RFC 2186), with other caches on the same level, as
//! Squid speaks it: they are asked by one datagram each whether they have something, and one that
//! has is asked for it over HTTP with `only-if-cached`, so that nobody fetches for another.
//!
//! What comes in is forged as easily as it is sent: questions are answered only to addresses that
//! the bundle names, at a bounded rate, with no more bytes than they had; an answer counts only
//! from the address that was asked, to a question that is still open, with its number and its URL.
//! A sibling that says that it has what it has not costs a round trip, and loses trust.
//!
//! Reading order: [`packet`] (what a datagram says), [`sibling`] (one of the others, and how long
//! they are waited for), [`questions`] (what was asked and is open), [`answer`] (what is said to
//! others), [`Icp`] and [`serve`] (the socket).

pub mod answer;
pub mod packet;
pub mod questions;
mod serve;
pub mod sibling;

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use cluster::InstanceStatus;
use cluster_config::{ProxyDocument, document::proxy::Icp as Settings};
use tokio::sync::watch;

use crate::metrics::Metrics;
use packet::{Opcode, Packet};
use questions::Questions;
pub use serve::{Counted, Face, serve};
use sibling::Siblings;

/// Where answers come in, where no questions may.
const UNASKED: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// What this process has of the protocol.
#[derive(Debug)]
pub struct Icp {
    /// Where questions are to come in; none: nobody is asked and nobody answered.
    wanted: watch::Sender<Option<Settings>>,
    /// The socket, while there is one.
    socket: ArcSwapOption<UdpSocket>,
    /// Who is asked.
    pub siblings: ArcSwap<Siblings>,
    /// What was asked and is open.
    pub questions: Arc<Questions>,
}

impl Default for Icp {
    fn default() -> Self {
        Self {
            wanted: watch::Sender::new(None),
            socket: ArcSwapOption::empty(),
            siblings: ArcSwap::default(),
            questions: Arc::default(),
        }
    }
}

impl Icp {
    /// From now on this is what the bundle says, and these are the other nodes. Who asks and is not
    /// asked has a port of the system's choice.
    pub fn follow(&self, document: &ProxyDocument, others: &[&InstanceStatus]) {
        let siblings = Siblings::new(&document.siblings, others, &self.siblings.load());
        let asks = !siblings.is_empty();
        self.siblings.store(Arc::new(siblings));
        let unasked = || Settings { bind: UNASKED, allow: Vec::new(), max_rate: 1 };
        let wanted = document.icp.clone().or_else(|| asks.then(unasked));
        self.wanted.send_if_modified(|known| {
            let differs = *known != wanted;
            *known = wanted;
            differs
        });
    }

    /// Whether the socket is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.socket.load().is_some()
    }

    /// Asks somebody whether it has a URL.
    ///
    /// # Errors
    /// The socket's; `NotConnected` while there is none.
    pub fn ask(&self, to: SocketAddr, number: u32, url: &[u8]) -> io::Result<()> {
        let socket = self.socket.load();
        let socket = socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut out = Vec::with_capacity(packet::HEADER + 5 + url.len());
        packet::write(&mut out, &Packet { opcode: Opcode::Query, number, url });
        let to = reachable(to, socket.local_addr()?.is_ipv6());
        socket.send_to(&out, to).map(|_| ())
    }
}

/// Counts a datagram. One that answers is counted before it is sent.
pub fn count(metrics: &Metrics, what: Counted) {
    match what {
        Counted::Answered(opcode) => {
            metrics.icp_queries.add(1);
            metrics.icp_hits.add(u64::from(opcode == Opcode::Hit));
        }
        Counted::Refused => metrics.icp_refused.add(1),
        Counted::Ignored => metrics.icp_ignored.add(1),
    }
}

/// The address as a socket of that family has it.
fn reachable(to: SocketAddr, by_ipv6: bool) -> SocketAddr {
    match to.ip() {
        IpAddr::V4(v4) if by_ipv6 => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
        _ => to,
    }
}
