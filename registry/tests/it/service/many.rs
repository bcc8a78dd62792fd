//! Many instances. The first is a test; the second measures, and is run by name: `cargo test -p
//! registry --test it many -- --ignored --nocapture`.

use std::time::Duration;

use futures::future::join_all;
use proto::registry::{
    KeepAliveRequest, ListInstancesRequest, RegisterRequest, registry_client::RegistryClient,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{
    program::Program,
    server::{id, instance},
};

/// Registers `instances` over `connections` and keeps each lease alive every `beat`, for `beats`
/// beats; returns how many answers came.
async fn heartbeats(
    program: &Program,
    connections: u64,
    instances: u64,
    beat: Duration,
    beats: u32,
) -> u64 {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(program.client().await);
    }
    let share = instances / connections;
    let each = clients.into_iter().zip(0..).map(
        |(client, connection): (RegistryClient<Channel>, u64)| async move {
            let lives = (0..share).map(|n| {
                live(
                    client.clone(),
                    format!("node-{connection}-{n}"),
                    connection * share + n,
                    beat,
                    beats,
                )
            });
            join_all(lives).await.into_iter().sum::<u64>()
        },
    );
    join_all(each).await.into_iter().sum()
}

async fn live(
    mut client: RegistryClient<Channel>,
    name: String,
    start: u64,
    beat: Duration,
    beats: u32,
) -> u64 {
    let request = RegisterRequest {
        instance: Some(instance("proxy-node", &name, start)),
        lease_ttl: None,
        ready: true,
    };
    let generation = client.register(request).await.expect("registers").into_inner().generation;
    let (sender, messages) = mpsc::channel(1);
    let message =
        KeepAliveRequest { name, id: id(start), generation, ready: true, ..Default::default() };
    sender.send(message.clone()).await.expect("open");
    let mut responses =
        client.keep_alive(ReceiverStream::new(messages)).await.expect("opens").into_inner();
    let mut answers = 0;
    for _ in 0..beats {
        responses.message().await.expect("well").expect("an answer");
        answers += 1;
        tokio::time::sleep(beat).await;
        sender.send(message.clone()).await.expect("open");
    }
    answers
}

#[tokio::test]
async fn every_heartbeat_is_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program::start(dir.path(), &["--insecure-plaintext"]).await;
    assert_eq!(heartbeats(&program, 4, 400, Duration::from_millis(1), 20).await, 400 * 20);
    program.kill();
}

#[tokio::test]
#[ignore = "a measurement: ten thousand instances, most of a minute"]
async fn ten_thousand_heartbeat() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program::start(dir.path(), &["--insecure-plaintext"]).await;
    let begun = Instant::now();
    let measured = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (at, cpu) = (Instant::now(), program.cpu_seconds());
        tokio::time::sleep(Duration::from_secs(10)).await;
        (program.cpu_seconds() - cpu) / at.elapsed().as_secs_f64()
    };
    let (answers, busy) =
        tokio::join!(heartbeats(&program, 20, 10_000, Duration::from_secs(2), 15), measured);
    let mut client = program.client().await.max_decoding_message_size(usize::MAX);
    let list = client
        .list_instances(ListInstancesRequest { services: vec!["proxy-node".into()] })
        .await
        .expect("lists")
        .into_inner();
    let usable = list
        .instances
        .iter()
        .filter(|status| status.state() == proto::registry::State::Usable)
        .count();
    println!(
        "10000 instances, {answers} answers in {:?}, registry at {:.0} % of one core, {usable} \
         usable, guard {:?}",
        begun.elapsed(),
        busy * 100.0,
        list.guards.iter().map(|guard| &guard.explanation).collect::<Vec<_>>(),
    );
    assert_eq!(usable, 10_000);
    program.kill();
}
