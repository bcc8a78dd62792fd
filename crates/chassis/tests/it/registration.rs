//! Register, KeepAlive, fencing, deregistration.

use chassis::{Identity, Role, pki};
use cluster::Service;
use tonic::Code;

use crate::{
    registry_double::RegistryDouble,
    support::{POLICY, World, eventually, start},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_registers_beats_and_deregisters() {
    let world = World::new();
    let double = RegistryDouble::new();
    let registry = double.start(&world);
    let several =
        Identity { replicas: 3, ..Identity::new(Role::Service(Service::ProxyNode), "edge") };
    pki::issue_to(&world.pki(), &several, &[], chassis::Clock::system().now(), pki::VALIDITY)
        .unwrap();
    let options = world.options(
        "edge",
        Some(registry.grpc()),
        &["--tag", "a,b", "--weight", "3", "--name", "edge-b"],
    );
    let node = start("proxy-node", options, |process| {
        process.serve_grpc(tonic::service::Routes::default(), &POLICY)?;
        process.ports.bind("proxy", "0.0.0.0:0".parse().unwrap())?;
        process.register();
        Ok(())
    });
    eventually("registered", || !double.memory().registrations.is_empty()).await;
    let first = double.memory().registrations[0].clone();
    let instance = first.instance.unwrap();
    assert_eq!(
        (instance.service.as_str(), instance.name.as_str(), instance.weight),
        ("proxy-node", "edge-b", 3)
    );
    assert_eq!(instance.tags, ["a", "b"]);
    assert!(
        instance.endpoints["proxy"].starts_with("127.0.0.1:"),
        "bound everywhere, so the address of the connection: {instance:?}"
    );
    assert!(!first.ready);

    eventually("a beat with the granted generation", || {
        double.memory().beats.iter().any(|beat| beat.generation == 7 && !beat.ready)
    })
    .await;
    node.process.status.applied("r1", "h1");
    node.process.set_ready(true);
    eventually("ready and revision are in a beat", || {
        double
            .memory()
            .beats
            .iter()
            .any(|beat| beat.ready && beat.applied_revision == "r1" && beat.applied_hash == "h1")
    })
    .await;
    let mut wanted = node.process.desired.subscribe();
    let heard = *wanted.wait_for(|wanted| wanted.weight == 5).await.unwrap();
    assert_eq!(heard.admin_state, proto::registry::AdminState::Drain);
    assert_eq!(node.process.network.cluster_id(), "cluster-1");

    node.process.ports.announce("icp", "127.0.0.1:9".parse().unwrap());
    eventually("a later endpoint registers again", || {
        double
            .memory()
            .registrations
            .last()
            .unwrap()
            .instance
            .as_ref()
            .unwrap()
            .endpoints
            .contains_key("icp")
    })
    .await;
    let id = node.process.identity.id().to_string();
    node.stop().unwrap();
    assert_eq!(double.memory().deregistrations[0].id, id);
    registry.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn not_found_registers_again_and_a_registry_that_comes_late_is_waited_for() {
    let world = World::new();
    let double = RegistryDouble::new();
    let registry = double.start(&world);
    let address = registry.grpc();
    registry.stop().unwrap();
    let node = start("proxy-node", world.options("node-1", Some(address), &[]), |process| {
        process.register();
        Ok(())
    });
    // Meanwhile the node asks in vain.
    let mut options = world.options("registry-1", None, &[]);
    options.grpc = Some(address);
    let late = double.clone();
    let registry = start("registry", options, move |process| {
        let server = proto::registry::registry_server::RegistryServer::new(late);
        process.serve_grpc(tonic::service::Routes::new(server), &POLICY).map(drop)
    });
    eventually("registered", || double.memory().registrations.len() == 1).await;
    double.memory().answer = Some(("node-1".to_owned(), Code::NotFound));
    eventually("registered again", || double.memory().registrations.len() == 2).await;
    assert!(!node.process.lifecycle.stop().is_stopping());
    node.stop().unwrap();
    registry.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_process_drains_and_says_why() {
    let world = World::new();
    let double = RegistryDouble::new();
    let registry = double.start(&world);
    let node =
        start("proxy-node", world.options("node-1", Some(registry.grpc()), &[]), |process| {
            process.register();
            Ok(())
        });
    double.memory().answer = Some(("node-1".to_owned(), Code::Aborted));
    let failure = tokio::task::spawn_blocking(|| node.ended()).await.unwrap().unwrap_err();
    assert!(
        failure.to_string().starts_with("another process took over the name node-1"),
        "{failure}"
    );
    assert!(double.memory().deregistrations.is_empty(), "the name is the other's");
    assert_eq!(double.memory().registrations.len(), 1);
    registry.stop().unwrap();
}
