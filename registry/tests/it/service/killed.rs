//! What was acknowledged survives.

use std::time::Duration;

use cluster::guard::Threshold;
use jiff::SignedDuration;
use proto::registry::{
    AdminState, Instance, ListInstancesRequest, RegisterRequest, SetAdminStateRequest, State,
};
use registry::{
    command::Command,
    feed::Feed,
    owner::Owner,
    snapshot::Filter,
    store::{Sqlite, Store},
    time::Time,
};
use tokio::time::{sleep, timeout};

use super::{
    program::Program,
    server::{LIMIT, Running, clock, instance, renewal},
};

#[tokio::test]
async fn a_restart_loses_nothing_and_forgives_one_lease() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let server = Running::start(dir.path(), &clock).await;
    let mut node = server.client("proxy-node/a").await;
    let registered = node.register(instance("proxy-node", "a", 3), true).await.expect("registers");
    server
        .client("config-service/c")
        .await
        .register(instance("config-service", "c", 1), true)
        .await
        .expect("registers");
    server
        .client("config-service/d")
        .await
        .register(instance("config-service", "d", 1), true)
        .await
        .expect("registers");
    server.client("config-service/d").await.deregister("d", 1, 300).await.expect("deregisters");
    let wanted = SetAdminStateRequest {
        name: "a".into(),
        admin_state: AdminState::Maintenance.into(),
        weight: Some(3),
        force: true,
        ..Default::default()
    };
    server.client("operator/ann").await.set(wanted).await.expect("set");
    server.crash().await;
    clock.advance(SignedDuration::from_secs(60));
    let server = Running::start(dir.path(), &clock).await;
    let mut operator = server.client("operator/ann").await;
    let status = operator.status("a").await.expect("still there");
    assert_eq!((status.state(), status.effective_weight), (State::Maintenance, 3));
    assert_eq!(status.instance.expect("an instance").generation, registered.generation);
    assert_eq!(
        (operator.state("c").await, operator.state("d").await),
        (Some(State::Usable), Some(State::Draining))
    );
    assert_eq!(operator.list().await.cluster_id, registered.cluster_id);
    server
        .client("proxy-node/a")
        .await
        .renew(renewal("a", 3, registered.generation))
        .await
        .expect("no need to register again");
    server.pass(7);
    operator.until("c", Some(State::Lost)).await;
}

#[tokio::test]
async fn an_owner_that_panicked_is_followed_by_one_that_knows_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Sqlite::open(&dir.path().join("registry.db")).await.expect("opens");
    let identity = store.identity(chassis::random::id()).await.expect("has an identity");
    let (owner, handle) = Owner::new(
        Box::new(store),
        Time::Given(clock()),
        Feed::new(identity, chassis::random::id()),
        Threshold::DEFAULT,
    );
    for round in 0..3 {
        let running = tokio::spawn(owner.clone().run());
        let instance = cluster::Instance::try_from(instance("proxy-node", &format!("n{round}"), 1))
            .expect("a good instance");
        handle
            .apply(Command::Register { instance, ttl: LIMIT, ready: true, by: None })
            .await
            .expect("registers");
        running.abort();
        assert!(running.await.is_err_and(|error| error.is_cancelled()));
    }
    // Whoever only looks does not need an owner.
    assert_eq!(handle.snapshot().await.expect("lists").members(Filter::of(&[])).count(), 3);
    let running = tokio::spawn(owner.run());
    assert_eq!(handle.snapshot().await.expect("lists").members(Filter::of(&[])).count(), 3);
    drop(handle);
    timeout(LIMIT, running)
        .await
        .expect("it ends with its last handle")
        .expect("well")
        .expect("well");
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let program = Program::start(dir.path(), &["--insecure-plaintext"]).await;
        let mut client = program.client().await;
        let list = client
            .list_instances(ListInstancesRequest::default())
            .await
            .expect("lists")
            .into_inner();
        for (name, generation) in &acknowledged {
            let found = list
                .instances
                .iter()
                .filter_map(|status| status.instance.as_ref())
                .find(|instance| instance.name == *name);
            assert_eq!(
                found.map(|instance| instance.generation),
                Some(*generation),
                "{name} in round {round}"
            );
        }
        for n in 0..20 {
            let instance: Instance = instance("proxy-node", &format!("n{round}-{n}"), n + 1);
            let name = instance.name.clone();
            let request = RegisterRequest {
                instance: Some(instance),
                lease_ttl: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
                ready: true,
            };
            let generation =
                client.register(request).await.expect("registers").into_inner().generation;
            acknowledged.push((name, generation));
        }
        program.kill();
    }
    let program = Program::start(dir.path(), &["--insecure-plaintext"]).await;
    let mut client = program.client().await;
    let listed = async {
        loop {
            let list = client
                .list_instances(ListInstancesRequest { services: vec!["registry".into()] })
                .await
                .expect("lists")
                .into_inner();
            if let [itself] = &list.instances[..]
                && itself.state() == State::Usable
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, listed).await.expect("the registry is in its own membership");
    program.kill();
}
