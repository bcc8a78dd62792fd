//! Both sides over a real socket, and every way in which one of them does not come to its end.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use super::{
    Belongings, Claimant, Estate, Handed, Heir, HelloOf, Offer, Process, Totals,
    channel::Channel,
    claim,
    message::{Answer, Hello, Step, Word},
    socket_in,
};

const SOON: Duration = Duration::from_secs(5);
const OWN: Claimant<'_> = Claimant { service: "balancer", name: "b-1", clusters: &[] };

/// What was asked of the running process.
#[derive(Default)]
struct Seen {
    prepared: AtomicU32,
    went_on: AtomicU32,
    handed_over: AtomicU32,
    stops: AtomicU32,
}

/// A service with one descriptor, and the process around it.
struct Double(Arc<Seen>);

impl Estate for Double {
    fn belongings(&self) -> std::io::Result<Belongings> {
        let (one, _) = UnixStream::pair()?;
        let handed = vec![Handed::one("socket", "a", one)?];
        Ok(Belongings { handed, state: [("k".to_owned(), "v".to_owned())].into() })
    }

    fn totals(&self) -> Totals {
        [("a".to_owned(), [("requests".to_owned(), 7)].into())].into()
    }

    fn hand_over(&self) {
        self.0.handed_over.fetch_add(1, SeqCst);
    }
}

impl Process for Double {
    fn belongings(&self) -> std::io::Result<Vec<Handed>> {
        Ok(Vec::new())
    }

    fn totals(&self) -> Totals {
        Totals::new()
    }

    fn prepare(&self) {
        self.0.prepared.fetch_add(1, SeqCst);
    }

    fn go_on(&self) {
        self.0.went_on.fetch_add(1, SeqCst);
    }

    fn hand_over(&self, successor: u32) {
        assert_eq!(successor, std::process::id());
        self.0.handed_over.fetch_add(10, SeqCst);
    }

    fn stops(&self) -> bool {
        self.0.stops.load(SeqCst) > 0
    }
}

/// A running process that can be taken over from.
struct Running {
    directory: tempfile::TempDir,
    seen: Arc<Seen>,
    heir: Heir,
}

impl Running {
    fn start() -> Self {
        let (directory, seen) = (tempfile::tempdir().unwrap(), Arc::new(Seen::default()));
        let heir = Heir::default();
        let double = || Arc::new(Double(Arc::clone(&seen)));
        let parties: (Arc<dyn Estate>, Arc<dyn Process>) = (double(), double());
        let hello = HelloOf::new(&OWN);
        let offer =
            Arc::new(Offer::new(hello, "id-1".into(), parties, heir.clone(), directory.path()));
        let listener = tokio::net::UnixListener::from_std(offer.listen().unwrap()).unwrap();
        tokio::spawn(offer.serve(Arc::new(listener)));
        Self { directory, seen, heir }
    }

    async fn claim(&self, own: &'static Claimant<'static>) -> Result<bool, String> {
        let path = self.directory.path().to_owned();
        let claimed = tokio::task::spawn_blocking(move || claim(&path, own)).await.unwrap();
        claimed.map(|it| it.is_some()).map_err(|it| it.to_string())
    }

    async fn by_hand<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Channel) -> T + Send + 'static,
    ) -> T {
        let path = socket_in(self.directory.path());
        let acted = tokio::task::spawn_blocking(move || {
            act(&mut Channel::new(UnixStream::connect(path).unwrap()))
        });
        acted.await.unwrap()
    }

    async fn went_on(&self, times: u32) {
        while self.seen.went_on.load(SeqCst) < times {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.seen.handed_over.load(SeqCst), 0, "it serves as before");
    }

    /// Somebody comes to the end, which only works where nobody else is on the way.
    async fn is_taken_over(&self) -> Totals {
        let path = self.directory.path().to_owned();
        let claimed = tokio::task::spawn_blocking(move || claim(&path, &OWN)).await.unwrap();
        let predecessor = claimed.unwrap().unwrap();
        assert_eq!((predecessor.id(), predecessor.state("k")), ("id-1", Some("v")));
        assert_eq!(predecessor.take("socket", "a").len(), 1);
        assert!(predecessor.take("socket", "a").is_empty(), "given once");
        let totals = predecessor.confirm().await.unwrap();
        predecessor.confirmed().await;
        let (told, late) = mpsc::sync_channel(1);
        predecessor.hear_late(move |totals| told.send(totals).unwrap()).unwrap();
        while self.seen.handed_over.load(SeqCst) != 11 {
            tokio::task::yield_now().await;
        }
        let heir = self.heir.clone();
        let more = [("a".to_owned(), [("requests".to_owned(), 9)].into())].into();
        tokio::task::spawn_blocking(move || heir.tell(more)).await.unwrap();
        let late = tokio::task::spawn_blocking(move || late.recv_timeout(SOON)).await.unwrap();
        assert_eq!(late.unwrap()["a"]["requests"], 9);
        totals
    }
}

fn hello() -> Hello {
    OWN.hello()
}

fn offered(channel: &mut Channel) {
    channel.send(&hello(), SOON).unwrap();
    assert!(matches!(channel.receive(Some(SOON)).unwrap(), Answer::Offer(_)));
    assert_eq!(channel.receive_descriptors(1, SOON).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_gets_descriptors_state_and_counters() {
    let running = Running::start();
    assert_eq!(running.is_taken_over().await["a"]["requests"], 7);
    let refused = running.claim(&OWN).await.unwrap_err();
    assert!(refused.contains("another process"), "it was taken over from already: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_breaks_off_anywhere_changes_nothing() {
    let running = Running::start();
    running.by_hand(|_| ()).await;
    running.went_on(1).await;
    running.by_hand(|channel| channel.send(&hello(), SOON).unwrap()).await;
    running.went_on(2).await;
    running.by_hand(offered).await;
    running.went_on(3).await;
    running
        .by_hand(|channel| {
            offered(channel);
            channel.send(&Step::Taken, SOON).unwrap();
            assert!(channel.receive::<Word>(Some(SOON)).is_err(), "out of turn");
        })
        .await;
    running.went_on(4).await;
    running
        .by_hand(|channel| {
            offered(channel);
            channel.send(&Step::Ready, SOON).unwrap();
            assert!(matches!(channel.receive(Some(SOON)).unwrap(), Word::Go(_)));
        })
        .await;
    running.went_on(5).await;
    running.by_hand(|channel| channel.send(&"no hello", SOON).unwrap()).await;
    running.went_on(6).await;
    running.is_taken_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_somebody_else_is_refused_with_the_reason() {
    static OTHER: Claimant<'static> = Claimant { service: "balancer", name: "b-2", clusters: &[] };
    let running = Running::start();
    let refused = running.claim(&OTHER).await.unwrap_err();
    assert!(refused.contains("balancer b-1 runs there, not balancer b-2"), "{refused}");
    let newer = running.by_hand(|channel| {
        channel.send(&Hello { protocol: 99, ..hello() }, SOON).unwrap();
        channel.receive(Some(SOON)).unwrap()
    });
    assert!(matches!(newer.await, Answer::Refused(why) if why.contains("version 99")));
    running.seen.stops.store(1, SeqCst);
    let refused = running.claim(&OWN).await.unwrap_err();
    assert!(refused.contains("being stopped"), "{refused}");
    assert_eq!(running.seen.prepared.load(SeqCst), 0);
    running.seen.stops.store(0, SeqCst);
    running.is_taken_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time() {
    let running = Running::start();
    let path = running.directory.path().to_owned();
    let first = tokio::task::spawn_blocking(move || claim(&path, &OWN)).await.unwrap().unwrap();
    let refused = running.claim(&OWN).await.unwrap_err();
    assert!(refused.contains("another process is taking over"), "{refused}");
    drop(first);
    running.went_on(1).await;
    running.is_taken_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_meanwhile_says_so() {
    let running = Running::start();
    let path = running.directory.path().to_owned();
    let claimed = tokio::task::spawn_blocking(move || claim(&path, &OWN)).await.unwrap();
    let predecessor = claimed.unwrap().unwrap();
    running.seen.stops.store(1, SeqCst);
    let error = predecessor.confirm().await.unwrap_err().to_string();
    assert!(error.contains("goes on: it is being stopped"), "{error}");
    running.went_on(1).await;
}

#[test]
fn nobody_is_there() {
    let directory = tempfile::tempdir().unwrap();
    assert!(claim(directory.path(), &OWN).unwrap().is_none());
    drop(UnixListener::bind(socket_in(directory.path())).unwrap());
    assert!(claim(directory.path(), &OWN).unwrap().is_none(), "a dead process left the file");
}

#[test]
fn a_living_process_that_breaks_off_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(socket_in(directory.path())).unwrap();
    let breaking = std::thread::spawn(move || {
        let mut channel = Channel::new(listener.accept().unwrap().0);
        channel.receive::<Hello>(Some(SOON)).unwrap();
    });
    let error = claim(directory.path(), &OWN).unwrap_err().to_string();
    assert!(error.contains("does not finish"), "{error}");
    breaking.join().unwrap();
}
