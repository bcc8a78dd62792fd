//! Who is measured: real processes, one core each, with access log and statistics on.

mod haproxy;
mod nginx;
mod process;
mod shoal;
mod squid;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{cpu, origin::Origin};

/// Everybody who can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Who {
    ShoalBalancer,
    ShoalNode,
    Haproxy,
    HaproxyTcp,
    HaproxyTcpSplice,
    Nginx,
    NginxCache,
    Squid,
}

impl Who {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShoalBalancer => "Shoal balancer",
            Self::ShoalNode => "Shoal proxy-node",
            Self::Haproxy => "HAProxy",
            Self::HaproxyTcp => "HAProxy tcp",
            Self::HaproxyTcpSplice => "HAProxy tcp, splice-auto",
            Self::Nginx => "nginx",
            Self::NginxCache => "nginx proxy_cache",
            Self::Squid => "Squid",
        }
    }

    /// The program that has to be installed, as `--require` calls it; none: ours.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::ShoalBalancer | Self::ShoalNode => None,
            Self::Haproxy | Self::HaproxyTcp | Self::HaproxyTcpSplice => Some("haproxy"),
            Self::Nginx | Self::NginxCache => Some("nginx"),
            Self::Squid => Some("squid"),
        }
    }

    /// Whether it can take part here.
    pub fn installed(self) -> bool {
        self.program().is_none_or(|program| Path::new("/usr/sbin").join(program).exists())
    }
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
    /// Starts whoever is named, each in front of the origin, and keeps each on the contenders' core.
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
                Who::Nginx => nginx::balancer,
                Who::NginxCache => nginx::cache,
                Who::Squid => squid::cache,
            };
            let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let process = process::Process::start(listen, |directory| configuration(directory, listen, origin.address));
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
