//! Reuse, staleness, generations and limits, against real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Limits, Pool, Reuse};
use crate::method::Method;
use crate::stream::Stream;
use crate::worker::{Worker, block_on};

const LONG: Duration = Duration::from_secs(20);

async fn pair(worker: &Worker, listener: &TcpListener) -> (Stream, TcpStream) {
    let (ours, theirs) = tokio::join!(
        Stream::connect(worker, listener.local_addr().unwrap(), LONG),
        listener.accept()
    );
    (ours.unwrap(), theirs.unwrap().0)
}

fn with_pool<F: Future<Output = ()>>(
    limits: Limits,
    body: impl FnOnce(Worker, TcpListener, Pool<&'static str>) -> F,
) {
    block_on(|worker| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::new(&worker, limits);
        tokio::time::timeout(2 * LONG, body(worker, listener, pool)).await.expect("the test hangs");
    });
}

#[test]
fn the_latest_goes_out_first_and_the_oldest_makes_room() {
    with_pool(
        Limits { per_upstream: 2, ..Limits::default() },
        |worker, listener, pool| async move {
            let mut peers = Vec::new();
            let mut ports = Vec::new();
            for _ in 0..3 {
                let (ours, theirs) = pair(&worker, &listener).await;
                ports.push(ours.local_addr().unwrap());
                peers.push(theirs);
                pool.put("a", 1, ours);
            }
            assert_eq!(pool.len(), 2);
            assert!(pool.take(&"b", 1, Reuse::Replayable).is_none());
            let first = pool.take(&"a", 1, Reuse::Replayable).unwrap();
            let second = pool.take(&"a", 1, Reuse::Fresh(LONG)).unwrap();
            assert_eq!(
                [first.local_addr().unwrap(), second.local_addr().unwrap()],
                [ports[2], ports[1]]
            );
            assert!(pool.take(&"a", 1, Reuse::Replayable).is_none());
            assert!(pool.is_empty());
        },
    );
}

#[test]
fn for_want_of_descriptors_the_oldest_of_all_is_given_up() {
    with_pool(Limits::default(), |worker, listener, pool| async move {
        let mut peers = Vec::new();
        let mut ports = Vec::new();
        for key in ["a", "b", "a"] {
            let (ours, theirs) = pair(&worker, &listener).await;
            ports.push(ours.local_addr().unwrap());
            peers.push(theirs);
            pool.put(key, 1, ours);
        }
        assert!(pool.give_up_one());
        assert_eq!(peers[0].read(&mut [0]).await.unwrap(), 0);
        assert!(pool.give_up_one());
        assert_eq!(peers[1].read(&mut [0]).await.unwrap(), 0);
        assert_eq!(pool.len(), 1);
        assert_eq!(pool.take(&"a", 1, Reuse::Replayable).unwrap().local_addr().unwrap(), ports[2]);
        assert!(!pool.give_up_one());
    });
}

#[test]
fn a_connection_that_the_peer_closed_or_spoke_on_is_not_handed_out() {
    for reuse in [Reuse::Replayable, Reuse::Fresh(LONG)] {
        for unasked in [&b""[..], b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
            with_pool(Limits::default(), |worker, listener, pool| async move {
                let (ours, mut theirs) = pair(&worker, &listener).await;
                pool.put("a", 1, ours);
                theirs.write_all(unasked).await.unwrap();
                if unasked.is_empty() {
                    drop(theirs);
                }
                // The event loop sees it before it is asked.
                while pool
                    .0
                    .borrow_mut()
                    .idle
                    .get_mut("a")
                    .and_then(|idle| idle.first_mut())
                    .is_some_and(|idle| !idle.stream.is_dead())
                {
                    tokio::task::yield_now().await;
                }
                tokio::time::sleep(Duration::ZERO).await;
                assert!(pool.take(&"a", 1, reuse).is_none());
                assert!(pool.is_empty());
            });
        }
    }
}

#[test]
fn generations_retire_what_is_idle_and_what_comes_back_late() {
    with_pool(Limits::default(), |worker, listener, pool| async move {
        let (one, _peer) = pair(&worker, &listener).await;
        let (two, _peer) = pair(&worker, &listener).await;
        pool.put("a", 1, one);
        pool.put("a", 2, two);
        assert!(pool.take(&"a", 2, Reuse::Replayable).is_some());
        assert!(pool.take(&"a", 2, Reuse::Replayable).is_none());
        assert!(pool.is_empty(), "the outdated one was closed on the way");
        let (three, _peer) = pair(&worker, &listener).await;
        pool.put("a", 2, three);
        pool.retain(|key, generation| *key != "a" || generation > 2);
        assert!(pool.is_empty());
    });
}

#[test]
fn what_cannot_be_repeated_gets_no_connection_that_was_idle_for_long() {
    with_pool(Limits::default(), |worker, listener, pool| async move {
        let (ours, _peer) = pair(&worker, &listener).await;
        pool.put("a", 1, ours);
        assert!(pool.take(&"a", 1, Reuse::Fresh(Duration::ZERO)).is_none());
        assert_eq!(pool.len(), 1, "it stays for those that can");
        assert!(pool.take(&"a", 1, Reuse::Replayable).is_some());
    });
}

#[test]
fn what_cannot_be_repeated_wants_a_fresh_connection() {
    assert_eq!([Method::Get, Method::Put].map(Reuse::of), [Reuse::Replayable; 2]);
    let fresh = Reuse::Fresh(Duration::from_secs(1));
    assert_eq!([Method::Post, Method::Patch, Method::Other].map(Reuse::of), [fresh; 3]);
}

#[test]
fn an_aged_connection_is_closed() {
    with_pool(
        Limits { idle: Duration::ZERO, ..Limits::default() },
        |worker, listener, pool| async move {
            let (ours, mut theirs) = pair(&worker, &listener).await;
            pool.put("a", 1, ours);
            // By the sweep, without being asked for.
            assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
            assert!(pool.is_empty());
        },
    );
}
