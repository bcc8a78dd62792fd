//! Watching, resuming, remembering.

use std::collections::BTreeMap;

use chassis::{Process, membership::Watch, operator::Context};
use cluster::Service;
use proto::registry::{Instance, InstanceStatus};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    registry_double::{RegistryDouble, now},
    support::{World, eventually, start},
};

fn member(name: &str, service: &str) -> InstanceStatus {
    let instance = Instance {
        service: service.to_owned(),
        name: name.to_owned(),
        id: chassis::random::id().to_string(),
        endpoints: BTreeMap::from([("relay".to_owned(), "10.0.0.1:3129".to_owned())]),
        weight: 1,
        ..Default::default()
    };
    InstanceStatus { instance: Some(instance), ..now() }
}

fn names(watch: &Watch) -> Vec<String> {
    watch.borrow().instances.keys().cloned().collect()
}

fn follow(process: &Process) -> Result<(), chassis::Error> {
    drop(process.network.membership());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn is_followed_remembered_and_resumed() {
    let world = World::new();
    let double = RegistryDouble::new();
    double.add(member("n-1", "proxy-node"));
    double.add(member("x-1", "a-service-of-tomorrow"));
    let registry = double.start(&world);
    let address = registry.grpc();
    let node = start("proxy-node", world.options("node-1", Some(address), &[]), follow);
    let mut watch = node.process.network.membership();
    eventually("the snapshot is there", || names(&watch) == ["n-1"]).await;
    assert!(watch.borrow().live);
    assert_eq!((watch.borrow().cluster_id.as_str(), watch.borrow().epoch), ("cluster-1", 3));
    watch.mark_changed();
    watch.changed().await;
    double.add(member("n-2", "proxy-node"));
    watch.changed().await;
    assert_eq!(names(&watch), ["n-1", "n-2"]);

    // The whole control plane dies: what was known stays, and says that it is not live.
    tokio::task::spawn_blocking(|| registry.crash()).await.unwrap();
    eventually("not live any more", || !watch.borrow().live).await;
    assert_eq!(names(&watch), ["n-1", "n-2"]);
    let file = node.process.data_dir.path("membership.json");
    eventually("remembered", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("n-2"))
    })
    .await;
    drop(watch);
    tokio::task::spawn_blocking(|| node.crash()).await.unwrap();

    // A start with the registry dead has it at once, from disk.
    let node = start("proxy-node", world.options("node-1", Some(address), &[]), follow);
    let watch = node.process.network.membership();
    assert_eq!(names(&watch), ["n-1", "n-2"]);
    assert!(!watch.borrow().live);
    assert_eq!(watch.borrow().of(Service::ProxyNode).count(), 2);
    assert_eq!(node.process.network.cluster_id(), "cluster-1");

    // And when the registry is back, the watch goes on where it was.
    let mut options = world.options("registry-1", None, &[]);
    options.grpc = Some(address);
    let again = double.clone();
    let registry = start("registry", options, move |process| {
        let server = proto::registry::registry_server::RegistryServer::new(again);
        process.serve_grpc(tonic::service::Routes::new(server), &crate::support::POLICY).map(drop)
    });
    eventually("live again", || watch.borrow().live).await;
    assert_eq!(double.memory().tokens.last().unwrap(), "token-2");
    drop(watch);
    node.stop().unwrap();
    registry.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_remembered_and_is_unreadable_is_no_obstacle() {
    let world = World::new();
    let options = world.options("node-1", Some("127.0.0.1:1".parse().unwrap()), &[]);
    start("proxy-node", options.clone(), |_| Ok(())).stop().unwrap();
    std::fs::write(world.directory.path().join("node-1/membership.json"), "{\"instances\":")
        .unwrap();
    let node = start("proxy-node", options, follow);
    assert!(names(&node.process.network.membership()).is_empty());
    node.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_find_everybody_through_the_registry() {
    let world = World::new();
    let double = RegistryDouble::new();
    let registry = double.start(&world);
    let node =
        start("proxy-node", world.options("node-1", Some(registry.grpc()), &[]), |process| {
            process.serve_grpc(tonic::service::Routes::default(), &crate::support::POLICY)?;
            process.set_ready(true);
            process.register();
            Ok(())
        });
    eventually("registered", || double.memory().members.contains_key("node-1")).await;
    let files = world.files("operator");
    let context = |address: String| Context {
        ca: files.ca.clone(),
        cert: files.cert.clone(),
        key: files.key.clone(),
        registry: vec![address],
    };
    let operator = context(registry.grpc().to_string()).connect().unwrap();
    let listing = operator.list().await.unwrap();
    assert_eq!(
        (listing.cluster_id.as_str(), listing.instances[0].instance.name.as_str()),
        ("cluster-1", "node-1")
    );
    for channel in [
        operator.channel(Service::ProxyNode).await.unwrap(),
        operator.channel_to(&listing.instances[0]).unwrap(),
    ] {
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(answer.into_inner().status, 1);
    }
    let said = operator.channel(Service::Balancer).await.unwrap_err().to_string();
    assert_eq!(said, "the registry lists no balancer; start one with `shoal serve balancer`");
    let said =
        context("127.0.0.1:1".to_owned()).connect().unwrap().list().await.unwrap_err().to_string();
    assert!(
        said.contains("cannot ask the registry at 127.0.0.1:1") && said.contains("refused"),
        "{said}"
    );
    node.stop().unwrap();
    registry.stop().unwrap();
}
