//! Who is measured: real processes, with access log and statistics on; of those whose CPU time
//! counts, each on one core with one worker.

pub mod cluster;
mod haproxy;
mod nginx;
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

use crate::{cpu, origin::Origin};

/// Everybody who can take part, ours first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    ShoalBalancer,
    ShoalNode,
    ShoalNodeListed,
    ShoalCluster,
    ShoalOwners,
    ConfigService,
    Registry,
    Haproxy,
    HaproxyTcp,
    HaproxyTcpSplice,
    Floor,
    Nginx,
    NginxCache,
    Squid,
    SquidListed,
    Reference,
    Siblings,
    Tuned,
}

impl Who {
    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShoalBalancer => "Shoal balancer",
            Self::ShoalNode => "Shoal proxy-node",
            Self::ShoalNodeListed => "Shoal proxy-node, with the list",
            Self::ShoalCluster => "Shoal, balancer + 3 proxy-nodes",
            Self::ShoalOwners => "Shoal, balancer + 3 proxy-nodes, each object at its own",
            Self::ConfigService => "Shoal config-service",
            Self::Registry => "Shoal registry",
            Self::Haproxy => "HAProxy",
            Self::HaproxyTcp => "HAProxy tcp",
            Self::HaproxyTcpSplice => "HAProxy tcp, splice-auto",
            Self::Floor => "a bare epoll relay",
            Self::Nginx => "nginx",
            Self::NginxCache => "nginx proxy_cache",
            Self::Squid => "Squid",
            Self::SquidListed => "Squid, with the list",
            Self::Reference => "HAProxy + 3 Squid, as in textbooks",
            Self::Siblings => "HAProxy + 3 Squid siblings, kept connections",
            Self::Tuned => "HAProxy + 3 Squid, tuned",
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
            | Self::ShoalNode
            | Self::ShoalNodeListed
            | Self::ShoalCluster
            | Self::ShoalOwners
            | Self::ConfigService
            | Self::Registry
            | Self::Floor => &[],
            Self::Haproxy | Self::HaproxyTcp | Self::HaproxyTcpSplice => &["haproxy"],
            Self::Nginx | Self::NginxCache => &["nginx"],
            Self::Squid | Self::SquidListed => &["squid"],
            Self::Reference | Self::Siblings | Self::Tuned => &["haproxy", "squid"],
        }
    }

    /// Whether it can take part here.
    pub fn installed(self) -> bool {
        self.programs().iter().all(|program| installed(program))
    }
}

/// Whether a program is where Debian puts it.
pub fn installed(program: &str) -> bool {
    Path::new("/usr/sbin").join(program).exists()
}

/// This program again, as a relay that does nothing else.
fn floor(_: &Path, listen: SocketAddr, origin: SocketAddr) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay", &listen.to_string(), &origin.to_string()]);
    Ok(command)
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
    _shoal: Option<shoal::Shoal>,
}

impl Fleet {
    /// Starts whoever is named, each in front of the origin, and keeps each on the contenders'
    /// core.
    pub async fn start(who: &[Who], origin: &Origin) -> Result<Self> {
        let mut fleet = Self { running: BTreeMap::new(), _processes: Vec::new(), _shoal: None };
        for who in who {
            let configuration = match who {
                Who::ShoalBalancer | Who::ShoalNode => {
                    let shoal = match fleet._shoal.take() {
                        Some(shoal) => shoal,
                        None => shoal::Shoal::start(origin.address).await?,
                    };
                    fleet.running.insert(*who, shoal.contender(*who)?);
                    fleet._shoal = Some(shoal);
                    continue;
                }
                Who::Haproxy => haproxy::http,
                Who::HaproxyTcp => haproxy::tcp,
                Who::HaproxyTcpSplice => haproxy::tcp_splice,
                Who::Floor => floor,
                Who::Nginx => nginx::balancer,
                Who::NginxCache => nginx::cache,
                Who::Squid => squid::cache,
                other => anyhow::bail!("{} does not run alone", other.name()),
            };
            let listen = free_address()?;
            let process = process::Process::start(listen, |directory| {
                configuration(directory, listen, origin.address)
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
