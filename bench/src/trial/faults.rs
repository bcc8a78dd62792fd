//! What clients notice of nodes that die and of origins that do not answer.

use super::{Fault, Goal, Trial, Unit, Work, names, never, none_fails};
use crate::contender::Who;

const CLUSTERS: &[Who] = &[Who::ShoalCluster, Who::Reference, Who::Tuned];
const KILL_GOALS: &[Goal] = &[none_fails(Who::ShoalCluster), never(Who::ShoalCluster, 200.0)];
const FREEZE_GOALS: &[Goal] = &[none_fails(Who::ShoalCluster), never(Who::ShoalCluster, 1500.0)];

const fn fault(
    name: &'static str,
    title: &'static str,
    fault: Fault,
    goals: &'static [Goal],
) -> Trial {
    Trial { name, title, unit: Unit::GapMs, work: Work::Fault(fault), who: CLUSTERS, goals }
}

pub const TRIALS: &[Trial] = &[
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
];
