//! The tier as the store and those who fetch use it, over disks that fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::files::Files;
use crate::cache::{
    budget::Budget,
    content::{Content, Next, Reader, memory::Body},
    disk::{Disk, Found, Settings, Standing, device::Device, reads::NotRead},
    facts::ResponseFacts,
    key::Key,
    object::{self, Object, Parts},
    policy::{Freshness, Times},
    purge::{Mode, Purge, Scope},
    vary,
};

const NOW: u64 = 1_700_000_000;
type Fields = [(&'static [u8], &'static [u8])];

struct Tier {
    disk: Arc<Disk>,
    budget: Arc<Budget>,
    clock: Arc<AtomicU64>,
}

impl Tier {
    fn start(files: &Files) -> Self {
        let (clock, files) = (Arc::new(AtomicU64::new(NOW * 1000)), files.clone());
        let time = clock.clone();
        let budget = Budget::new(64 << 20);
        let settings = Settings {
            open: Box::new(move || Ok(Arc::new(files.clone()) as Arc<dyn Device>)),
            capacity: 16 << 20,
            queue: 8 << 20,
            readers: 2,
            seed: 5,
            clock: Box::new(move || time.load(Ordering::Relaxed)),
        };
        let tier = Self { disk: Disk::start(settings, &budget).unwrap(), budget, clock };
        until("it is loaded", || tier.disk.standing() == Standing::Ready);
        tier
    }

    /// An object as a fill makes it.
    fn object(&self, url: &str, head: &str, body: &[u8], fields: &Fields) -> Arc<Object> {
        let head = format!("HTTP/1.1 200 OK\r\n{head}");
        let facts = ResponseFacts::new(200, object::fields(head.as_bytes()));
        let key = Key::parse(url).unwrap();
        let times = Times { asked_at: NOW, received_at: NOW, wall: NOW };
        let freshness = Freshness::new(&facts, key.as_bytes(), None, times);
        let selection = match &facts.vary {
            crate::cache::facts::Vary::Fields(names) => vary::select(names, fields.iter().copied()),
            _ => vary::Selection::default(),
        };
        let content = Body::new(&self.budget);
        content.append(body, Some(0), |bytes| self.budget.try_hold(bytes));
        content.complete();
        let parts = Parts {
            key,
            head: head.into_bytes().into(),
            selection,
            from: Some(([192, 0, 2, 1], 80).into()),
            freshness,
            declared: None,
            content: Content::Memory(content),
        };
        Arc::new(Object::new(&facts, parts))
    }

    fn write(&self, url: &str, head: &str, body: &[u8], fields: &Fields) {
        let written = self.disk.counts().written.load(Ordering::Relaxed);
        self.disk.offer(&self.object(url, head, body, fields), false, || true);
        until("it is written", || self.disk.counts().written.load(Ordering::Relaxed) > written);
    }

    async fn purge(&self, scope: Scope, mode: Mode) -> Result<u64, String> {
        self.disk.begin_purge(Purge { scope, mode }).await.unwrap()
    }

    async fn find(&self, url: &str, fields: &Fields) -> Option<Found> {
        let key = Key::parse(url).unwrap();
        let mut reading = self.disk.find(&key, fields.iter().copied())?;
        let within = tokio::time::timeout(Duration::from_millis(50), &mut reading.answer).await;
        let read = within.ok().map(|read| read.unwrap_or(Err(NotRead::Corrupt)));
        self.disk.take(&reading, &key, read)
    }
}

impl Drop for Tier {
    fn drop(&mut self) {
        self.disk.stop();
    }
}

fn until(what: &str, state: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !state() {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::yield_now();
    }
}

async fn all(mut reader: Reader) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        match reader.next().await {
            Next::Segment(piece) => {
                assert!(piece.len() <= 64 << 10);
                bytes.extend_from_slice(&piece);
            }
            Next::End => return Some(bytes),
            Next::Failed => return None,
        }
    }
}

#[tokio::test]
async fn what_is_written_is_there_after_a_kill_with_all_that_is_said_of_it() {
    let files = Files::default();
    let tier = Tier::start(&files);
    let head = "Cache-Control: max-age=100, must-revalidate\r\nAge: 7\r\nETag: \"x\"\r\n";
    tier.write("http://a/", head, b"body", &[]);
    let tier = Tier::start(&files.left());
    tier.clock.store((NOW + 60) * 1000, Ordering::Relaxed);
    let found = tier.find("http://a/", &[]).await.unwrap();
    assert_eq!(
        (&found.body[..], found.stored.from),
        (&b"body"[..], Some(([192, 0, 2, 1], 80).into()))
    );
    assert_eq!((found.freshness.age(NOW + 60), found.freshness.lifetime), (67, 100));
    assert!(found.freshness.directives.must_revalidate);
    assert_eq!(found.facts.etag, Some(Bytes::from_static(b"\"x\"")));
    assert!(tier.find("http://b/", &[]).await.is_none());
}

#[tokio::test]
async fn each_variant_for_its_own_requests_after_a_restart_too() {
    let files = Files::default();
    let tier = Tier::start(&files);
    let head = "Cache-Control: max-age=100\r\nVary: Accept-Language\r\n";
    tier.write("http://a/", head, b"german", &[(b"accept-language", b"de")]);
    tier.write("http://a/", head, b"english", &[(b"accept-language", b"en")]);
    let again = Tier::start(&files.left());
    for tier in [&tier, &again] {
        for (language, body) in [(&b"de"[..], "german"), (b"en", "english")] {
            let found = tier.find("http://a/", &[(b"Accept-Language", language)]).await.unwrap();
            assert_eq!(found.body, body);
        }
        assert!(tier.find("http://a/", &[(b"accept-language", b"fr")]).await.is_none());
        assert!(tier.find("http://a/", &[]).await.is_none());
    }
}

#[tokio::test]
async fn a_large_body_is_read_in_pieces_from_any_place() {
    let files = Files::default();
    let tier = Tier::start(&files);
    let body: Vec<u8> = (0..1_000_000u32).map(|at| (at / 7) as u8).collect();
    tier.write("http://a/", "Cache-Control: max-age=100\r\n", &body, &[]);
    let content = tier.find("http://a/", &[]).await.unwrap().content.unwrap();
    assert_eq!(content.len(), 1_000_000);
    assert_eq!(all(content.reader().unwrap()).await.as_deref(), Some(&body[..]));
    for at in [1, 65_535, 65_536, 999_999, 1_000_000] {
        let mut reader = content.reader().unwrap();
        reader.go_to(at);
        assert_eq!(all(reader).await.as_deref(), Some(&body[at as usize..]), "from {at}");
    }
    // Nothing of what was read stays charged.
    assert_eq!(tier.budget.at_work(), 0);
    // A bit is flipped in its middle: what comes before is right, and nothing comes after.
    files.change(&super::super::segment::name(1), |bytes| bytes[500_000] ^= 1);
    assert_eq!(all(content.reader().unwrap()).await, None);
    assert!(tier.find("http://a/", &[]).await.is_none());
}

#[tokio::test]
async fn purged_is_purged_after_a_kill_too() {
    let files = Files::default();
    let tier = Tier::start(&files);
    for url in ["http://a/1", "http://a/2", "http://b/1", "http://c/1"] {
        tier.write(url, "Cache-Control: max-age=100\r\n", b"body", &[]);
    }
    let key = Key::parse("http://b/1").unwrap();
    assert_eq!(tier.purge(Scope::Url(key.clone()), Mode::Hard).await, Ok(1));
    assert_eq!(tier.purge(Scope::prefix("http://a/").unwrap(), Mode::Hard).await, Ok(2));
    assert_eq!(tier.disk.forget(&key), 0);
    let again = Tier::start(&files.left());
    for tier in [&tier, &again] {
        for (url, there) in [
            ("http://a/1", false),
            ("http://a/2", false),
            ("http://b/1", false),
            ("http://c/1", true),
        ] {
            assert_eq!(tier.find(url, &[]).await.is_some(), there, "{url}");
        }
    }
    // What is stored afterwards is there.
    tier.write("http://a/1", "Cache-Control: max-age=100\r\n", b"new", &[]);
    let again = Tier::start(&files.left());
    assert_eq!(again.find("http://a/1", &[]).await.unwrap().body, "new");
}

#[tokio::test]
async fn purged_by_its_tag_its_host_or_a_pattern_hard_or_softly_and_after_a_kill_too() {
    let files = Files::default();
    let tier = Tier::start(&files);
    for (url, tags) in [
        ("http://a/1", "Cache-Tag: news, sport"),
        ("http://a/2", "Surrogate-Key: sport"),
        ("http://b/1.png", "Cache-Tag: x"),
        ("http://c/1", "Cache-Tag: x"),
        ("http://d/1", "Cache-Tag: y"),
    ] {
        tier.write(url, &format!("Cache-Control: max-age=100\r\n{tags}\r\n"), b"body", &[]);
    }
    for (scope, mode, concerned) in [
        (Scope::tag("NEWS"), Mode::Hard, 1),
        (Scope::tag("sport"), Mode::Soft, 1),
        (Scope::regex("[.]png$"), Mode::Hard, 1),
        (Scope::host("c"), Mode::Soft, 1),
        (Scope::tag("nobody's"), Mode::Hard, 0),
    ] {
        assert_eq!(tier.purge(scope.unwrap(), mode).await, Ok(concerned));
    }
    let check = async |tier: &Tier| {
        for (url, purged) in [
            ("http://a/1", None),
            ("http://a/2", Some(true)),
            ("http://b/1.png", None),
            ("http://c/1", Some(true)),
            ("http://d/1", Some(false)),
        ] {
            assert_eq!(tier.find(url, &[]).await.map(|found| found.purged), purged, "{url}");
        }
    };
    check(&tier).await;
    let killed = files.left();
    let again = Tier::start(&killed);
    check(&again).await;
    // From a closed segment, whose list has the tags.
    again.disk.stop();
    let stopped = killed.left();
    let tier = Tier::start(&stopped);
    check(&tier).await;
    // What is stored afterwards is as good as any.
    tier.write("http://a/2", "Cache-Control: max-age=100\r\nCache-Tag: sport\r\n", b"new", &[]);
    assert!(tier.find("http://a/2", &[]).await.is_some_and(|found| !found.purged));
    assert_eq!(tier.purge(Scope::Everything, Mode::Hard).await, Ok(3));
    assert!(Tier::start(&stopped.left()).find("http://d/1", &[]).await.is_none());
}

#[tokio::test]
async fn a_purge_that_cannot_be_written_is_not_acknowledged() {
    let files = Files::default();
    let tier = Tier::start(&files);
    tier.write("http://a/", "Cache-Control: max-age=100\r\n", b"body", &[]);
    files.faults.unwritable.store(true, Ordering::Relaxed);
    let purged = tier.purge(Scope::url("http://a/").unwrap(), Mode::Hard).await;
    assert!(purged.is_err() && tier.find("http://a/", &[]).await.is_none());
    files.faults.unwritable.store(false, Ordering::Relaxed);
}

#[tokio::test]
async fn a_disk_that_fails_is_a_miss_and_left_alone_for_a_while() {
    let files = Files::default();
    let tier = Tier::start(&files);
    for number in 0..10 {
        let url = format!("http://a/{number}");
        tier.write(&url, "Cache-Control: max-age=100\r\n", b"body", &[]);
    }
    files.faults.unreadable.store(true, Ordering::Relaxed);
    for number in 0..5 {
        assert!(tier.find(&format!("http://a/{number}"), &[]).await.is_none());
    }
    assert_eq!(tier.disk.counts().errors.load(Ordering::Relaxed), 5);
    assert!(matches!(tier.disk.standing(), Standing::Down(_)));
    files.faults.unreadable.store(false, Ordering::Relaxed);
    // Nobody asks it before its rest is over.
    assert!(tier.find("http://a/9", &[]).await.is_none());
    tier.clock.fetch_add(60_000, Ordering::Relaxed);
    assert!(tier.find("http://a/9", &[]).await.is_some());
    assert_eq!(tier.disk.standing(), Standing::Ready);
}

#[tokio::test]
async fn a_disk_that_does_not_answer_is_not_waited_for() {
    let files = Files::default();
    let tier = Tier::start(&files);
    tier.write("http://a/", "Cache-Control: max-age=100\r\n", b"body", &[]);
    files.faults.stick(true);
    for late in 1..=5 {
        assert!(tier.find("http://a/", &[]).await.is_none());
        assert_eq!(tier.disk.counts().late.load(Ordering::Relaxed), late);
    }
    assert!(matches!(tier.disk.standing(), Standing::Down(_)));
    files.faults.stick(false);
    // What it was asked for meanwhile comes first, and may take longer than is waited for.
    let mut found = None;
    for _ in 0..200 {
        tier.clock.fetch_add(60_000, Ordering::Relaxed);
        found = tier.find("http://a/", &[]).await;
        if found.is_some() {
            break;
        }
    }
    assert_eq!(found.expect("the disk answers again").body, "body");
}

fn in_directory(path: &std::path::Path) -> Arc<Disk> {
    let clock = Box::new(|| NOW * 1000);
    let settings = Settings::new(path.to_owned(), 16 << 20, 8 << 20, 5, clock);
    Disk::start(settings, &Budget::new(64 << 20)).unwrap()
}

#[test]
fn a_directory_is_for_one_process_and_for_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let first = in_directory(&path);
    until("it is loaded", || first.standing() == Standing::Ready);
    let second = in_directory(&path);
    let says = |disk: &Disk, word: &str| match disk.standing() {
        Standing::Down(reason) => reason.contains(word),
        _ => false,
    };
    until("the second is told", || says(&second, "another process"));
    // It comes when the first has gone.
    first.stop();
    until("the second has it", || second.standing() == Standing::Ready);
    second.stop();

    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    let third = in_directory(&foreign);
    until("the third is told", || says(&third, "thesis.txt"));
    third.stop();
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1, "nothing was put beside it");
}
