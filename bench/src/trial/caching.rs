//! What a cache does beside answering from memory what it has just answered: many objects, objects
//! on the disk, objects that it has not, and objects whose origin has to be asked.

use super::{Caching, Goal, Trial, Unit, Work, requests, times};
use crate::contender::Who;

const CACHES: &[Who] = &[Who::ShoalNode, Who::NginxCache, Who::Squid];
const DISKS: &[Who] = &[Who::ShoalNodeDisk, Who::NginxCache, Who::SquidDisk];
/// nginx stores nothing that has to be asked for each time.
const VALIDATING: &[Who] = &[Who::ShoalNode, Who::Squid];

const DISK: &[Goal] = &[
    times(Who::ShoalNodeDisk, 0.80, Who::NginxCache),
    times(Who::ShoalNodeDisk, 0.50, Who::SquidDisk),
];

pub const TRIALS: &[Trial] = &[
    requests(
        "hit-random",
        "Cache hits, 100,000 objects of 1 KiB in random order",
        Work::Cache(Caching::Random),
        CACHES,
        &[times(Who::ShoalNode, 0.50, Who::NginxCache), times(Who::ShoalNode, 0.42, Who::Squid)],
    ),
    requests(
        "hit-disk",
        "Cache hits, 16 KiB, four times what the memory holds",
        Work::Cache(Caching::Disk { dropped: false }),
        DISKS,
        DISK,
    ),
    requests(
        "hit-disk-cold",
        "The same with the page cache dropped before each round",
        Work::Cache(Caching::Disk { dropped: true }),
        DISKS,
        DISK,
    ),
    requests(
        "miss-1k",
        "Cache misses, keep-alive, 1 KiB that can be stored",
        Work::Cache(Caching::Miss),
        CACHES,
        &[times(Who::ShoalNode, 0.75, Who::Squid)],
    ),
    requests(
        "fill-1m",
        "Cache misses, 1 MiB that can be stored",
        Work::Cache(Caching::Fill),
        CACHES,
        &[times(Who::ShoalNode, 0.75, Who::Squid)],
    ),
    requests(
        "validated-1k",
        "What is stored and has to be validated each time (304), 1 KiB",
        Work::Cache(Caching::Validated),
        VALIDATING,
        &[times(Who::ShoalNode, 0.75, Who::Squid)],
    ),
    Trial {
        name: "storm",
        title: "1,000 clients ask for one object that nobody has stored",
        unit: Unit::TimesAsked,
        work: Work::Cache(Caching::Storm),
        who: CACHES,
        goals: &[super::never(Who::ShoalNode, 1.0)],
    },
];
