//! Who is measured: real processes, with access log and statistics on; of those whose CPU time
//! counts, each on one core with one worker.

pub mod certificate;
pub mod cluster;
mod haproxy;
mod nginx;
pub mod pair;
pub mod process;
pub mod shoal;
pub mod squid;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cpu;
pub use certificate::Certificate;

/// Everybody who can take part, ours first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    ShoalBalancer,
    ShoalTcp,
    ShoalFew,
    ShoalMany,
    ShoalNode,
    ShoalNodeDisk,
    ShoalNodeListed,
    ShoalCluster,
    ShoalOwners,
    ShoalPair,
    ConfigService,
    Registry,
    Haproxy,
    HaproxyFew,
    HaproxyMany,
    HaproxyTcp,
    HaproxyTcpSplice,
    Floor,
    Nginx,
    NginxStream,
    NginxCache,
    Squid,
    SquidDisk,
    SquidListed,
    Reference,
    Siblings,
    Tuned,
    Keepalived,
}

impl Who {
    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShoalBalancer => "Shoal balancer",
            Self::ShoalTcp => "Shoal balancer, mode tcp",
            Self::ShoalFew => "Shoal balancer, 3 servers",
            Self::ShoalMany => "Shoal balancer, 1,000 servers",
            Self::ShoalNode => "Shoal proxy-node",
            Self::ShoalNodeDisk => "Shoal proxy-node, 64 MiB and a disk",
            Self::ShoalNodeListed => "Shoal proxy-node, with the list",
            Self::ShoalCluster => "Shoal, balancer + 3 proxy-nodes",
            Self::ShoalOwners => "Shoal, balancer + 3 proxy-nodes, each object at its own",
            Self::ShoalPair => "Two Shoal balancers",
            Self::ConfigService => "Shoal config-service",
            Self::Registry => "Shoal registry",
            Self::Haproxy => "HAProxy",
            Self::HaproxyFew => "HAProxy, 3 servers",
            Self::HaproxyMany => "HAProxy, 1,000 servers",
            Self::HaproxyTcp => "HAProxy tcp",
            Self::HaproxyTcpSplice => "HAProxy tcp, splice-auto",
            Self::Floor => "a bare epoll relay",
            Self::Nginx => "nginx",
            Self::NginxStream => "nginx stream",
            Self::NginxCache => "nginx proxy_cache",
            Self::Squid => "Squid",
            Self::SquidDisk => "Squid, 64 MiB and a disk",
            Self::SquidListed => "Squid, with the list",
            Self::Reference => "HAProxy + 3 Squid, as in textbooks",
            Self::Siblings => "HAProxy + 3 Squid siblings, kept connections",
            Self::Tuned => "HAProxy + 3 Squid, tuned",
            Self::Keepalived => "keepalived",
        }
    }

    /// Whether it is what is judged.
    pub fn is_ours(self) -> bool {
        self.programs().is_empty() && self != Self::Floor
    }

    /// The programs that have to be installed, as `--require` calls them; none: it is here.
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::ShoalBalancer
            | Self::ShoalTcp
            | Self::ShoalFew
            | Self::ShoalMany
            | Self::ShoalPair
            | Self::ShoalNode
            | Self::ShoalNodeDisk
            | Self::ShoalNodeListed
            | Self::ShoalCluster
            | Self::ShoalOwners
            | Self::ConfigService
            | Self::Registry
            | Self::Floor => &[],
            Self::Haproxy
            | Self::HaproxyFew
            | Self::HaproxyMany
            | Self::HaproxyTcp
            | Self::HaproxyTcpSplice => &["haproxy"],
            Self::Nginx | Self::NginxCache => &["nginx"],
            Self::NginxStream => &["nginx", STREAM],
            Self::Squid | Self::SquidDisk | Self::SquidListed => &["squid"],
            Self::Keepalived => &["keepalived"],
            Self::Reference | Self::Siblings | Self::Tuned => &["haproxy", "squid"],
        }
    }

    /// Whether it can take part here.
    pub fn installed(self) -> bool {
        self.programs().iter().all(|program| installed(program))
    }
}

/// The package with nginx's module for connections.
const STREAM: &str = "libnginx-mod-stream";

/// Whether a program is where Debian puts it.
pub fn installed(program: &str) -> bool {
    match program {
        STREAM => Path::new(nginx::STREAM_MODULE).exists(),
        program => Path::new("/usr/sbin").join(program).exists(),
    }
}

/// What a contender stands in front of, and how it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Where its requests go.
    pub servers: &'a [SocketAddr],
    /// How a server is picked, as we call it.
    pub balance: &'static str,
    /// With what it speaks TLS.
    pub tls: Option<&'a Certificate>,
    /// Clients that come at the same time, at the most.
    pub clients: usize,
    /// MiB of memory of a cache.
    pub memory: u32,
}

impl<'a> Setting<'a> {
    /// In front of one server, in the clear.
    pub const fn plain(servers: &'a [SocketAddr]) -> Self {
        Self { servers, balance: "round_robin", tls: None, clients: 4096, memory: 256 }
    }

    fn origin(&self) -> Result<SocketAddr> {
        self.servers.first().copied().context("no server")
    }
}

/// This program again, as a relay that does nothing else.
fn floor(_: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay", &listen.to_string(), &setting.origin()?.to_string()]);
    Ok(command)
}

/// The first three of many.
fn few(servers: &[SocketAddr]) -> &[SocketAddr] {
    &servers[..servers.len().min(3)]
}

/// A loopback address that is free at the moment.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A running contender.
#[derive(Debug)]
pub struct Contender {
    /// Where clients connect.
    pub address: SocketAddr,
    /// The process that counts, with its descendants.
    pub pid: i32,
}

/// Those who run at the same time; dropping it ends their processes.
#[derive(Debug)]
pub struct Fleet {
    running: BTreeMap<Who, Contender>,
    _processes: Vec<process::Process>,
    _labs: Vec<shoal::Shoal>,
}

impl Fleet {
    /// Starts whoever is named, each in this setting, and keeps each on the contenders' core.
    pub async fn start(who: &[Who], setting: Setting<'_>) -> Result<Self> {
        let mut fleet =
            Self { running: BTreeMap::new(), _processes: Vec::new(), _labs: Vec::new() };
        for who in who {
            let configuration: fn(&Path, SocketAddr, Setting<'_>) -> Result<Command> = match who {
                Who::ShoalBalancer
                | Who::ShoalNode
                | Who::ShoalNodeDisk
                | Who::ShoalTcp
                | Who::ShoalFew
                | Who::ShoalMany => {
                    let there = fleet._labs.iter().position(|lab| lab.has(*who));
                    if there.is_none() {
                        fleet._labs.push(shoal::Shoal::start(*who, setting).await?);
                    }
                    let lab = there.map_or(fleet._labs.last(), |index| fleet._labs.get(index));
                    fleet.running.insert(*who, lab.context("no lab")?.contender(*who)?);
                    continue;
                }
                Who::Haproxy | Who::HaproxyMany => haproxy::http,
                Who::HaproxyFew => haproxy::http_to_few,
                Who::HaproxyTcp => haproxy::tcp,
                Who::HaproxyTcpSplice => haproxy::tcp_splice,
                Who::Floor => floor,
                Who::Nginx => nginx::balancer,
                Who::NginxStream => nginx::stream,
                Who::NginxCache => nginx::cache,
                Who::Squid => squid::cache,
                Who::SquidDisk => squid::disk,
                other => anyhow::bail!("{} does not run alone", other.name()),
            };
            let listen = free_address()?;
            let process = process::Process::start(listen, |directory| {
                configuration(directory, listen, setting)
            });
            let process = process.await.with_context(|| format!("start {}", who.name()))?;
            fleet.running.insert(*who, Contender { address: listen, pid: process.pid() });
            fleet._processes.push(process);
        }
        for contender in fleet.running.values() {
            cpu::pin(contender.pid, cpu::CONTENDER)?;
        }
        Ok(fleet)
    }

    /// One of them.
    pub fn get(&self, who: Who) -> Result<&Contender> {
        self.running.get(&who).with_context(|| format!("{} was not started", who.name()))
    }
}
