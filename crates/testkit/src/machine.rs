//! What a machine runs out of: descriptors and disk. And its clock.
//!
//! Everything here fails the test, and says what it needs, when it cannot be set up: a fault that
//! was not there proves nothing.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn run(program: &str, arguments: &[&str]) -> Output {
    let run = Command::new(program).args(arguments).output();
    run.unwrap_or_else(|error| {
        panic!(
            "{program}: {error}: run the test command of README.md, which installs what is missing"
        )
    })
}

/// Lets this process, and what it starts from now on, open so many descriptors.
///
/// # Panics
/// When it is not allowed to.
pub fn allow_descriptors(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit on descriptors");
    if soft >= count {
        return;
    }
    let raised = setrlimit(Resource::RLIMIT_NOFILE, count, hard.max(count));
    assert!(
        raised.is_ok(),
        "this test needs {count} descriptors and may have {hard}: raise the hard limit (ulimit \
         -Hn) or run as root"
    );
}

/// The lowest descriptor that a process has free: the next that it would be given.
///
/// # Panics
/// When there is no such process of this user.
#[must_use]
pub fn lowest_free_descriptor(pid: i32) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap_or_else(|error| panic!("the descriptors of {pid}: {error}"));
    let open: BTreeSet<u64> =
        open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    (0..).find(|descriptor| !open.contains(descriptor)).unwrap_or(0)
}

/// Sets how many descriptors a running process may have. Those that it has stay open.
///
/// # Panics
/// When this is not allowed.
pub fn limit_descriptors(pid: i32, count: u64) {
    // The hard limit stays, so that the test can undo it.
    let output = run("prlimit", &["--pid", &pid.to_string(), &format!("--nofile={count}:")]);
    assert!(
        output.status.success(),
        "prlimit of {pid}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A disk of a few megabytes; dropping it takes it away. Whoever writes to it has to end first.
#[derive(Debug)]
pub struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Panics
    /// When this process may not mount.
    #[must_use]
    pub fn mount(megabytes: u32) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("shoal-disk-")
            .tempdir()
            .expect("a temporary directory");
        let (size, place) =
            (format!("size={megabytes}m"), directory.path().to_string_lossy().into_owned());
        let output = run("mount", &["-t", "tmpfs", "-o", &size, "shoal-e2e", &place]);
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "this test fills a disk of its own and has to mount it, as root with CAP_SYS_ADMIN: \
             {why}"
        );
        Self { directory }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }

    /// Takes all space that is left.
    ///
    /// # Panics
    /// When it does not get full.
    pub fn fill(&self) {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("a file on the small disk");
        for piece in [vec![0_u8; 64 * 1024], vec![0_u8; 512], vec![0_u8; 1]] {
            let full = loop {
                if let Err(error) = file.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gives the space back.
    ///
    /// # Panics
    /// When it was not taken.
    pub fn release(&self) {
        std::fs::remove_file(self.filler()).expect("the file that fills the disk");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", &self.directory.path().to_string_lossy()]);
    }
}

/// The wall clock of the processes that are started with its environment: set while they run, as a
/// person or a time server would. Their monotonic clock goes on undisturbed, as the kernel's does.
#[derive(Debug)]
pub struct WallClock {
    directory: tempfile::TempDir,
    library: PathBuf,
}

impl WallClock {
    /// A clock that is right.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    #[must_use]
    pub fn right() -> Self {
        let library = std::fs::read_dir("/usr/lib")
            .expect("/usr/lib")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find_map(|directory| {
                let library = directory.join("faketime/libfaketimeMT.so.1");
                library.is_file().then_some(library)
            });
        let library = library.expect(
            "libfaketime (Debian package faketime): run the test command of \
                README.md, which installs what is missing",
        );
        let clock =
            Self { directory: tempfile::tempdir().expect("a temporary directory"), library };
        clock.set("+0");
        clock
    }

    /// Sets it off by so much from now on: `+3600`, `-3600` (seconds), `+0`.
    ///
    /// # Panics
    /// When the file that says so cannot be written.
    pub fn set(&self, offset: &str) {
        // Renamed into place: who reads half a file would have a clock of its own.
        let new = self.directory.path().join("new");
        std::fs::write(&new, format!("{offset}\n")).expect("write the clock's offset");
        std::fs::rename(new, self.file()).expect("set the clock");
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// What to start a process with.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let file = self.file().to_string_lossy().into_owned();
        let library = self.library.to_string_lossy().into_owned();
        [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DONT_RESET", "1"),
            ("FAKETIME_DISABLE_SHM", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
