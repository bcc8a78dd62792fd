//! What is sent arrives, or is refused.

use bytes::Bytes;
use proto::state::{self as pb, import_request};
use tonic::Code;

use super::*;

fn chunk(name: &str, data: &[u8]) -> pb::Chunk {
    pb::Chunk { name: name.to_owned(), data: data.to_vec() }
}

#[tokio::test]
async fn what_is_sent_arrives() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut sender, mut received) = Sender::new(imported);
    let large = vec![7; PIECE * 2 + 1];
    let content = large.clone();
    let sending = tokio::spawn(async move {
        sender.entry("a/one", content).await?;
        sender.entry("empty", Bytes::new()).await?;
        sender.entry("b", "two").await?;
        sender.end().await
    });
    let mut spool = Spool::create(scratch.path(), 10 << 20).unwrap();
    let parcel = loop {
        match received.recv().await.unwrap().unwrap().part.unwrap() {
            import_request::Part::Chunk(chunk) => spool.push(&chunk).unwrap(),
            import_request::Part::End(end) => break spool.finish(&end).unwrap(),
            import_request::Part::Header(_) => unreachable!("none was sent"),
        }
    };
    sending.await.unwrap().unwrap();
    assert_eq!(parcel.read("a/one").unwrap().unwrap(), large);
    assert_eq!(parcel.read("empty").unwrap().unwrap(), b"");
    assert_eq!(parcel.read("b").unwrap().unwrap(), b"two");
    assert!(parcel.read("c").unwrap().is_none());
    assert_eq!(parcel.size(), large.len() as u64 + 3);
}

#[test]
fn what_differs_from_the_account_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let spool = |chunks: &[pb::Chunk]| {
        let mut spool = Spool::create(scratch.path(), 100).unwrap();
        chunks.iter().try_for_each(|chunk| spool.push(chunk)).map(|()| spool)
    };
    let good = [chunk("a", b"1"), chunk("", b"2"), chunk("b", b"3")];
    let end = pb::End { entries: spool(&good).unwrap().close().entries().cloned().collect() };
    assert!(spool(&good).unwrap().finish(&end).is_ok());
    for bad in [
        &[chunk("a", b"1"), chunk("b", b"3")][..],
        &[chunk("a", b"12")],
        &[chunk("a", b"12"), chunk("b", b"4")],
        &[chunk("b", b"3"), chunk("a", b"12")],
        &[chunk("a", b"12"), chunk("b", b"3"), chunk("c", b"")],
    ] {
        assert!(matches!(spool(bad).unwrap().finish(&end), Err(Malformed::Differs(_))), "{bad:?}");
    }
    for bad in [
        &[chunk("", b"1")][..],
        &[chunk("a", b""), chunk("a", b"")],
        &[chunk("../a", b"")],
        &[chunk("a", &[0; 101])],
    ] {
        assert!(spool(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn names_of_entries() {
    for (name, good) in [
        ("revisions.jsonl", true),
        ("files/00ff", true),
        ("", false),
        ("/etc/passwd", false),
        ("a//b", false),
        ("a/../b", false),
        (".hidden", false),
        ("a b", false),
        ("a/", false),
    ] {
        assert_eq!(is_name(name), good, "{name}");
    }
}

#[test]
fn a_disk_that_fails_is_named_with_the_remedy() {
    let scratch = tempfile::tempdir().unwrap();
    let gone = scratch.path().join("gone");
    let status = refuse(&Spool::create(&gone, 100).unwrap_err());
    assert_eq!(status.code(), Code::Internal, "whoever says it can be reached: {status:?}");
    assert!(
        status.message().contains(&gone.display().to_string())
            && status.message().ends_with("can be written"),
        "{status:?}"
    );
    let full =
        |kind: io::ErrorKind| Malformed::Disk { directory: gone.clone(), source: kind.into() };
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let status = refuse(&full(kind));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status.message().ends_with("gone is full: free some space there, then try again"),
            "{status:?}"
        );
    }
}

#[test]
fn fingerprints_differ_where_anything_does() {
    let of = |entries: &[(&str, &str)]| {
        let entries: Vec<_> =
            entries.iter().map(|(name, content)| (*name, content.as_bytes().to_vec())).collect();
        fingerprint(&entries)
    };
    let base = of(&[("a", "1"), ("b", "2")]);
    assert_eq!(base, of(&[("a", "1"), ("b", "2")]));
    for other in [
        &[("a", "1")][..],
        &[("a", "1"), ("b", "3")],
        &[("a1", ""), ("b", "2")],
        &[("b", "2"), ("a", "1")],
        &[("a", "1b"), ("", "2")],
    ] {
        assert_ne!(of(other), base, "{other:?}");
    }
}
