//! What a pick costs among many servers: a thousand beside three, with every way to pick.

use super::{Goal, Trial, Work, requests, times};
use crate::{contender::Who, origin::Keeping};

const OURS: &[Who] = &[Who::ShoalFew, Who::ShoalMany];
const ALL: &[Who] = &[Who::ShoalFew, Who::ShoalMany, Who::HaproxyFew, Who::HaproxyMany];
const GOALS: &[Goal] = &[times(Who::ShoalMany, 1.03, Who::ShoalFew)];

const fn pool(name: &'static str, title: &'static str, balance: &'static str) -> Trial {
    requests(name, title, Work::Pool(balance, Keeping::Closed), OURS, GOALS)
}

pub const TRIALS: &[Trial] = &[
    requests(
        "pool-kept",
        "1,000 servers instead of 3, `round_robin`, connections kept",
        Work::Pool("round_robin", Keeping::Open),
        ALL,
        &[times(Who::ShoalMany, 0.82, Who::HaproxyMany)],
    ),
    pool("pool-round-robin", "1,000 servers instead of 3, `round_robin`", "round_robin"),
    pool(
        "pool-weighted",
        "1,000 servers instead of 3, `weighted_round_robin`",
        "weighted_round_robin",
    ),
    pool(
        "pool-least-connections",
        "1,000 servers instead of 3, `least_connections`",
        "least_connections",
    ),
    pool("pool-random", "1,000 servers instead of 3, `random`", "random"),
    pool("pool-response-time", "1,000 servers instead of 3, `response_time`", "response_time"),
    pool("pool-first", "1,000 servers instead of 3, `first`", "first"),
    pool("pool-ip-hash", "1,000 servers instead of 3, `ip_hash`", "ip_hash"),
    pool("pool-uri-hash", "1,000 servers instead of 3, `uri_hash`", "uri_hash"),
    pool("pool-host-hash", "1,000 servers instead of 3, `host_hash`", "host_hash"),
    pool("pool-header-hash", "1,000 servers instead of 3, `header_hash`", "header_hash"),
];
