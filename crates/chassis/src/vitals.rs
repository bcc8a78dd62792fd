//! What the process uses of its machine, and what the machine has left: for `/metrics`, read when
//! they are asked for.
//!
//! What cannot be read is left out: a number that is missing says more than a zero.

use std::{
    fmt::{Display, Write as _},
    fs,
    path::Path,
};

use nix::{
    sys::{
        resource::{Resource, getrlimit},
        statvfs::statvfs,
    },
    unistd::{SysconfVar, sysconf},
};

use crate::{
    clock::Clock,
    metrics::{
        CLOCK, CPU, DISK_FREE, DISK_SIZE, MEMORY_AVAILABLE, MEMORY_LIMIT, MOST_FILES, OPEN_FILES,
        RESIDENT_MEMORY, STARTED, THREADS, VIRTUAL_MEMORY,
    },
};

/// The numbers of this process, as text in the format of `/metrics`.
pub(crate) fn render(data_dir: &Path, clock: &Clock) -> String {
    let mut out = Text(String::with_capacity(2048));
    of_process(&mut out);
    of_machine(&mut out);
    of_disk(&mut out, data_dir);
    // Last, so that it is as fresh as can be.
    let now = clock.now().as_microsecond();
    out.gauge(
        CLOCK,
        "Wall clock at the moment of this answer",
        Some(format_args!("{}.{:06}", now / 1_000_000, now % 1_000_000)),
    );
    out.0
}

struct Text(String);

impl Text {
    fn metric(&mut self, kind: &str, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _infallible =
                write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        self.metric("gauge", name, help, value);
    }
}

fn of_process(out: &mut Text) {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
    let ticks = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .filter(|ticks| *ticks > 0)
        .map(|ticks| ticks as f64);
    let page =
        sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
    let in_seconds = |of: fn(&Stat) -> u64| Some(of(stat.as_ref()?) as f64 / ticks?);
    let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| field(&text, "btime"));
    out.metric("counter", CPU, "Processor time used, in seconds", in_seconds(|stat| stat.cpu));
    out.gauge(
        STARTED,
        "When the process started",
        in_seconds(|stat| stat.started).zip(booted).map(|(after, boot)| boot as f64 + after),
    );
    out.gauge(
        RESIDENT_MEMORY,
        "Memory in use",
        stat.as_ref().zip(page).map(|(stat, page)| stat.pages * page),
    );
    out.gauge(VIRTUAL_MEMORY, "Address space", stat.as_ref().map(|stat| stat.address_space));
    out.gauge(THREADS, "Threads", stat.as_ref().map(|stat| stat.threads));
    // One of them is the directory being read.
    let open = fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1));
    out.gauge(OPEN_FILES, "Descriptors in use", open);
    out.gauge(
        MOST_FILES,
        "Descriptors allowed",
        getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
    );
}

fn of_machine(out: &mut Text) {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| field(&memory, name).map(|kibibytes| kibibytes * 1024);
    let limit = crate::memory::limit().map(|limit| limit.bytes);
    out.gauge(MEMORY_LIMIT, "Memory that this process and its neighbours may have", limit);
    out.gauge(
        MEMORY_AVAILABLE,
        "Memory of the machine that can still be had",
        bytes("MemAvailable:"),
    );
}

fn of_disk(out: &mut Text, directory: &Path) {
    let disk = statvfs(directory).ok();
    let bytes = |blocks: fn(&nix::sys::statvfs::Statvfs) -> u64| {
        disk.as_ref().map(|disk| blocks(disk) * disk.fragment_size())
    };
    out.gauge(DISK_FREE, "Room on the disk of the data dir", bytes(|disk| disk.blocks_available()));
    out.gauge(DISK_SIZE, "Size of the disk of the data dir", bytes(|disk| disk.blocks()));
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
}

/// What is used of `/proc/self/stat` (proc_pid_stat(5)), in its own units.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// User and system time, in ticks.
    cpu: u64,
    threads: u64,
    /// Since boot, in ticks.
    started: u64,
    address_space: u64,
    pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name, the second field, may hold blanks and parentheses; the third field follows the
        // last one.
        let rest = &text[text.rfind(')')? + 1..];
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: number(14)? + number(15)?,
            threads: number(20)?,
            started: number(22)?,
            address_space: number(23)?,
            pages: number(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 100 20 13 14 15 16 8 18 5000 123456 77 20 21";
        let expected =
            Stat { cpu: 120, threads: 8, started: 5000, address_space: 123_456, pages: 77 };
        for name in ["shoal", "a b", "x) S 9 (y"] {
            assert_eq!(
                Stat::parse(&format!("42 ({name}) {rest}")),
                Some(Stat { ..expected }),
                "{name}"
            );
        }
        for broken in ["", "42 shoal", "42 (shoal) S 1 2", "42 (shoal"] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_running_process_has_all_of_them() {
        let mut out = Text(String::new());
        of_process(&mut out);
        of_machine(&mut out);
        of_disk(&mut out, Path::new("/"));
        let value = |name: &str| {
            out.0.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
        };
        for name in [
            CPU,
            STARTED,
            RESIDENT_MEMORY,
            VIRTUAL_MEMORY,
            THREADS,
            OPEN_FILES,
            MOST_FILES,
            MEMORY_LIMIT,
            MEMORY_AVAILABLE,
            DISK_SIZE,
        ] {
            assert!(value(name).is_some_and(|value| value >= 0.0), "{name}: {}", out.0);
            assert!(out.0.contains(&format!("# TYPE {name} ")), "{name}");
        }
        assert!(value(RESIDENT_MEMORY) > Some(100_000.0) && value(OPEN_FILES) >= Some(3.0));
    }
}
