use std::sync::Mutex;

use super::*;

/// Keeps the numbers that it is handed.
#[derive(Debug, Default)]
struct Numbers(Mutex<Vec<u64>>);

impl Log for Numbers {
    type Records = u64;

    fn count(_: &u64) -> u64 {
        1
    }

    fn write(&self, record: &u64, lines: &mut Vec<u8>) {
        lines.extend_from_slice(format!("{record}\n").as_bytes());
    }

    fn keep<'l>(&self, records: impl Iterator<Item = u64>, lines: &'l [u8]) -> Cow<'l, [u8]> {
        self.0.lock().unwrap().extend(records);
        Cow::Borrowed(lines)
    }
}

fn started(path: PathBuf, rotate: Rotate) -> (Recorder<Numbers>, JoinHandle<()>) {
    start(Numbers::default(), path, 64, rotate).unwrap()
}

fn until(mut there: impl FnMut() -> bool) {
    while !there() {
        std::thread::yield_now();
    }
}

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn lines_reach_the_file_across_a_rotation_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let (path, rotated) = (dir.path().join("access.log"), dir.path().join("rotated"));
    let (recorder, thread) = started(path.clone(), Rotate::default());
    recorder.record(201);
    until(|| read(&path) == "201\n");
    std::fs::rename(&path, &rotated).unwrap();
    recorder.record(202);
    until(|| read(&path) == "202\n");
    recorder.record(203);
    let log = Arc::clone(&recorder.log);
    drop(recorder);
    thread.join().unwrap();
    assert_eq!((read(&rotated), read(&path)), ("201\n".to_owned(), "202\n203\n".to_owned()));
    assert_eq!(*log.0.lock().unwrap(), [201, 202, 203]);
}

#[tokio::test]
async fn a_finished_log_has_every_line_although_somebody_still_holds_a_recorder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let (recorder, thread) = started(path.clone(), Rotate::default());
    let kept = recorder.clone();
    (0..50).for_each(|number| recorder.record(number));
    recorder.finish(&thread, Duration::from_secs(60)).await;
    assert!(thread.is_finished());
    assert_eq!(read(&path).lines().count(), 50);
    kept.record(50);
    assert_eq!(kept.dropped(), 1, "it comes too late, and is counted");
}

#[test]
fn the_file_is_moved_aside_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let (recorder, thread) = started(path.clone(), Rotate::default());
    recorder.rotation().set(Rotate { size: 1, keep: 2 });
    for record in 201..=205 {
        recorder.record(record);
        let line = format!("{record}\n");
        until(|| read(&path) == line || read(&dir.path().join("access.log.1")) == line);
    }
    drop(recorder);
    thread.join().unwrap();
    let files = std::fs::read_dir(dir.path()).unwrap().map(|file| read(&file.unwrap().path()));
    let all: Vec<_> = files.collect();
    assert_eq!(all.len(), 3, "one that is written and two that were: {all:?}");
    let has = |line: &str| all.iter().any(|file| file.contains(line));
    assert!(has("205") && !has("201"), "the newest are kept: {all:?}");
}

#[test]
fn a_full_queue_drops_and_counts() {
    let (recorder, _queue) =
        Recorder::new(Numbers::default(), PathBuf::new(), 1, Rotate::default());
    for record in 0..3 {
        recorder.record(record);
    }
    assert_eq!(recorder.dropped(), 2);
}
