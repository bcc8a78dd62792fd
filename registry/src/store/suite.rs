//! What every store must do. A third implementation is a variant of [`Place`] and a line at the
//! end.

use std::time::Duration;

use database::Result;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Identity, Sqlite, Store, memory::Memory};
use crate::{
    command::{Command, Kind, Record, Slot},
    membership::Writes,
};

/// Where a store can be opened again.
enum Place {
    Sqlite(TempDir),
    Memory(Memory),
}

impl Place {
    async fn try_open(&self) -> Result<Box<dyn Store>> {
        match self {
            Self::Sqlite(directory) => {
                Ok(Box::new(Sqlite::open(&directory.path().join("registry.db")).await?))
            }
            Self::Memory(memory) => memory.open(),
        }
    }

    async fn open(&self) -> Box<dyn Store> {
        self.try_open().await.expect("opens")
    }
}

fn record(given: u64) -> Record {
    Record { at: Timestamp::UNIX_EPOCH, command: Command::Generations { given } }
}

fn put(slot: Slot, given: u64) -> (Slot, Option<Record>) {
    (slot, Some(record(given)))
}

async fn what_is_written_is_there_when_it_is_opened_again(place: Place) {
    let mut store = place.open().await;
    let written = [
        put(Kind::Generations.of(""), 1),
        put(Kind::Desired.of("a"), 2),
        put(Kind::Desired.of("b"), 3),
    ];
    store.write(&Writes::from(written)).await.expect("writes");
    store
        .write(&Writes::from([(Kind::Desired.of("a"), None), put(Kind::Desired.of("b"), 4)]))
        .await
        .expect("writes");
    store.write(&Writes::new()).await.expect("nothing to write is no error");
    let expected = vec![(Kind::Generations.of(""), record(1)), (Kind::Desired.of("b"), record(4))];
    assert_eq!(store.load().await.expect("loads"), expected);
    drop(store);
    assert_eq!(place.open().await.load().await.expect("loads"), expected);
}

async fn writing_the_same_twice_is_writing_it_once(place: Place) {
    let mut store = place.open().await;
    let writes = Writes::from([put(Kind::Register.of("a"), 1), (Kind::Renew.of("a"), None)]);
    for _ in 0..2 {
        store.write(&writes).await.expect("writes");
        assert_eq!(store.load().await.expect("loads"), [(Kind::Register.of("a"), record(1))]);
    }
}

async fn slots_differ_by_kind_and_by_name(place: Place) {
    let mut store = place.open().await;
    let names =
        ["", "a", "A", "a ", "a\u{0}b", "ä", "'; DROP TABLE commands; --", &"n".repeat(128)];
    let slots = || names.iter().flat_map(|name| [Kind::Register.of(name), Kind::Loss.of(name)]);
    store
        .write(&slots().zip(0..).map(|(slot, number)| put(slot, number)).collect())
        .await
        .expect("writes");
    let mut expected: Vec<_> = slots().zip((0..).map(record)).collect();
    expected.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut kept = store.load().await.expect("loads");
    kept.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(kept, expected);
}

async fn it_is_one_cluster_until_it_is_restored_as_another(place: Place) {
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut store = place.open().await;
    assert_eq!(
        store.identity(first).await.expect("has one"),
        Identity { cluster_id: first, epoch: 1 }
    );
    assert_eq!(
        store.identity(second).await.expect("has one"),
        Identity { cluster_id: first, epoch: 1 }
    );
    let restored = Identity { cluster_id: second, epoch: 9 };
    store
        .restore(&Writes::from([put(Kind::Desired.of("a"), 1)]), &restored)
        .await
        .expect("restores");
    drop(store);
    let mut store = place.open().await;
    assert_eq!(store.identity(first).await.expect("has one"), restored);
    assert_eq!(store.load().await.expect("loads"), [(Kind::Desired.of("a"), record(1))]);
}

async fn it_has_one_owner(place: Place) {
    let store = place.open().await;
    assert!(place.try_open().await.is_err(), "somebody has it open");
    drop(store);
    place.open().await;
}

/// As when the owner is dropped in the middle: the same `given` in every slot, whichever it is.
async fn a_write_that_is_dropped_has_happened_or_has_not(place: Place) {
    const SLOTS: usize = 300;
    let all = |given| -> Writes {
        (0..SLOTS).map(|number| put(Kind::Desired.of(&format!("node-{number}")), given)).collect()
    };
    let mut store = place.open().await;
    store.write(&all(0)).await.expect("writes");
    for round in 1..=20 {
        // Cut off a little later in every round; how far it came is for the store to say.
        drop(timeout(Duration::from_micros(200 * round), store.write(&all(round))).await);
        let kept = store.load().await.expect("loads");
        assert_eq!(kept.len(), SLOTS);
        assert!(
            kept.iter().all(|(_, record)| *record == kept[0].1),
            "a part of round {round} is there, and a part is not"
        );
    }
}

macro_rules! suite {
    ($($place:ident $make:expr => [$($test:ident),* $(,)?])*) => {
        $(mod $place {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                super::$test($make).await;
            })*
        })*
    };
    ($($place:ident: $make:expr),* ; $tests:tt) => {
        $(suite! { $place $make => $tests })*
    };
}

suite! {
    sqlite: Place::Sqlite(tempfile::tempdir().expect("a directory")),
    memory: Place::Memory(Memory::default());
    [
        what_is_written_is_there_when_it_is_opened_again,
        writing_the_same_twice_is_writing_it_once,
        slots_differ_by_kind_and_by_name,
        it_is_one_cluster_until_it_is_restored_as_another,
        it_has_one_owner,
        a_write_that_is_dropped_has_happened_or_has_not,
    ]
}
