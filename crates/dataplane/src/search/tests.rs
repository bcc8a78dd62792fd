use std::{cell::Cell, fs, path::PathBuf};

use super::*;

/// `TIME NAME` a line.
#[derive(Debug)]
struct Word {
    at: u64,
    name: String,
}

impl Record for Word {
    fn parse(line: &[u8]) -> Option<Self> {
        let (at, name) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some(Self { at: at.parse().ok()?, name: name.to_owned() })
    }

    fn ended_at(&self) -> u64 {
        self.at
    }
}

/// Those whose names end so.
struct Ending(&'static str);

impl Wanted<Word> for Ending {
    fn look(&self, line: &[u8]) -> Look {
        if line.ends_with(b"?") { Look::NoId } else { Look::Perhaps }
    }

    fn takes(&self, word: &Word) -> bool {
        word.name.ends_with(self.0)
    }
}

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

/// A log with a record a minute, the newest `per` of them in `access.log`, those before them in
/// `access.log.1`, and so on.
fn log(minutes: u64, per: u64, padding: usize) -> Place {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    for (number, first) in (0..minutes).step_by(usize::try_from(per).expect("small")).enumerate() {
        let line = |minute: u64| format!("{} {}n{minute}\n", minute * 60_000, "x".repeat(padding));
        let text: String = (first..(first + per).min(minutes)).map(line).collect();
        let back = (minutes.div_ceil(per)) - 1 - number as u64;
        let place =
            if back == 0 { path.clone() } else { dir.path().join(format!("access.log.{back}")) };
        fs::write(&place, text).expect("written");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(60 * (first + per));
        File::options().write(true).open(place).expect("it").set_modified(time).expect("its time");
    }
    Place { _dir: dir, path }
}

const ALL: Bounds = Bounds { results: 100, bytes: u64::MAX, since: None, until: None };

fn names(found: &Found<Word>) -> Vec<&str> {
    found.records.iter().map(|word| word.name.trim_start_matches('x')).collect()
}

#[test]
fn the_newest_come_first_over_all_files() {
    let log = log(25, 10, 0);
    let found = search(&log.path, &Ending("4"), &ALL, |_| true);
    assert_eq!(names(&found), ["n24", "n14", "n4"]);
    assert_eq!(
        (found.searched.back_to, found.searched.files, found.searched.stopped),
        (Some(0), 3, None)
    );
    let two = search(&log.path, &Ending("4"), &Bounds { results: 2, ..ALL }, |_| true);
    assert_eq!(
        (names(&two), two.searched.back_to, two.searched.stopped),
        (vec!["n24", "n14"], Some(14 * 60_000), None)
    );
    assert_eq!(two.searched.files, 2, "what is older is not opened");
}

#[test]
fn times_bound_it_and_what_is_outside_is_hardly_read() {
    // 12 MB in three files.
    let log = log(3000, 1000, 4000);
    let minute = 60_000;
    let bounds = Bounds { since: Some(1490 * minute), until: Some(1500 * minute), ..ALL };
    let found = search(&log.path, &Ending("5"), &bounds, |_| true);
    assert_eq!(names(&found), ["n1495"]);
    assert_eq!(found.searched.stopped, None);
    assert!(found.searched.bytes < 3 << 20, "{} bytes were read", found.searched.bytes);
    let edges = search(
        &log.path,
        &Ending(""),
        &Bounds { since: Some(1490 * minute), until: Some(1491 * minute), ..ALL },
        |_| true,
    );
    assert_eq!(names(&edges), ["n1491", "n1490"]);
}

#[test]
fn bytes_and_the_listener_bound_it() {
    let log = log(3000, 1000, 4000);
    let some = search(&log.path, &Ending("none"), &Bounds { bytes: 1 << 20, ..ALL }, |_| true);
    assert_eq!((some.searched.stopped, some.searched.files), (Some(Stopped::Bytes), 1));
    assert!(
        some.searched.back_to.is_some_and(|back| back > 2000 * 60_000)
            && some.searched.bytes < 2 << 20,
        "{:?}",
        some.searched
    );
    // What was searched does not have to be searched again.
    let rest = Bounds { until: some.searched.back_to, ..ALL };
    assert_eq!(names(&search(&log.path, &Ending("n2000"), &rest, |_| true)), ["n2000"]);
    let asked = Cell::new(0);
    let left = search(&log.path, &Ending("none"), &ALL, |_| {
        asked.set(asked.get() + 1);
        asked.get() < 3
    });
    assert_eq!((left.searched.stopped, asked.get()), (Some(Stopped::Time), 3));
}

#[test]
fn what_is_no_record_is_passed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    fs::write(&path, b"1000 a\n\xff\xfe\n\nnonsense\n2000 b?\n3000 a\n4000 hal").expect("written");
    fs::write(dir.path().join("access.log.2.gz"), b"\x1f\x8b").expect("written");
    let found = search(&path, &Ending("a"), &ALL, |_| true);
    assert_eq!(
        (names(&found), found.searched.without_id),
        (vec!["a", "a"], 1),
        "a line without its end may still be written"
    );
    assert_eq!(found.searched.skipped, ["access.log.2.gz (compressed)"]);
    let nowhere = search(&dir.path().join("none/access.log"), &Ending("a"), &ALL, |_| true);
    assert_eq!(nowhere.searched.stopped, Some(Stopped::Unreadable));
}

#[tokio::test]
async fn one_search_at_a_time_and_none_for_nobody() {
    let log = log(10, 10, 0);
    let searcher = aside::Searcher::of(log.path.clone());
    for _ in 0..3 {
        let mut reports = searcher.begin(Ending("4"), ALL).await;
        let mut last = None;
        while let Some(report) = reports.recv().await {
            last = Some(report);
        }
        let last = last.expect("a report");
        assert!(last.last && last.records.len() == 1, "{last:?}");
    }
}
