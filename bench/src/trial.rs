//! What is measured: every trial with those who take part, and what is wanted of it.

use serde::{Deserialize, Serialize};

use crate::{
    contender::Who,
    goal::{Bound, Goal, What},
    load::{idle::Kind, tunnels::Direction},
};

/// What is done. Several trials may come out of one piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    Tunnels(Direction),
    /// Connections that idle; in a new process every round.
    Idle(Kind),
    /// From the balancer to the cache and back.
    Whole(Way),
    /// One node of three is hit while clients are at work.
    Fault(Fault),
    /// An origin that answers after 20 s.
    SlowOrigin,
    /// An origin that never accepts.
    DeafOrigin,
    /// A revision for a whole lab.
    LabRelease,
    /// A revision for a thousand nodes.
    FleetRelease,
    /// Ten thousand instances keep their leases alive.
    Heartbeats,
    /// A thousand watchers hear of a change.
    Watchers,
    /// A list of a million domains.
    DomainList,
}

/// What goes through a whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// GETs that a cache answers.
    Hit,
    /// GETs of what nobody has asked for.
    Miss,
    /// GETs as people send them in the course of a day, for more than the caches hold.
    Day,
    /// CONNECT with one small request and its answer inside.
    Exchange,
}

/// What happens to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL: its connections are reset and new ones refused.
    Kill,
    /// SIGSTOP: the kernel goes on accepting for it, and nobody ever answers.
    Freeze,
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
    /// How often the origin was asked for 1000 requests.
    OriginPer1000,
    /// Longest time in which no client got an answer.
    GapMs,
    /// How often the origin was asked for one request.
    TimesAsked,
    /// Nodes.
    Nodes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// MiB of resident memory.
    Mebibytes,
    /// CPU time as a share of one core.
    PercentOfCore,
}

impl Unit {
    /// For headings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuMsPer1000 => "CPU-ms / 1000 requests",
            Self::CpuSecondsPerGib => "CPU-s / GiB",
            Self::MegabytesPer1000 => "MB / 1000",
            Self::OriginPer1000 => "at the origin / 1000 requests",
            Self::GapMs => "ms longest gap",
            Self::TimesAsked => "times asked",
            Self::Nodes => "nodes",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::PercentOfCore => "% of a core",
        }
    }
}

/// The names of trials that come out of their work together with others.
pub mod names {
    pub const WHOLE_DAY_ORIGIN: &str = "whole-day-origin";
    pub const KILL_GET: &str = "kill-get";
    pub const KILL_CONNECT: &str = "kill-connect";
    pub const FREEZE_GET: &str = "freeze-get";
    pub const FREEZE_CONNECT: &str = "freeze-connect";
    pub const SLOW_ORIGIN: &str = "slow-origin";
    pub const SLOW_ORIGIN_EJECTED: &str = "slow-origin-ejected";
    pub const DEAF_ORIGIN: &str = "deaf-origin";
    pub const DEAF_ORIGIN_EJECTED: &str = "deaf-origin-ejected";
    pub const RELEASE_LAB: &str = "release-lab";
    pub const RELEASE_FLEET: &str = "release-1000";
    pub const RELEASE_FLEET_TOTAL: &str = "release-1000-total";
    pub const HEARTBEATS: &str = "registry-heartbeats";
    pub const WATCHERS: &str = "registry-watchers";
    pub const LIST_START: &str = "list-start";
    pub const LIST_MEMORY: &str = "list-memory";
    pub const LIST_REQUEST: &str = "list-request";
}

const BALANCERS: &[Who] = &[Who::ShoalBalancer, Who::Haproxy, Who::Nginx];
const RELAYS: &[Who] = &[Who::ShoalBalancer, Who::Haproxy, Who::Floor, Who::Nginx];
const WHOLE: &[Who] = &[Who::ShoalCluster, Who::Reference, Who::Siblings];
const WHOLE_DAY: &[Who] = &[Who::ShoalCluster, Who::ShoalOwners, Who::Reference, Who::Siblings];
const CACHES: &[Who] = &[Who::ShoalNode, Who::NginxCache, Who::Squid];
const TUNNELS: &[Who] =
    &[Who::ShoalBalancer, Who::ShoalNode, Who::HaproxyTcp, Who::HaproxyTcpSplice, Who::Squid];
const CLUSTERS: &[Who] = &[Who::ShoalCluster, Who::Reference, Who::Tuned];
const LISTED: &[Who] = &[Who::ShoalNode, Who::ShoalNodeListed, Who::Squid, Who::SquidListed];

const fn times(who: Who, limit: f64, than: Who) -> Goal {
    Goal { who, what: What::Cost, bound: Bound::Times(limit, than) }
}

const fn most(who: Who, limit: f64) -> Goal {
    Goal { who, what: What::Cost, bound: Bound::Most(limit) }
}

const fn never(who: Who, limit: f64) -> Goal {
    Goal { who, what: What::Cost, bound: Bound::Never(limit) }
}

const fn none_fails(who: Who) -> Goal {
    Goal { who, what: What::Failed, bound: Bound::Never(0.0) }
}

const fn above(who: Who, limit: f64, than: Who) -> Goal {
    Goal { who, what: What::Cost, bound: Bound::Above(limit, than) }
}

const fn requests(
    name: &'static str,
    title: &'static str,
    work: Work,
    who: &'static [Who],
    goals: &'static [Goal],
) -> Trial {
    Trial { name, title, unit: Unit::CpuMsPer1000, work, who, goals }
}

const fn whole(
    name: &'static str,
    title: &'static str,
    way: Way,
    who: &'static [Who],
    goals: &'static [Goal],
) -> Trial {
    requests(name, title, Work::Whole(way), who, goals)
}

const fn fault(
    name: &'static str,
    title: &'static str,
    fault: Fault,
    goals: &'static [Goal],
) -> Trial {
    Trial { name, title, unit: Unit::GapMs, work: Work::Fault(fault), who: CLUSTERS, goals }
}

const fn tunnel(name: &'static str, title: &'static str, direction: Direction) -> Trial {
    Trial {
        name,
        title,
        unit: Unit::CpuSecondsPerGib,
        work: Work::Tunnels(direction),
        who: TUNNELS,
        goals: TUNNEL_GOALS,
    }
}

const TUNNEL_GOALS: &[Goal] = &[
    times(Who::ShoalBalancer, 0.75, Who::HaproxyTcp),
    times(Who::ShoalNode, 0.75, Who::HaproxyTcp),
];
const KILL_GOALS: &[Goal] = &[none_fails(Who::ShoalCluster), never(Who::ShoalCluster, 200.0)];
const FREEZE_GOALS: &[Goal] = &[none_fails(Who::ShoalCluster), never(Who::ShoalCluster, 1500.0)];

/// The trial of that name.
pub fn find(name: &str) -> Option<&'static Trial> {
    TRIALS.iter().find(|trial| trial.name == name)
}

/// All of them, in the order of the report.
pub const TRIALS: &[Trial] = &[
    requests(
        "balance-keepalive-1k",
        "Balancing, keep-alive, 1 KiB",
        Work::Requests { body: 1024, fresh: false, hits: false, requests: 60_000 },
        RELAYS,
        &[
            times(Who::ShoalBalancer, 1.12, Who::Floor),
            times(Who::ShoalBalancer, 0.82, Who::Haproxy),
            times(Who::ShoalBalancer, 1.0, Who::Nginx),
        ],
    ),
    requests(
        "balance-keepalive-64k",
        "Balancing, keep-alive, 64 KiB",
        Work::Requests { body: 65_536, fresh: false, hits: false, requests: 15_000 },
        RELAYS,
        &[
            times(Who::ShoalBalancer, 0.75, Who::Haproxy),
            times(Who::ShoalBalancer, 1.0, Who::Nginx),
        ],
    ),
    requests(
        "balance-new-1k",
        "Balancing, a new connection each, 1 KiB",
        Work::Requests { body: 1024, fresh: true, hits: false, requests: 15_000 },
        BALANCERS,
        &[times(Who::ShoalBalancer, 0.86, Who::Haproxy)],
    ),
    requests(
        "balance-new-64k",
        "Balancing, a new connection each, 64 KiB",
        Work::Requests { body: 65_536, fresh: true, hits: false, requests: 8_000 },
        BALANCERS,
        &[times(Who::ShoalBalancer, 0.90, Who::Haproxy)],
    ),
    requests(
        "hit-1k",
        "Cache hit, keep-alive, 1 KiB",
        Work::Requests { body: 1024, fresh: false, hits: true, requests: 60_000 },
        CACHES,
        &[times(Who::ShoalNode, 0.48, Who::NginxCache), times(Who::ShoalNode, 0.34, Who::Squid)],
    ),
    requests(
        "hit-64k",
        "Cache hit, keep-alive, 64 KiB",
        Work::Requests { body: 65_536, fresh: false, hits: true, requests: 15_000 },
        CACHES,
        &[times(Who::ShoalNode, 0.80, Who::NginxCache)],
    ),
    whole(
        "whole-hit",
        "The whole way: a hit, keep-alive, 1 KiB",
        Way::Hit,
        WHOLE,
        &[times(Who::ShoalCluster, 0.33, Who::Reference)],
    ),
    whole(
        "whole-miss",
        "The whole way: something cacheable that nobody has asked for, 1 KiB",
        Way::Miss,
        WHOLE,
        &[times(Who::ShoalCluster, 0.38, Who::Reference)],
    ),
    whole(
        "whole-day",
        "The whole way: a day by Zipf's law, 400 MB through three caches of 32 MiB",
        Way::Day,
        WHOLE_DAY,
        &[times(Who::ShoalOwners, 0.27, Who::Reference)],
    ),
    Trial {
        name: names::WHOLE_DAY_ORIGIN,
        title: "How much of that day reaches the origin",
        unit: Unit::OriginPer1000,
        work: Work::Whole(Way::Day),
        who: WHOLE_DAY,
        goals: &[times(Who::ShoalOwners, 0.5, Who::Reference)],
    },
    whole(
        "whole-exchange",
        "The whole way: CONNECT with one small exchange",
        Way::Exchange,
        WHOLE,
        &[times(Who::ShoalCluster, 0.62, Who::Reference)],
    ),
    tunnel("tunnel-download", "Tunnel, from the origin", Direction::Download),
    tunnel("tunnel-upload", "Tunnel, to the origin", Direction::Upload),
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
    fault(names::KILL_GET, "A node of three killed with -9: GET", Fault::Kill, KILL_GOALS),
    fault(
        names::KILL_CONNECT,
        "A node of three killed with -9: new CONNECT",
        Fault::Kill,
        KILL_GOALS,
    ),
    fault(
        names::FREEZE_GET,
        "A node of three stopped with SIGSTOP: GET",
        Fault::Freeze,
        FREEZE_GOALS,
    ),
    fault(
        names::FREEZE_CONNECT,
        "A node of three stopped with SIGSTOP: new CONNECT",
        Fault::Freeze,
        FREEZE_GOALS,
    ),
    Trial {
        name: names::SLOW_ORIGIN,
        title: "An origin that answers after 20 s: how often each request reaches it",
        unit: Unit::TimesAsked,
        work: Work::SlowOrigin,
        who: CLUSTERS,
        goals: &[none_fails(Who::ShoalCluster), never(Who::ShoalCluster, 1.0)],
    },
    Trial {
        name: names::SLOW_ORIGIN_EJECTED,
        title: "An origin that answers after 20 s: nodes taken for dead",
        unit: Unit::Nodes,
        work: Work::SlowOrigin,
        who: CLUSTERS,
        goals: &[never(Who::ShoalCluster, 0.0)],
    },
    Trial {
        name: names::DEAF_ORIGIN,
        title: "An origin that never accepts, answered for with 504: how often each request \
            reaches it",
        unit: Unit::TimesAsked,
        work: Work::DeafOrigin,
        who: &[Who::ShoalCluster],
        goals: &[none_fails(Who::ShoalCluster), never(Who::ShoalCluster, 1.0)],
    },
    Trial {
        name: names::DEAF_ORIGIN_EJECTED,
        title: "An origin that never accepts: nodes taken for dead",
        unit: Unit::Nodes,
        work: Work::DeafOrigin,
        who: &[Who::ShoalCluster],
        goals: &[never(Who::ShoalCluster, 0.0)],
    },
    Trial {
        name: names::RELEASE_LAB,
        title: "`shoal config apply` to a lab of 3 nodes and 2 balancers: the whole command, 1 s \
            of watching the first nodes included",
        unit: Unit::Seconds,
        work: Work::LabRelease,
        who: &[Who::ConfigService],
        goals: &[],
    },
    Trial {
        name: names::RELEASE_FLEET,
        title: "A released revision applied on 1,000 nodes, without the 1 s in which the first one \
            is watched",
        unit: Unit::Seconds,
        work: Work::FleetRelease,
        who: &[Who::ConfigService],
        goals: &[never(Who::ConfigService, 1.0)],
    },
    Trial {
        name: names::RELEASE_FLEET_TOTAL,
        title: "The same in all",
        unit: Unit::Seconds,
        work: Work::FleetRelease,
        who: &[Who::ConfigService],
        goals: &[],
    },
    Trial {
        name: names::HEARTBEATS,
        title: "Registry with 10,000 instances that heartbeat",
        unit: Unit::PercentOfCore,
        work: Work::Heartbeats,
        who: &[Who::Registry],
        goals: &[most(Who::Registry, 100.0), none_fails(Who::Registry)],
    },
    Trial {
        name: names::WATCHERS,
        title: "1,000 watchers hear of a change, the last of them after",
        unit: Unit::Milliseconds,
        work: Work::Watchers,
        who: &[Who::Registry],
        goals: &[never(Who::Registry, 500.0)],
    },
    Trial {
        name: names::LIST_START,
        title: "From the start of the process to the first answer, with a list of 1,000,000 \
            domains",
        unit: Unit::Seconds,
        work: Work::DomainList,
        who: LISTED,
        goals: &[never(Who::ShoalNodeListed, 2.0)],
    },
    Trial {
        name: names::LIST_MEMORY,
        title: "Resident memory with a list of 1,000,000 domains",
        unit: Unit::Mebibytes,
        work: Work::DomainList,
        who: LISTED,
        goals: &[above(Who::ShoalNodeListed, 64.0, Who::ShoalNode)],
    },
    Trial {
        name: names::LIST_REQUEST,
        title: "Cache hit, keep-alive, 1 KiB, with a list of 1,000,000 domains asked first",
        unit: Unit::CpuMsPer1000,
        work: Work::DomainList,
        who: LISTED,
        goals: &[above(Who::ShoalNodeListed, 1.0, Who::ShoalNode)],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_trial_has_a_name_of_its_own_and_judges_only_who_takes_part() {
        let names: BTreeSet<&str> = TRIALS.iter().map(|trial| trial.name).collect();
        assert_eq!(names.len(), TRIALS.len());
        for trial in TRIALS {
            for goal in trial.goals {
                let others = match goal.bound {
                    Bound::Times(_, than) | Bound::Above(_, than) => vec![goal.who, than],
                    Bound::Most(_) | Bound::Never(_) => vec![goal.who],
                };
                assert!(others.iter().all(|who| trial.who.contains(who)), "{}", trial.name);
            }
        }
    }
}
