//! The whole way, through balancer and caches.

use super::{Goal, Trial, Unit, Way, Work, names, requests, times};
use crate::contender::Who;

const WHOLE: &[Who] = &[Who::ShoalCluster, Who::Reference, Who::Siblings];
const WHOLE_DAY: &[Who] = &[Who::ShoalCluster, Who::ShoalOwners, Who::Reference, Who::Siblings];

const fn whole(
    name: &'static str,
    title: &'static str,
    way: Way,
    who: &'static [Who],
    goals: &'static [Goal],
) -> Trial {
    requests(name, title, Work::Whole(way), who, goals)
}

pub const TRIALS: &[Trial] = &[
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
];
