//! How full this node is, for balancers that may choose another one: percent of whatever of its
//! processor, descriptors and memory is nearest to its limit. Told in answers to a balancer's
//! checks ([`crate::health`]).

use std::{
    fs,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::TimeVal,
};

use crate::node::Node;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// A look counts for so much of the average.
const WEIGHT: f64 = 0.3;

/// What was used at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Used {
    /// Processor time since the process began.
    cpu: Duration,
    descriptors: u64,
    /// Resident memory that the cache does not hold.
    memory: u64,
}

/// What there is of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limits {
    cores: f64,
    descriptors: u64,
    /// Beside what the cache holds.
    memory: u64,
}

/// Looks at it without end.
pub async fn watch(node: Arc<Node>) {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let mut before = (used(0), tokio::time::Instant::now());
    let mut average = 0.0;
    loop {
        tokio::time::sleep(EVERY).await;
        let budget = node.store.budget();
        let cache = budget.held() + budget.at_work();
        let limits = Limits {
            cores,
            descriptors: getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft),
            memory: chassis::memory::limit()
                .map_or(u64::MAX, |limit| limit.bytes)
                .saturating_sub(cache),
        };
        let now = (used(cache), tokio::time::Instant::now());
        let full = fullness(before.0, now.0, now.1 - before.1, limits);
        average += (full - average) * WEIGHT;
        node.load.store(percent(average), Relaxed);
        before = now;
    }
}

fn percent(part: f64) -> u8 {
    (part.clamp(0.0, 1.0) * 100.0).round() as u8
}

fn used(cache: u64) -> Used {
    let micros = |time: TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    let cpu = getrusage(UsageWho::RUSAGE_SELF)
        .map_or(0, |usage| micros(usage.user_time()) + micros(usage.system_time()));
    Used {
        cpu: Duration::from_micros(u64::try_from(cpu).unwrap_or(0)),
        descriptors: fs::read_dir("/proc/self/fd").map_or(0, |open| open.count() as u64),
        memory: crate::memory::resident().unwrap_or(0).saturating_sub(cache),
    }
}

/// The part that is used of what is used most of, 1 being all of it.
fn fullness(before: Used, now: Used, passed: Duration, limits: Limits) -> f64 {
    let cpu = now.cpu.saturating_sub(before.cpu).as_secs_f64();
    let of = |used: u64, limit: u64| used as f64 / limit.max(1) as f64;
    (cpu / passed.as_secs_f64().max(0.001) / limits.cores)
        .max(of(now.descriptors, limits.descriptors))
        .max(of(now.memory, limits.memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearest_to_its_limit_counts() {
        let limits = Limits { cores: 2.0, descriptors: 1000, memory: 1 << 30 };
        let second = Duration::from_secs(1);
        let used = |millis: u64, descriptors, memory| Used {
            cpu: Duration::from_millis(5_000 + millis),
            descriptors,
            memory,
        };
        for (now, expected) in [
            (used(0, 0, 0), 0),
            (used(1_500, 100, 1 << 28), 75),
            (used(100, 900, 1 << 28), 90),
            (used(100, 100, 1 << 29), 50),
            (used(9_000, 100, 1 << 29), 100),
        ] {
            assert_eq!(percent(fullness(used(0, 0, 0), now, second, limits)), expected, "{now:?}");
        }
    }

    #[test]
    fn a_running_process_uses_something() {
        let used = used(0);
        assert!(used.cpu > Duration::ZERO && used.descriptors > 2 && used.memory > 1 << 20);
    }
}
