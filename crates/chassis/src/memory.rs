//! How much memory a process may have: what its machine has, and what the control groups that it is
//! in allow.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The tightest of all limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In bytes.
    pub bytes: u64,
    /// Whose it is, for people: `its machine`, `its control group /system.slice/x.service`.
    pub of: String,
}

/// What this process may have; none: it cannot be known here.
#[must_use]
pub fn limit() -> Option<Limit> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    lowest(
        &read(Path::new("/proc/meminfo")).unwrap_or_default(),
        &read(Path::new("/proc/self/cgroup")).unwrap_or_default(),
        read,
    )
}

/// The lowest of the machine's memory and of the limits of the groups and of all that they are in:
/// a group without a limit has its parent's. In a container a group's path may be that of the host,
/// and the mount begins at the group: the root is looked at in any case.
fn lowest(meminfo: &str, groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<Limit> {
    let total = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    let machine = total.map(|kibibytes| Limit {
        bytes: kibibytes.saturating_mul(1024),
        of: "its machine".to_owned(),
    });
    let of_group = |(root, group, file): (&str, &Path, &str)| {
        let inside = group.strip_prefix("/").unwrap_or(group);
        let bytes = read(&Path::new(root).join(inside).join(file))?.trim().parse::<u64>().ok()?;
        Some(Limit { bytes, of: format!("its control group {}", group.display()) })
    };
    // `0::/path` is version 2, `4:memory:/path` version 1.
    let found = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            "" => Some(("/sys/fs/cgroup", PathBuf::from(path), "memory.max")),
            _ if controllers.split(',').any(|it| it == "memory") => {
                Some(("/sys/fs/cgroup/memory", PathBuf::from(path), "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    let groups: Vec<_> = found.collect();
    let all = groups.iter().flat_map(|(root, path, file)| {
        path.ancestors().chain([Path::new("/")]).map(move |group| (*root, group, *file))
    });
    machine.into_iter().chain(all.filter_map(of_group)).min_by_key(|limit| limit.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        8000000 kB\nMemFree:  1 kB\n";

    fn of(groups: &str, files: &[(&str, &str)]) -> Option<(u64, String)> {
        let read = |path: &Path| {
            files
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| (*text).to_owned())
        };
        lowest(MEMINFO, groups, read).map(|limit| (limit.bytes, limit.of))
    }

    #[test]
    fn the_tightest_of_machine_and_groups_counts() {
        let machine = Some((8_000_000 * 1024, "its machine".to_owned()));
        let group = |bytes, of: &str| Some((bytes, format!("its control group {of}")));
        assert_eq!(of("", &[]), machine);
        let (service, slice) =
            ("/sys/fs/cgroup/a.slice/b.service/memory.max", "/sys/fs/cgroup/a.slice/memory.max");
        let v2 = "0::/a.slice/b.service\n";
        assert_eq!(of(v2, &[(service, "max\n")]), machine);
        assert_eq!(of(v2, &[(service, "1048576\n")]), group(1 << 20, "/a.slice/b.service"));
        assert_eq!(
            of(v2, &[(service, "max\n"), (slice, "2097152\n")]),
            group(2 << 20, "/a.slice"),
            "a parent's limit is its children's"
        );
        assert_eq!(
            of("0::/\n", &[("/sys/fs/cgroup/memory.max", "4096\n")]),
            group(4096, "/"),
            "in a container"
        );
        let v1 = "5:cpu,cpuacct:/x\n4:memory:/docker/1\n";
        let file = "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes";
        assert_eq!(of(v1, &[(file, "4096\n")]), group(4096, "/docker/1"));
        assert_eq!(
            of(v1, &[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n")]),
            group(4096, "/")
        );
        // Without a limit version 1 says nearly 2^63.
        assert_eq!(of(v1, &[(file, "9223372036854771712\n")]), machine);
        assert_eq!(lowest("", "nonsense", |_| None), None);
    }
}
