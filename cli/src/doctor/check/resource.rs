//! What runs out: descriptors, memory, disk.

use chassis::{metrics as names, scrape::Metrics};

use crate::{
    doctor::{
        facts::{Facts, Process},
        finding::{
            Finding,
            Severity::{Critical, Warning},
        },
    },
    output::bytes,
};

const CHECK: &str = "resources";
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Of every process whose metrics are known.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let of = |process: &Process| {
        let metrics = process.metrics.as_ref().ok()?;
        Some([
            descriptors(metrics, &process.name),
            memory(metrics, &process.name),
            promised(metrics, &process.name),
            machine(metrics, &process.name),
            disk(metrics, &process.name),
        ])
    };
    let mut found: Vec<_> = facts.processes.iter().filter_map(of).flatten().flatten().collect();
    found.extend(facts.processes.iter().filter(|process| process.answers()).filter_map(
        |process| {
            let why = process.metrics.as_ref().err()?;
            // A port that does not answer at all is another finding.
            process.ready.as_ref().ok()?;
            let text =
                format!("its metrics cannot be read ({why}), so that its resources are not known");
            Some(Finding::new(
                Warning,
                CHECK,
                &process.name,
                text,
                format!("see {}", process.log_hint()),
            ))
        },
    ));
    found
}

/// `part` of `whole` in percent, rounded down.
fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

fn descriptors(metrics: &Metrics, name: &str) -> Option<Finding> {
    let (open, most) = (metrics.count(names::OPEN_FILES)?, metrics.count(names::MOST_FILES)?);
    let used = percent(open, most);
    let severity = if used >= 95 {
        Critical
    } else if used >= 80 {
        Warning
    } else {
        return None;
    };
    let text = format!("{open} of {most} file descriptors are in use ({used} %)");
    Some(Finding::new(
        severity,
        CHECK,
        name,
        text,
        "raise the hard limit (LimitNOFILE=, ulimit -Hn): every connection is one",
    ))
}

fn memory(metrics: &Metrics, name: &str) -> Option<Finding> {
    let (used, limit) =
        (metrics.count(names::RESIDENT_MEMORY)?, metrics.count(names::MEMORY_LIMIT)?);
    let share = percent(used, limit);
    let severity = if share >= 95 {
        Critical
    } else if share >= 85 {
        Warning
    } else {
        return None;
    };
    let text = format!(
        "it uses {} of the {} of memory that it may have ({share} %)",
        bytes(used),
        bytes(limit)
    );
    Some(Finding::new(
        severity,
        CHECK,
        name,
        text,
        "lower proxy.cache.memory in the bundle, or give it more memory",
    ))
}

/// What a node needs beside its cache, in bytes.
const BESIDE: u64 = 64 * MIB;

/// A cache that may grow larger than what there is: the node is killed when it has, and nothing
/// tells of it before.
fn promised(metrics: &Metrics, name: &str) -> Option<Finding> {
    let (cache, limit) =
        (metrics.count("shoal_proxy_cache_capacity_bytes")?, metrics.count(names::MEMORY_LIMIT)?);
    (cache.saturating_add(BESIDE) > limit).then(|| {
        let text = format!(
            "proxy.cache.memory ({}) and the {} that it needs beside that are more than the {} of \
             memory that it may have",
            bytes(cache),
            bytes(BESIDE),
            bytes(limit)
        );
        let remedy = match limit.saturating_sub(BESIDE) / MIB {
            0 => "give it more memory".to_owned(),
            most => {
                format!(
                    "write proxy: {{cache: {{memory: {most}MiB}}}} or less in the bundle (or \
                    in its override), or give it more memory"
                )
            }
        };
        Finding::new(Warning, CHECK, name, text, remedy)
    })
}

fn machine(metrics: &Metrics, name: &str) -> Option<Finding> {
    let (left, limit) =
        (metrics.count(names::MEMORY_AVAILABLE)?, metrics.count(names::MEMORY_LIMIT)?);
    let share = percent(left, limit);
    (share < 5).then(|| {
        let text =
            format!("its machine has {} of memory left", bytes(left / (64 * MIB) * 64 * MIB));
        Finding::new(
            Warning,
            CHECK,
            name,
            text,
            "see what uses it (top, ps --sort=-rss); the kernel ends processes when it is gone",
        )
    })
}

fn disk(metrics: &Metrics, name: &str) -> Option<Finding> {
    let (free, size) = (metrics.count(names::DISK_FREE)?, metrics.count(names::DISK_SIZE)?);
    let share = percent(free, size);
    let severity = if free < 128 * MIB || (share < 1 && free < 2 * GIB) {
        Critical
    } else if free < GIB || (share < 5 && free < 20 * GIB) {
        Warning
    } else {
        return None;
    };
    let text = format!("the disk of its data dir has {} left of {}", bytes(free), bytes(size));
    let remedy = "make room: rotate access.log, remove old logs and backups; what cannot be stored \
        is refused or dropped";
    Some(Finding::new(severity, CHECK, name, text, remedy))
}

#[cfg(test)]
mod tests {
    use cluster::Service;

    use super::*;
    use crate::doctor::{
        facts::tests::{facts, process},
        finding::Severity,
    };

    #[test]
    fn table() {
        let cases: &[(&str, Option<(Severity, &str)>)] = &[
            ("", None),
            ("process_open_fds 79\nprocess_max_fds 100\n", None),
            (
                "process_open_fds 80\nprocess_max_fds 100\n",
                Some((Warning, "80 of 100 file descriptors")),
            ),
            ("process_open_fds 96\nprocess_max_fds 100\n", Some((Critical, "96 of 100"))),
            ("process_open_fds 9\n", None),
            (
                "process_resident_memory_bytes 860\nshoal_memory_limit_bytes 1000\n",
                Some((Warning, "(86 %)")),
            ),
            (
                "process_resident_memory_bytes 960\nshoal_memory_limit_bytes 1000\n",
                Some((Critical, "(96 %)")),
            ),
            (
                "shoal_proxy_cache_capacity_bytes 1006632960\n\
                 shoal_memory_limit_bytes 1073741824\n",
                None,
            ),
            (
                "shoal_proxy_cache_capacity_bytes 1006632961\n\
                 shoal_memory_limit_bytes 1073741824\n",
                Some((Warning, "the 1.0 GiB of memory")),
            ),
            (
                "process_resident_memory_bytes 100\nshoal_memory_limit_bytes \
                 1000\nshoal_memory_available_bytes 500\n",
                None,
            ),
            (
                "shoal_memory_available_bytes 100000000\nshoal_memory_limit_bytes 16000000000\n",
                Some((Warning, "64 MiB of memory left")),
            ),
            ("shoal_data_dir_free_bytes 100e9\nshoal_data_dir_size_bytes 1000e9\n", None),
            ("shoal_data_dir_free_bytes 30e9\nshoal_data_dir_size_bytes 1000e9\n", None),
            (
                "shoal_data_dir_free_bytes 10e9\nshoal_data_dir_size_bytes 1000e9\n",
                Some((Warning, "9.3 GiB left")),
            ),
            (
                "shoal_data_dir_free_bytes 500e6\nshoal_data_dir_size_bytes 1e9\n",
                Some((Warning, "left")),
            ),
            (
                "shoal_data_dir_free_bytes 1e9\nshoal_data_dir_size_bytes 1000e9\n",
                Some((Critical, "left")),
            ),
            (
                "shoal_data_dir_free_bytes 0\nshoal_data_dir_size_bytes 0\n",
                Some((Critical, "0 B left")),
            ),
        ];
        for (text, expected) in cases {
            let mut node = process(Service::ProxyNode, "n-1");
            node.metrics = Ok(Metrics::parse(text));
            let found = check(&facts(vec![node]));
            assert_eq!(found.len(), usize::from(expected.is_some()), "{text}: {found:?}");
            for (finding, (severity, part)) in found.iter().zip(expected) {
                assert!(
                    finding.severity == *severity && finding.finding.contains(part),
                    "{text}: {finding:?}"
                );
            }
        }
        let mut node = process(Service::ProxyNode, "n-1");
        node.metrics = Err("no answer".into());
        assert_eq!(check(&facts(vec![node]))[0].severity, Warning);
    }
}
