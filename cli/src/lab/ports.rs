//! The lab's ports: chosen once, kept in `ports.json`, used again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::labs::directory::write_atomically;

const FILE: &str = "ports.json";
/// Where the first balancer listens unless told otherwise.
const BASE: u16 = 8080;

/// Who listens where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Port of the first balancer's frontend.
    base: u16,
    /// Port by process and purpose.
    chosen: BTreeMap<String, BTreeMap<String, u16>>,
}

/// A port that has to be known before anything starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the process.
    pub process: String,
    /// `grpc`, `admin`, `proxy`, …
    pub purpose: &'static str,
    /// Distance from the base port; none: any free port.
    pub offset: Option<u16>,
}

impl Ports {
    /// What an earlier run chose; nothing when there was none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged: remove it, or run `shoal lab reset`", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Remembers them.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        write_atomically(&directory.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// The port of a process for a purpose; 0 when it was never wanted.
    #[must_use]
    pub fn of(&self, process: &str, purpose: &str) -> u16 {
        self.chosen.get(process).and_then(|ports| ports.get(purpose)).copied().unwrap_or(0)
    }

    /// Chooses what is missing. `candidates` are free to be chosen from, in this order; `claim`
    /// says whether a port can be had.
    ///
    /// # Errors
    /// A port that has to be this one is in use, or none is left.
    pub fn complete(
        mut self,
        base: Option<u16>,
        wanted: &[Wanted],
        candidates: impl IntoIterator<Item = u16>,
        mut claim: impl FnMut(u16) -> bool,
    ) -> Result<Self> {
        self.base = base.unwrap_or(if self.base == 0 { BASE } else { self.base });
        let mut taken: BTreeSet<u16> =
            self.chosen.values().flat_map(|ports| ports.values().copied()).collect();
        for wish in wanted.iter().filter(|wish| wish.offset.is_some()) {
            let port = self.base.checked_add(wish.offset.unwrap_or(0)).ok_or_else(|| {
                anyhow!("the ports from --base-port {} on do not suffice", self.base)
            })?;
            self.set(wish, port);
            taken.insert(port);
        }
        let mut candidates = candidates.into_iter();
        for wish in wanted {
            if wish.offset.is_some() || self.of(&wish.process, wish.purpose) != 0 {
                continue;
            }
            let port = candidates.find(|port| !taken.contains(port) && claim(*port));
            self.set(
                wish,
                port.ok_or_else(|| {
                    anyhow!("no free port is left for {}: end some other programs", wish.process)
                })?,
            );
        }
        for wish in wanted {
            let port = self.of(&wish.process, wish.purpose);
            if !claim(port) {
                let remedy = if wish.offset.is_some() {
                    "choose others with --base-port"
                } else {
                    "end it, or run `shoal lab reset` to choose others"
                };
                bail!("port {port} for {} is in use by another program: {remedy}", wish.process);
            }
        }
        Ok(self)
    }

    fn set(&mut self, wish: &Wanted, port: u16) {
        self.chosen.entry(wish.process.clone()).or_default().insert(wish.purpose.to_owned(), port);
    }
}

/// The ports that this lab has, from choosing them to its end. Between the two, and while a child
/// is started again, nobody listens on them: another lab of this machine sees by a socket of that
/// name in the abstract namespace (unix(7)) that they are not free.
#[derive(Debug, Default)]
pub struct Claims(BTreeMap<u16, Option<UnixDatagram>>);

impl Claims {
    /// Whether a port of the loopback address can be listened on, over TCP and UDP, and no other
    /// lab has it. It is this lab's then.
    pub fn take(&mut self, port: u16) -> bool {
        if !is_free(port) {
            return false;
        }
        if self.0.contains_key(&port) {
            return true;
        }
        let named = SocketAddr::from_abstract_name(format!("shoal-lab-port-{port}"));
        match named.and_then(|name| UnixDatagram::bind_addr(&name)) {
            Ok(claim) => drop(self.0.insert(port, Some(claim))),
            Err(error) if error.kind() == ErrorKind::AddrInUse => return false,
            // Where such sockets are forbidden, labs have to be lucky.
            Err(_) => drop(self.0.insert(port, None)),
        }
        true
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Ports worth trying, beginning at a place that `seed` chooses: outside the range from which the
/// kernel takes ports for outgoing connections, so that none of those sits on a port while the
/// process that owns it is being started again.
pub fn candidates(seed: u32) -> impl Iterator<Item = u16> {
    const LOWEST: u16 = 10_000;
    let range =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ephemeral: u16 =
        range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768);
    let end = if ephemeral > LOWEST + 1000 { ephemeral } else { u16::MAX };
    let span = u32::from(end - LOWEST);
    // Labs started one after another begin far apart.
    let start = seed.wrapping_mul(97) % span;
    (0..span).map(move |step| LOWEST + u16::try_from((start + step) % span).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Vec<Wanted> {
        let wish =
            |process: &str, purpose, offset| Wanted { process: process.into(), purpose, offset };
        vec![
            wish("balancer-1", "frontend", Some(0)),
            wish("balancer-2", "frontend", Some(1)),
            wish("balancer-1", "grpc", None),
            wish("registry-1", "grpc", None),
        ]
    }

    #[test]
    fn chosen_once_and_kept() {
        let first = Ports::default().complete(Some(9000), &wanted(), 8999.., |_| true).unwrap();
        assert_eq!(
            (first.of("balancer-1", "frontend"), first.of("balancer-2", "frontend")),
            (9000, 9001)
        );
        assert_eq!(
            (first.of("balancer-1", "grpc"), first.of("registry-1", "grpc")),
            (8999, 9002),
            "fixed ports are skipped"
        );
        let again = first.clone().complete(None, &wanted(), 20_000.., |_| true).unwrap();
        assert_eq!(again, first);
        let moved = first.complete(Some(7000), &wanted(), 20_000.., |_| true).unwrap();
        assert_eq!(
            (moved.of("balancer-2", "frontend"), moved.of("registry-1", "grpc")),
            (7001, 9002)
        );
    }

    #[test]
    fn taken_ports() {
        let refused = Ports::default()
            .complete(None, &wanted(), 20_000.., |port| port != 8081)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("8081") && refused.contains("--base-port"), "{refused}");
        let ports =
            Ports::default().complete(None, &wanted(), 20_000.., |port| port != 20_000).unwrap();
        assert_eq!(ports.of("balancer-1", "grpc"), 20_001);
        let refused = ports
            .complete(None, &wanted(), 30_000.., |port| port != 20_001)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("20001") && refused.contains("reset"), "{refused}");
    }

    #[test]
    fn a_port_is_claimed_once() {
        let (mut mine, mut other) = (Claims::default(), Claims::default());
        let port = candidates(std::process::id()).find(|port| mine.take(*port)).unwrap();
        assert!(mine.take(port), "again by the same lab");
        assert!(!other.take(port), "nobody listens, and yet it is not free");
        drop(mine);
        assert!(other.take(port));
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!other.take(port), "somebody else listens");
    }

    #[test]
    fn candidates_are_all_different() {
        let tried: Vec<_> = candidates(12_345).collect();
        assert_eq!(tried.iter().collect::<BTreeSet<_>>().len(), tried.len());
        assert!(tried.len() >= 1000 && tried.iter().all(|port| *port >= 10_000));
    }
}
