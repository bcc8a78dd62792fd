//! What is measured: every trial with those who take part, and what is wanted of it.

mod caching;
mod control;
mod faults;
mod pools;
mod relaying;
mod standing;
mod takeovers;
mod whole;

use serde::{Deserialize, Serialize};

use crate::{
    contender::Who,
    goal::{Bound, Goal, What},
    load::{dial::Handshake, idle::Kind, tunnels::Direction},
    origin::Keeping,
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
        /// Over TLS 1.3, which begins so.
        tls: Option<Handshake>,
        /// In one round.
        requests: u64,
    },
    /// GETs to caches alone.
    Cache(Caching),
    /// GETs of 1 KiB through balancers that pass connections on; clients end them.
    Connections {
        /// A new connection for each.
        fresh: bool,
        /// In one round.
        requests: u64,
    },
    /// GETs to a pool of three servers and to one of a thousand, picked by this `balance`, which
    /// keep connections or not.
    Pool(&'static str, Keeping),
    /// Bytes through tunnels.
    Tunnels(Direction),
    /// So many connections that idle; in a new process every round.
    Idle(Kind, usize),
    /// From the balancer to the cache and back.
    Whole(Way),
    /// One node of three is hit while clients are at work.
    Fault(Fault),
    /// The balancer that holds a virtual address is hit.
    Takeover(Vrrp, Fault),
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

/// What a cache is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Many objects that its memory holds, in random order.
    Random,
    /// Four times what its memory holds, all of it on its disk.
    Disk {
        /// The kernel's page cache has none of it when a round begins.
        dropped: bool,
    },
    /// Small objects that nobody has asked for.
    Miss,
    /// Large ones.
    Fill,
    /// What has to be validated each time.
    Validated,
    /// One object that nobody has asked for, by a thousand clients at once.
    Storm,
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

/// How balancers tell each other that they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vrrp {
    /// Version 2, every second, with a password.
    V2,
    /// Version 3, every so many milliseconds.
    V3(u32),
}

/// What happens to one of several.
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

/// Every trial, in the order of the report.
pub fn all() -> impl Iterator<Item = &'static Trial> {
    [
        relaying::TRIALS,
        caching::TRIALS,
        pools::TRIALS,
        whole::TRIALS,
        standing::TRIALS,
        faults::TRIALS,
        takeovers::TRIALS,
        control::TRIALS,
    ]
    .into_iter()
    .flatten()
}

/// The trial of that name.
pub fn find(name: &str) -> Option<&'static Trial> {
    all().find(|trial| trial.name == name)
}

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn single_contenders_have_work_of_their_own() {
        for trial in all() {
            let several = all().filter(|other| other.work == trial.work).count() > 1;
            let single = matches!(
                trial.work,
                Work::Requests { .. } | Work::Connections { .. } | Work::Pool(..) | Work::Idle(..)
            );
            assert!(!(several && single), "{} is measured as another one", trial.name);
        }
    }

    #[test]
    fn every_trial_has_a_name_of_its_own_and_judges_only_who_takes_part() {
        let names: BTreeSet<&str> = all().map(|trial| trial.name).collect();
        assert_eq!(names.len(), all().count());
        for trial in all() {
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
