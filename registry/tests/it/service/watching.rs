//! Watch: snapshot, deltas, resumption, filters, many at once.

use proto::registry::{SetAdminStateRequest, State, WatchResponse, watch_response::Event};
use tokio::time::Instant;
use tokio::time::timeout;
use tonic::{Code, Streaming};

use super::server::{LIMIT, Running, clock, instance};

async fn next(stream: &mut Streaming<WatchResponse>) -> (Event, String) {
    let response =
        timeout(LIMIT, stream.message()).await.expect("in time").expect("well").expect("a message");
    (response.event.expect("an event"), response.resume_token)
}

async fn weight_of_a(stream: &mut Streaming<WatchResponse>) -> u32 {
    loop {
        if let (Event::Delta(delta), _) = next(stream).await
            && let Some(status) = delta.upserted.iter().find(|status| {
                status.instance.as_ref().is_some_and(|instance| instance.name == "a")
            })
        {
            return status.effective_weight;
        }
    }
}

fn weigh(weight: u32) -> SetAdminStateRequest {
    SetAdminStateRequest { name: "a".to_owned(), weight: Some(weight), ..Default::default() }
}

#[tokio::test]
async fn a_snapshot_then_deltas_and_resumption() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let mut node = server.client("proxy-node/a").await;
    node.register(instance("proxy-node", "a", 1), true).await.expect("registers");
    server
        .client("balancer/b")
        .await
        .register(instance("balancer", "b", 1), true)
        .await
        .expect("registers");
    let mut operator = server.client("operator/ann").await;
    let mut stream = operator.watch(&["proxy-node"], "").await.expect("watches");
    let (Event::Snapshot(snapshot), token) = next(&mut stream).await else { panic!("no snapshot") };
    assert_eq!(snapshot.instances.len(), 1, "only what was asked for");
    assert_eq!(
        (snapshot.instances[0].state(), snapshot.epoch, snapshot.cluster_id.len()),
        (State::Usable, 1, 36)
    );
    operator.set(weigh(7)).await.expect("set");
    assert_eq!(weight_of_a(&mut stream).await, 7);
    drop(stream);
    operator.set(weigh(8)).await.expect("set");
    let mut resumed = operator.watch(&["proxy-node"], &token).await.expect("watches");
    let (Event::Delta(delta), token) = next(&mut resumed).await else { panic!("not resumed") };
    assert_eq!(delta.upserted[0].effective_weight, 8);
    assert_eq!(
        operator.watch(&["squid"], "").await.expect_err("no such service").code(),
        Code::InvalidArgument
    );
    drop(resumed);
    server.crash().await;
    let server = Running::start(dir.path(), &clock()).await;
    let mut stream =
        server.client("operator/ann").await.watch(&["proxy-node"], &token).await.expect("watches");
    let (Event::Snapshot(snapshot), _) = next(&mut stream).await else {
        panic!("no snapshot after a restart")
    };
    assert_eq!(snapshot.instances[0].effective_weight, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_hear_of_a_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    server
        .client("proxy-node/a")
        .await
        .register(instance("proxy-node", "a", 1), true)
        .await
        .expect("registers");
    let mut operator = server.client("operator/ann").await;
    let mut streams = Vec::new();
    for group in 0..10 {
        let mut watcher = server.client(&format!("balancer/b{group}")).await;
        for _ in 0..100 {
            streams.push(watcher.watch(&[], "").await.expect("watches"));
        }
    }
    for stream in &mut streams {
        assert!(matches!(next(stream).await.0, Event::Snapshot(_)));
    }
    let begun = Instant::now();
    operator.set(weigh(9)).await.expect("set");
    let heard = futures::future::join_all(streams.iter_mut().map(weight_of_a)).await;
    println!("1000 watchers heard of it within {:?}", begun.elapsed());
    assert!(heard.iter().all(|weight| *weight == 9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_certificate_has_a_share_of_the_watchers() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let mut open = Vec::new();
    let refused = loop {
        assert!(open.len() < 10_000, "whoever asks gets one");
        // A connection has so many streams at a time.
        let mut node = server.client("proxy-node/a").await;
        let mut refused = None;
        for _ in 0..200 {
            match node.watch(&["proxy-node"], "").await {
                Ok(stream) => open.push(stream),
                Err(status) => refused = Some(status),
            }
        }
        if let Some(refused) = refused {
            break refused;
        }
    };
    assert_eq!((refused.code(), open.len()), (Code::ResourceExhausted, 2048), "{refused}");
    let mut another = server
        .client("proxy-node/b")
        .await
        .watch(&["proxy-node"], "")
        .await
        .expect("has its own share");
    assert!(matches!(next(&mut another).await, (Event::Snapshot(_), _)));
}
