//! What the control plane takes, and a long list of domains.

use super::{Trial, Unit, Work, above, most, names, never, none_fails};
use crate::contender::Who;

const LISTED: &[Who] = &[Who::ShoalNode, Who::ShoalNodeListed, Who::Squid, Who::SquidListed];

pub const TRIALS: &[Trial] = &[
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
