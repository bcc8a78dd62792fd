//! Tunnels that carry much, and connections that carry nothing.

use super::{Goal, Trial, Unit, Work, most, times};
use crate::{
    contender::Who,
    load::{idle::Kind, tunnels::Direction},
};

const TUNNELS: &[Who] = &[
    Who::ShoalBalancer,
    Who::ShoalTcp,
    Who::ShoalNode,
    Who::HaproxyTcp,
    Who::HaproxyTcpSplice,
    Who::NginxStream,
    Who::Squid,
];
/// Connections that are enough to know what one takes, and as many as the goals speak of.
const IDLE: usize = 2000;
const MANY_IDLE: usize = 10_000;
const TUNNEL_GOALS: &[Goal] = &[
    times(Who::ShoalBalancer, 0.75, Who::HaproxyTcp),
    times(Who::ShoalTcp, 0.75, Who::HaproxyTcp),
    times(Who::ShoalNode, 0.75, Who::HaproxyTcp),
];

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

pub const TRIALS: &[Trial] = &[
    tunnel("tunnel-download", "Tunnel, from the origin", Direction::Download),
    tunnel("tunnel-upload", "Tunnel, to the origin", Direction::Upload),
    Trial {
        name: "idle-connections",
        title: "Memory of idle keep-alive connections",
        unit: Unit::MegabytesPer1000,
        work: Work::Idle(Kind::Connection, IDLE),
        who: &[Who::ShoalBalancer, Who::ShoalNode, Who::Haproxy, Who::Nginx, Who::Squid],
        goals: &[most(Who::ShoalBalancer, 1.5), most(Who::ShoalNode, 1.5)],
    },
    Trial {
        name: "idle-connections-10000",
        title: "Memory of 10,000 idle keep-alive connections",
        unit: Unit::MegabytesPer1000,
        work: Work::Idle(Kind::Connection, MANY_IDLE),
        who: &[Who::ShoalBalancer, Who::Haproxy, Who::Nginx],
        goals: &[most(Who::ShoalBalancer, 1.4)],
    },
    Trial {
        name: "idle-tls",
        title: "Memory of idle TLS connections",
        unit: Unit::MegabytesPer1000,
        work: Work::Idle(Kind::Secure, IDLE),
        who: &[Who::ShoalBalancer, Who::Haproxy, Who::Nginx],
        goals: &[most(Who::ShoalBalancer, 12.0)],
    },
    Trial {
        name: "idle-tunnels",
        title: "Memory of idle tunnels",
        unit: Unit::MegabytesPer1000,
        work: Work::Idle(Kind::Tunnel, IDLE),
        who: &[Who::ShoalBalancer, Who::ShoalNode, Who::HaproxyTcp, Who::Squid],
        goals: &[most(Who::ShoalBalancer, 4.0), most(Who::ShoalNode, 4.0)],
    },
];
