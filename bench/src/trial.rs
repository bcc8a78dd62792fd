//! What is measured: every trial with those who take part, and what DESIGN §12 wants of it.

use serde::{Deserialize, Serialize};

use crate::contender::Who;
use crate::load::idle::Kind;

/// What the contenders have to do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// GETs with so many bytes of body.
    Requests {
        /// Bytes.
        body: usize,
        /// A new connection for each.
        fresh: bool,
        /// Out of the contender's cache, verified by the origin's count.
        hits: bool,
        /// In one round.
        requests: u64,
    },
    /// Bytes through tunnels.
    Tunnels,
    /// Connections that idle; in a new process every round.
    Idle(Kind),
}

/// At most so many times what another takes; of nobody: at most so much.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Who has to reach it.
    pub who: Who,
    /// Compared with.
    pub than: Option<Who>,
    /// Ratio, or the trial's unit.
    pub most: f64,
}

/// A kind of measurement.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// For `--only` and the JSON.
    pub name: &'static str,
    /// For tables and charts.
    pub title: &'static str,
    /// What the number is.
    pub unit: Unit,
    /// What is done.
    pub work: Work,
    /// Who takes part.
    pub who: &'static [Who],
    /// What is to be reached.
    pub goals: &'static [Goal],
}

/// What a sample's cost is counted in. Less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// CPU milliseconds for 1000 requests.
    CpuMsPer1000,
    /// CPU seconds for a GiB.
    CpuSecondsPerGib,
    /// Megabytes (10⁶ bytes) of resident memory for 1000 connections.
    MegabytesPer1000,
}

impl Unit {
    /// For headings.
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuMsPer1000 => "CPU-ms / 1000 requests",
            Self::CpuSecondsPerGib => "CPU-s / GiB",
            Self::MegabytesPer1000 => "MB / 1000",
        }
    }
}

const BALANCERS: &[Who] = &[Who::ShoalBalancer, Who::Haproxy, Who::Nginx];
const CACHES: &[Who] = &[Who::ShoalNode, Who::NginxCache, Who::Squid];

const fn than(who: Who, than: Who, most: f64) -> Goal {
    Goal { who, than: Some(than), most }
}

const fn most(who: Who, most: f64) -> Goal {
    Goal { who, than: None, most }
}

const fn requests(name: &'static str, title: &'static str, work: Work, who: &'static [Who], goals: &'static [Goal]) -> Trial {
    Trial { name, title, unit: Unit::CpuMsPer1000, work, who, goals }
}

/// All of them, in the order of the report.
pub const TRIALS: &[Trial] = &[
    requests(
        "balance-keepalive-1k",
        "Balancing, keep-alive, 1 KiB",
        Work::Requests { body: 1024, fresh: false, hits: false, requests: 60_000 },
        BALANCERS,
        &[than(Who::ShoalBalancer, Who::Haproxy, 0.75), than(Who::ShoalBalancer, Who::Nginx, 1.0)],
    ),
    requests(
        "balance-keepalive-64k",
        "Balancing, keep-alive, 64 KiB",
        Work::Requests { body: 65_536, fresh: false, hits: false, requests: 20_000 },
        BALANCERS,
        &[than(Who::ShoalBalancer, Who::Haproxy, 0.75), than(Who::ShoalBalancer, Who::Nginx, 1.0)],
    ),
    requests(
        "balance-new-1k",
        "Balancing, a new connection each, 1 KiB",
        Work::Requests { body: 1024, fresh: true, hits: false, requests: 20_000 },
        BALANCERS,
        &[than(Who::ShoalBalancer, Who::Haproxy, 0.90)],
    ),
    requests(
        "balance-new-64k",
        "Balancing, a new connection each, 64 KiB",
        Work::Requests { body: 65_536, fresh: true, hits: false, requests: 10_000 },
        BALANCERS,
        &[than(Who::ShoalBalancer, Who::Haproxy, 0.90)],
    ),
    requests(
        "hit-1k",
        "Cache hit, keep-alive, 1 KiB",
        Work::Requests { body: 1024, fresh: false, hits: true, requests: 60_000 },
        CACHES,
        &[than(Who::ShoalNode, Who::NginxCache, 0.60), than(Who::ShoalNode, Who::Squid, 0.25)],
    ),
    requests(
        "hit-64k",
        "Cache hit, keep-alive, 64 KiB",
        Work::Requests { body: 65_536, fresh: false, hits: true, requests: 20_000 },
        CACHES,
        &[],
    ),
    Trial {
        name: "tunnel",
        title: "Tunnels",
        unit: Unit::CpuSecondsPerGib,
        work: Work::Tunnels,
        who: &[Who::ShoalBalancer, Who::ShoalNode, Who::HaproxyTcp, Who::HaproxyTcpSplice, Who::Squid],
        goals: &[than(Who::ShoalBalancer, Who::HaproxyTcp, 0.75), than(Who::ShoalNode, Who::HaproxyTcp, 0.75)],
    },
    Trial {
        name: "idle-connections",
        title: "Memory of idle keep-alive connections",
        unit: Unit::MegabytesPer1000,
        work: Work::Idle(Kind::Connection),
        who: &[Who::ShoalBalancer, Who::ShoalNode, Who::Haproxy, Who::Nginx, Who::Squid],
        goals: &[most(Who::ShoalBalancer, 1.5), most(Who::ShoalNode, 1.5)],
    },
    Trial {
        name: "idle-tunnels",
        title: "Memory of idle tunnels",
        unit: Unit::MegabytesPer1000,
        work: Work::Idle(Kind::Tunnel),
        who: &[Who::ShoalBalancer, Who::ShoalNode, Who::HaproxyTcp, Who::Squid],
        goals: &[most(Who::ShoalBalancer, 4.0), most(Who::ShoalNode, 4.0)],
    },
];
