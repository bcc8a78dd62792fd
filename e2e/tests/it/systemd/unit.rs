//! The units as files, read as systemd reads them, as far as they go.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// One unit file.
pub struct Unit {
    /// `shoal-registry.service`
    pub name: String,
    /// As it is installed.
    pub text: String,
}

/// Where they are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd")
}

/// All of them.
pub fn all() -> Vec<Unit> {
    let paths = fs::read_dir(directory())
        .expect("deploy/systemd")
        .map(|entry| entry.expect("an entry").path());
    let mut units: Vec<_> = paths
        .map(|path| Unit {
            name: path.file_name().expect("a name").to_string_lossy().into_owned(),
            text: fs::read_to_string(&path).expect("a unit"),
        })
        .collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    units
}

impl Unit {
    /// The last value of a key.
    pub fn value(&self, key: &str) -> String {
        let joined = self.text.replace("\\\n", " ");
        let found = joined
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
            .next_back();
        found.unwrap_or_else(|| panic!("no {key}= in {}", self.name))
    }

    /// What `ExecStart=` runs, on a host whose root is `root`.
    pub fn command_line(&self, root: &Path) -> Vec<String> {
        let below = |word: &str| {
            word.strip_prefix('/')
                .map_or_else(|| word.to_owned(), |path| root.join(path).display().to_string())
        };
        self.value("ExecStart").split_whitespace().map(below).collect()
    }

    /// What `EnvironmentFile=` brings.
    pub fn environment(&self, root: &Path) -> BTreeMap<String, String> {
        let file = root.join(self.value("EnvironmentFile").trim_start_matches('/'));
        let text =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|line| line.split_once('=').expect("a setting"))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Seconds of `5s` or `100ms`.
pub fn seconds(text: &str) -> f64 {
    let (number, unit) =
        text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{text:?} is no duration"));
    match unit {
        "s" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        _ => panic!("{text:?} has no unit that is known here"),
    }
}
