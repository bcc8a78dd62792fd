//! CPU time and memory of a process and its descendants from /proc, and which core runs what.

use std::{collections::HashMap, fs, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::{Pid, SysconfVar, sysconf},
};

/// The core of whoever is measured.
pub const CONTENDER: usize = 0;
/// The core of load and origin, and of whatever belongs to a contender without being measured.
pub const LOAD: usize = 1;

fn set(core: usize) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(core).with_context(|| format!("core {core}"))?;
    Ok(set)
}

/// Keeps this thread, and what it will start, on a core.
pub fn pin_myself(core: usize) -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), &set(core)?).with_context(|| format!("pin to core {core}"))
}

/// Lets this thread, and what it will start, run on both cores: for whole clusters, whose times
/// count and not their CPU time.
pub fn unpin_myself() -> Result<()> {
    let mut both = set(CONTENDER)?;
    both.set(LOAD)?;
    sched_setaffinity(Pid::from_raw(0), &both).context("unpin")
}

/// Keeps every thread of a process and of its descendants on a core.
pub fn pin(root: i32, core: usize) -> Result<()> {
    let set = set(core)?;
    for pid in tree(root) {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.file_name().to_string_lossy().parse()?;
            sched_setaffinity(Pid::from_raw(thread), &set)
                .with_context(|| format!("pin {pid} to core {core}"))?;
        }
    }
    Ok(())
}

/// A process and its descendants, parents first.
pub fn tree(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process that ends meanwhile has no parent any more.
        if let Ok(fields) = stat(pid)
            && let Some(parent) = fields.get(1).and_then(|field| field.parse().ok())
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The fields of /proc/PID/stat from the third (state) on. The name in parentheses may hold
/// anything; what follows the last one does not.
fn stat(pid: i32) -> Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    let after = stat.rsplit_once(')').context("an unreadable stat")?.1;
    Ok(after.split_whitespace().map(str::to_owned).collect())
}

/// CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl Time {
    /// Both.
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// User and system time so far: fields 14 to 17 of proc(5), so that children which have ended count
/// too.
pub fn time(root: i32) -> Result<Time> {
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
    let mut ticks = [0; 2];
    for pid in tree(root) {
        for (index, field) in stat(pid)?.iter().skip(11).take(4).enumerate() {
            ticks[index % 2] += field.parse::<u64>().context("an unreadable stat")?;
        }
    }
    let [user, system] =
        ticks.map(|ticks| Duration::from_secs_f64(ticks as f64 / per_second as f64));
    Ok(Time { user, system })
}

/// Resident memory in KiB. Pages that processes share count for each of them.
pub fn resident_kib(root: i32) -> Result<u64> {
    let mut sum = 0;
    for pid in tree(root) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        // A descendant that has ended meanwhile has no memory any more.
        let line = if pid == root { line.context("no VmRSS")? } else { line.unwrap_or("0 kB") };
        sum += line.trim().trim_end_matches(" kB").parse::<u64>()?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_tree_begins_at_its_root_and_has_a_size() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(super::tree(me)[0], me);
        assert!(super::resident_kib(me).unwrap() > 0);
        let before = super::time(me).unwrap();
        assert!(super::time(me).unwrap().total() >= before.total());
    }
}
