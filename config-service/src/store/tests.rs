//! The store on a disk that fills up, and what it does with content that it has.

use std::collections::BTreeMap;

use super::commit::Unchanged;
use super::*;

#[tokio::test]
async fn a_disk_that_was_full_is_written_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("config.db")).await.expect("opens");
    let mut draft = Draft {
        parent: String::new(),
        author: "a".to_owned(),
        committer: "a".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        message: "first".to_owned(),
        unchanged: Unchanged::Nothing,
    };
    let files = |size| BTreeMap::from([(MAIN.to_owned(), vec![b'#'; size])]);
    let first = store.commit(&draft, &files(10)).await.expect("commits").revision();
    // Every connection that there is runs out of pages, as on a full disk.
    let mut connections = Vec::new();
    while connections.len() < 4 {
        connections.push(store.pool.acquire().await.expect("a connection"));
    }
    for connection in &mut connections {
        sqlx::query("PRAGMA max_page_count = 1").execute(&mut **connection).await.expect("a limit");
    }
    drop(connections);
    draft.parent = first.id.clone();
    let mut refused = 0;
    let second = loop {
        match store.commit(&draft, &files(1_000_000)).await {
            Ok(second) => break second.revision(),
            Err(full) => {
                assert!(
                    matches!(
                        &full,
                        Error::Database(database::Error::Full(path)) if path.ends_with("config.db")
                    ),
                    "{full:?}"
                );
                assert!(full.to_string().ends_with("config.db is full"), "{full}");
            }
        }
        refused += 1;
        assert_eq!(store.find(&Name::Newest).await.expect("reads"), first);
    };
    assert!((1..=4).contains(&refused), "{refused} of 4 connections were full");
    assert_eq!(store.find(&Name::Newest).await.expect("reads"), second);
}

#[tokio::test]
async fn content_that_the_newest_has_is_the_newest() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("config.db")).await.expect("opens");
    let draft = |parent: &Revision, unchanged| Draft {
        parent: parent.id.clone(),
        author: "a".to_owned(),
        committer: "a".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        message: "other words".to_owned(),
        unchanged,
    };
    let none = Revision {
        id: String::new(),
        number: 0,
        parent: String::new(),
        author: String::new(),
        committer: String::new(),
        committed_at: Timestamp::UNIX_EPOCH,
        message: String::new(),
    };
    let [one, other] =
        [b"one", b"two"].map(|content| BTreeMap::from([(MAIN.to_owned(), content.to_vec())]));
    let first =
        store.commit(&draft(&none, Unchanged::Nothing), &one).await.expect("commits").revision();
    let second =
        store.commit(&draft(&first, Unchanged::Nothing), &other).await.expect("commits").revision();
    let same = store.commit(&draft(&second, Unchanged::Nothing), &other).await.expect("answers");
    assert_eq!(same, Committed::Unchanged(second.clone()));
    assert_eq!(
        store.recommit(&second, &draft(&none, Unchanged::Nothing)).await.expect("answers"),
        Committed::Unchanged(second.clone())
    );
    assert_eq!(store.list(None, 9).await.expect("lists").len(), 2, "nothing was stored");
    // What an earlier one has is a change.
    let third = store.commit(&draft(&second, Unchanged::Nothing), &one).await.expect("commits");
    assert!(matches!(&third, Committed::New(third) if third.number == 3), "{third:?}");
    let third = third.revision();
    let again = store.commit(&draft(&third, Unchanged::Again), &one).await.expect("commits");
    assert!(
        matches!(&again, Committed::New(again) if again.number == 4 && again.parent == third.id),
        "{again:?}"
    );
    // A file more, or one that is called otherwise, is a change.
    for name in ["lists/a.txt", "pages/a.html"] {
        let newest = store.find(&Name::Newest).await.expect("finds");
        let more = one
            .iter()
            .map(|(path, content)| (path.clone(), content.clone()))
            .chain([(name.to_owned(), b"x".to_vec())])
            .collect();
        assert!(
            matches!(
                store.commit(&draft(&newest, Unchanged::Nothing), &more).await,
                Ok(Committed::New(_))
            ),
            "{name}"
        );
    }
}
