//! The log against a map: whatever is cut off or flipped, nothing is found that was not stored, and
//! nothing that was purged.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::files::Files;
use crate::cache::{
    disk::{
        counts::Counts,
        device::Device,
        load,
        log::{Log, NotWritten, Record},
        purges::Purge,
        record, segment,
        stored::{Altered, Place, Stored},
    },
    policy::Source,
    purge::{self, Mode, Scope},
};

const CAPACITY: u64 = 4 << 20;
const NOW: u64 = 1_700_000_000;

fn open(files: &Files) -> Log {
    open_at(files, CAPACITY, NOW)
}

fn open_at(files: &Files, capacity: u64, now: u64) -> Log {
    load::open(Arc::new(files.clone()), capacity, now, 42, Arc::<Counts>::default()).unwrap()
}

fn stored(key: &str) -> Stored {
    Stored {
        key: key.as_bytes().to_vec(),
        status: 200,
        head: Bytes::from_static(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\n"),
        from: None,
        lifetime: 100,
        source: Source::MaxAge,
        altered: Altered::default(),
        initial_age: 0,
        received_at: NOW,
        declared: None,
        varied: None,
        body: Place::Inline,
    }
}

fn put(log: &mut Log, key: &str, body: &[u8]) -> Result<(), NotWritten> {
    let sequence = log.shared().number();
    let body = [Bytes::copy_from_slice(body)];
    log.append(Record { sequence, stored: &stored(key), body: &body })?;
    Ok(log.flush()?)
}

/// As a reader does it.
fn get(log: &Log, key: &str) -> Option<Vec<u8>> {
    let shared = log.shared();
    let hash = shared.hash(key.as_bytes());
    let place = shared.index.candidates(hash).last()?.place;
    let segment = shared.segment(place.segment)?;
    let mut bytes = vec![0; place.bytes() as usize];
    segment.file.read_at(&mut bytes, place.at()).ok()?;
    let (header, meta, body) = record::decode(&bytes, shared.secret, place.segment, place.unit)?;
    let stored = Stored::decode(meta)?;
    let right =
        stored.key == key.as_bytes() && shared.purged(hash, &stored, header.sequence).is_none();
    shared.index.touch(hash, &place);
    right.then(|| body.to_vec())
}

/// A purge as the tier does it.
fn purge(log: &mut Log, purge: Purge) -> u64 {
    let (purge, sequence, removed) = log.shared().purge(purge);
    log.write_purges(&[(purge.clone(), sequence)], u64::MAX).unwrap();
    match purge {
        Purge::Other(purge) => log.sweep(&purge, sequence),
        Purge::Key(..) => removed,
    }
}

fn key(log: &Log, key: &str) -> Purge {
    Purge::Key(log.shared().hash(key.as_bytes()), Mode::Hard)
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize),
    Get(u8),
    PurgeKey(u8),
    PurgePrefix(u8),
    /// The process is killed, and another one starts.
    Kill,
    /// The process stops, and another one starts.
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![3 => 0usize..2000, 1 => 100_000usize..300_000];
    let step = prop_oneof![
        8 => (any::<u8>(), size).prop_map(|(key, size)| Step::Put(key % 40, size)),
        4 => any::<u8>().prop_map(|key| Step::Get(key % 40)),
        1 => any::<u8>().prop_map(|key| Step::PurgeKey(key % 40)),
        1 => any::<u8>().prop_map(|key| Step::PurgePrefix(key % 4)),
        1 => Just(Step::Kill),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec(step, 1..80)
}

fn name(key: u8) -> String {
    format!("http://host-{}/{key}", key % 4)
}

/// What may be found: the versions since the last purge, the newest last.
#[derive(Default)]
struct Model {
    versions: HashMap<u8, Vec<Vec<u8>>>,
    bytes: usize,
}

fn run(steps: &[Step], files: &mut Files, log: &mut Log, model: &mut Model) {
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Put(key, size) => {
                let body: Vec<u8> = (0..*size).map(|at| (at + number) as u8).collect();
                put(log, &name(*key), &body).unwrap();
                model.bytes += size + 1000;
                model.versions.entry(*key).or_default().push(body);
            }
            Step::Get(key) => {
                let newest = model.versions.get(key).and_then(|it| it.last().cloned());
                let found = get(log, &name(*key));
                // It may have gone for want of room.
                assert!(found == newest || (found.is_none() && model.bytes > 2_000_000));
            }
            Step::PurgeKey(purged) => {
                let purged_key = key(log, &name(*purged));
                purge(log, purged_key);
                model.versions.remove(purged);
            }
            Step::PurgePrefix(host) => {
                let scope = Scope::prefix(&format!("http://host-{host}/")).unwrap();
                purge(log, Purge::Other(purge::Purge { scope, mode: Mode::Hard }));
                model.versions.retain(|key, _| key % 4 != *host);
            }
            Step::Kill | Step::Stop => {
                if matches!(step, Step::Stop) {
                    log.seal().unwrap();
                }
                *files = files.left();
                *log = open(files);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_log_is_a_map_that_forgets(steps in steps()) {
        let (mut files, mut model) = (Files::default(), Model::default());
        let mut log = open(&files);
        run(&steps, &mut files, &mut log, &mut model);
        for key in 0..40 {
            let newest = model.versions.get(&key).and_then(|it| it.last().cloned());
            let found = get(&log, &name(key));
            prop_assert!(found == newest || (found.is_none() && model.bytes > 2_000_000));
        }
        prop_assert!(log.shared().used() <= CAPACITY, "{} bytes", log.shared().used());
    }

    #[test]
    fn what_was_cut_or_flipped_is_not_served(
        steps in steps(),
        file in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let (mut files, mut model) = (Files::default(), Model::default());
        let mut log = open(&files);
        run(&steps, &mut files, &mut log, &mut model);
        let names = files.names().unwrap();
        let left = files.left();
        left.change(&names[file.index(names.len())], |bytes| {
            if !bytes.is_empty() {
                let at = place.index(bytes.len() * 8);
                if cut { bytes.truncate(at / 8) } else { bytes[at / 8] ^= 1 << (at % 8) }
            }
        });
        // Purges that were cut off whole are the one thing that nobody could notice: they are on
        // the disk before they are acknowledged.
        prop_assume!(!(cut && names[file.index(names.len())] == "purges"));
        let log = open(&left);
        for key in 0..40 {
            if let Some(found) = get(&log, &name(key)) {
                let known = model.versions.get(&key).is_some_and(|it| it.contains(&found));
                prop_assert!(known, "{} bytes for key {}", found.len(), key);
            }
        }
    }
}

#[test]
fn only_the_damaged_object_goes() {
    let files = Files::default();
    let mut log = open(&files);
    for number in 0..100 {
        put(&mut log, &format!("http://a/{number}"), format!("body {number}").as_bytes()).unwrap();
    }
    let left = files.left();
    // Its header: a scan finds what is behind it all the same.
    left.change(&segment::name(1), |bytes| {
        let at = bytes.windows(7).position(|it| it == b"body 50").unwrap();
        let header = (at / 64 - 4) * 64;
        (header..at).for_each(|at| bytes[at] ^= 0xff);
    });
    let log = open(&left);
    let gone: Vec<usize> =
        (0..100).filter(|it| get(&log, &format!("http://a/{it}")).is_none()).collect();
    assert!((1..=3).contains(&gone.len()) && gone.contains(&50), "{gone:?}");
}

#[test]
fn a_body_that_looks_like_a_record_is_none() {
    let files = Files::default();
    let mut log = open(&files);
    put(&mut log, "http://a/real", b"real").unwrap();
    let mut forged = Vec::new();
    // As if its maker knew everything but the secret.
    for unit in 0..40u32 {
        record::encode(
            &mut forged,
            record::Secret(41),
            (1, unit),
            record::Kind::Object,
            u64::MAX / 2,
            log.shared().hash(b"http://a/real"),
            &stored("http://a/real").encode(),
            std::iter::once(&b"forged"[..]),
        );
    }
    put(&mut log, "http://evil/", &forged).unwrap();
    let left = files.left();
    // The header in front of it is lost.
    left.change(&segment::name(1), |bytes| {
        let at = bytes.windows(12).position(|it| it == b"http://evil/").unwrap();
        bytes[(at - 4) / 64 * 64 - 64] ^= 1;
        bytes[(at - 4) / 64 * 64] ^= 1;
        bytes[at - 4 - 64] ^= 1;
    });
    assert_eq!(get(&open(&left), "http://a/real").as_deref(), Some(&b"real"[..]));
}

#[test]
fn what_is_used_stays_and_the_rest_goes_in_the_order_in_which_it_came() {
    let files = Files::default();
    let mut log = open(&files);
    put(&mut log, "http://a/popular", b"popular").unwrap();
    put(&mut log, "http://a/once", b"once").unwrap();
    for number in 0..200 {
        put(&mut log, &format!("http://scan/{number}"), &[7; 100_000]).unwrap();
        assert!(get(&log, "http://a/popular").is_some(), "gone after {number}");
    }
    assert!(get(&log, "http://a/once").is_none() && log.shared().used() <= CAPACITY);
    // And so it is after a restart.
    log.seal().unwrap();
    let log = open(&files.left());
    assert!(get(&log, "http://a/popular").is_some());
    assert!(get(&log, "http://scan/199").is_some() && get(&log, "http://scan/0").is_none());
}

#[test]
fn a_full_disk_keeps_what_fits() {
    let files = Files::default();
    let mut log = open_at(&files, 64 << 20, NOW);
    files.faults.room.store(5 << 20, Ordering::Relaxed);
    let mut failed = 0;
    for number in 0..200 {
        failed += u32::from(put(&mut log, &format!("http://a/{number}"), &[7; 100_000]).is_err());
    }
    let found = (0..200).filter(|it| get(&log, &format!("http://a/{it}")).is_some()).count();
    assert!(found > 20, "{found} are there, {failed} failed");
    // Nothing of a half-written one is believed afterwards.
    let log = open(&files.left());
    for number in 0..200 {
        let found = get(&log, &format!("http://a/{number}"));
        assert!(found.is_none_or(|body| body == [7; 100_000]));
    }
}

#[test]
fn a_file_system_that_is_nearly_full_gets_its_room_back() {
    let files = Files::default();
    let mut log = open_at(&files, 64 << 20, NOW);
    for number in 0..30 {
        put(&mut log, &format!("http://a/{number}"), &[7; 100_000]).unwrap();
    }
    let used = log.shared().used();
    log.seal().unwrap();
    files.faults.left.store(1 << 20, Ordering::Relaxed);
    // Nothing that the cache could give back is enough here.
    assert!(put(&mut log, "http://b/", b"b").is_err() && log.shared().used() == 0 && used > 0);
    files.faults.left.store(1 << 30, Ordering::Relaxed);
    put(&mut log, "http://b/", b"b").unwrap();
    assert!(get(&log, "http://b/").is_some());
}

#[test]
fn what_another_version_wrote_is_removed() {
    let files = Files::default();
    let mut log = open(&files);
    put(&mut log, "http://a/", b"a").unwrap();
    // The format, with the right sum: any other version.
    let left = files.left();
    left.change("cache", |bytes| {
        let secret = log.shared().secret;
        bytes[16] = 2;
        let sum = secret.sum(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
    });
    let mut log = open(&left);
    assert!(get(&log, "http://a/").is_none() && log.shared().used() == 0);
    put(&mut log, "http://a/", b"b").unwrap();
    assert_eq!(get(&open(&left.left()), "http://a/").as_deref(), Some(&b"b"[..]));
    // A record of another version is passed over, and those beside it are not.
    put(&mut log, "http://b/", b"c").unwrap();
    let left = left.left();
    left.change(&segment::name(1), |bytes| {
        let secret = log.shared().secret;
        bytes[4] = 9;
        let sum = secret.sum(&bytes[..56]);
        bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    });
    let log = open(&left);
    assert!(get(&log, "http://a/").is_none() && get(&log, "http://b/").is_some());
}

#[test]
fn a_clock_that_was_set_back_makes_what_is_there_doubtful() {
    let files = Files::default();
    let mut log = open(&files);
    put(&mut log, "http://a/", b"a").unwrap();
    let shared = log.shared();
    load::note_clock(&*shared.device, shared.secret, NOW + 100).unwrap();
    for (now, doubtful) in [(NOW + 100, false), (NOW + 99, false), (NOW + 50, true)] {
        let log = open_at(&files.left(), CAPACITY, now);
        assert_eq!(log.shared().doubtful > 1, doubtful, "at {now}");
    }
    let left = files.left();
    left.change("clock", |bytes| bytes[3] ^= 1);
    assert!(open(&left).shared().doubtful > 1);
}

#[test]
fn purges_that_say_nothing_any_more_are_forgotten() {
    let files = Files::default();
    let mut log = open(&files);
    for round in 0..20_000 {
        let purged = key(&log, &format!("http://a/{round}"));
        purge(&mut log, purged);
    }
    let length = files.read("purges").unwrap().len();
    assert!(length < 300_000, "{length} bytes");
}
