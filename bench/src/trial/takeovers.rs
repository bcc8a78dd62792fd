//! A virtual address that moves: from a balancer that dies or freezes to a client's first answer
//! from the other host, beside keepalived at equal settings.

use super::{Fault, Goal, Trial, Unit, Vrrp, Work, never, times};
use crate::contender::Who;

const PAIRS: &[Who] = &[Who::ShoalPair, Who::Keepalived];
/// What two rows of takeovers that are alike may differ by: the moment of the fault between two
/// advertisements is up to chance.
const NO_WORSE: f64 = 1.05;
const MOVES: &[Goal] = &[times(Who::ShoalPair, NO_WORSE, Who::Keepalived)];
const MOVES_SOON: &[Goal] =
    &[times(Who::ShoalPair, NO_WORSE, Who::Keepalived), never(Who::ShoalPair, 350.0)];
const ONE_OWNER: &[Goal] = &[never(Who::ShoalPair, 2500.0)];

const fn moves(
    name: &'static str,
    title: &'static str,
    vrrp: Vrrp,
    fault: Fault,
    goals: &'static [Goal],
) -> Trial {
    let work = Work::Takeover(vrrp, fault);
    Trial { name, title, unit: Unit::Milliseconds, work, who: PAIRS, goals }
}

/// keepalived leaves the address where it died: it has no one owner again by itself.
const fn owner(
    name: &'static str,
    title: &'static str,
    vrrp: Vrrp,
    fault: Fault,
    goals: &'static [Goal],
) -> Trial {
    Trial { who: &[Who::ShoalPair], ..moves(name, title, vrrp, fault, goals) }
}

pub const TRIALS: &[Trial] = &[
    moves(
        "takeover-v2-kill",
        "Virtual address, version 2, 1 s: killed with -9",
        Vrrp::V2,
        Fault::Kill,
        MOVES,
    ),
    moves(
        "takeover-v2-freeze",
        "Virtual address, version 2, 1 s: stopped with SIGSTOP",
        Vrrp::V2,
        Fault::Freeze,
        MOVES,
    ),
    moves(
        "takeover-200-kill",
        "Virtual address, version 3, 200 ms: killed with -9",
        Vrrp::V3(200),
        Fault::Kill,
        MOVES,
    ),
    moves(
        "takeover-200-freeze",
        "Virtual address, version 3, 200 ms: stopped with SIGSTOP",
        Vrrp::V3(200),
        Fault::Freeze,
        MOVES,
    ),
    moves(
        "takeover-100-kill",
        "Virtual address, version 3, 100 ms: killed with -9",
        Vrrp::V3(100),
        Fault::Kill,
        MOVES_SOON,
    ),
    moves(
        "takeover-100-freeze",
        "Virtual address, version 3, 100 ms: stopped with SIGSTOP",
        Vrrp::V3(100),
        Fault::Freeze,
        MOVES_SOON,
    ),
    owner(
        "takeover-200-kill-owner",
        "The same at 200 ms after kill -9, until one host alone has the address",
        Vrrp::V3(200),
        Fault::Kill,
        ONE_OWNER,
    ),
    owner(
        "takeover-200-freeze-owner",
        "The same at 200 ms after SIGSTOP, until one host alone has the address",
        Vrrp::V3(200),
        Fault::Freeze,
        ONE_OWNER,
    ),
    owner(
        "takeover-100-kill-owner",
        "The same at 100 ms after kill -9, until one host alone has the address",
        Vrrp::V3(100),
        Fault::Kill,
        ONE_OWNER,
    ),
    owner(
        "takeover-100-freeze-owner",
        "The same at 100 ms after SIGSTOP, until one host alone has the address",
        Vrrp::V3(100),
        Fault::Freeze,
        ONE_OWNER,
    ),
];
