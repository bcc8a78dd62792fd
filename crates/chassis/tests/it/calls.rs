//! Who may call what, over real connections; what is recorded.

use std::time::Duration;

use chassis::credentials::Files;
use cluster::Service;
use proto::registry::{
    ListInstancesRequest, ReportOpinionsRequest, SetAdminStateRequest,
    registry_client::RegistryClient,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    registry_double::RegistryDouble,
    support::{POLICY, World, channel, eventually, start},
};

fn drain(name: &str) -> SetAdminStateRequest {
    SetAdminStateRequest {
        name: name.to_owned(),
        reason: "because".to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_in_the_certificate_decides_and_changes_are_recorded() {
    let world = World::new();
    let registry = RegistryDouble::new().start(&world);
    let address = registry.grpc();
    let client = |name| RegistryClient::new(world.channel(name, Service::Registry, address));

    client("node-1").list_instances(ListInstancesRequest::default()).await.unwrap();
    let denied = client("node-1").set_admin_state(drain("x")).await.unwrap_err();
    assert_eq!(
        (denied.code(), denied.message()),
        (
            Code::PermissionDenied,
            "proxy-node node-1 may not call /shoal.registry.v1.Registry/SetAdminState"
        )
    );
    let allowed = client("operator").set_admin_state(drain("y")).await.unwrap_err();
    assert_eq!(allowed.code(), Code::NotFound, "the handler itself answered");
    let unknown =
        client("operator").report_opinions(ReportOpinionsRequest::default()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented, "what is not in the table is not served");

    let path = registry.process.data_dir.path("audit.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let records: Vec<chassis::audit::Record> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = records
        .iter()
        .map(|r| (r.who.as_str(), r.detail.as_str(), r.result.split(':').next().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("proxy-node node-1", "", "permission_denied"),
            ("operator operator", "y: because", "not_found")
        ]
    );
    registry.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_to_every_certificate_and_says_what_readyz_says() {
    let world = World::new();
    let registry = RegistryDouble::new().start(&world);
    let mut health = HealthClient::new(world.channel("node-2", Service::Registry, registry.grpc()));
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    while watch.message().await.unwrap().unwrap().status != 1 {}
    assert!(
        get(registry.process.ports.listeners()["admin"], "/readyz")
            .await
            .starts_with("HTTP/1.1 200")
    );
    registry.process.set_ready(false);
    while watch.message().await.unwrap().unwrap().status != 2 {}
    assert!(
        get(registry.process.ports.listeners()["admin"], "/readyz")
            .await
            .starts_with("HTTP/1.1 503")
    );
    registry.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_an_unknown_service_hears_so_and_stays() {
    let world = World::new();
    let registry = RegistryDouble::new().start(&world);
    let mut health = HealthClient::new(world.channel("node-2", Service::Registry, registry.grpc()));
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let mut unknown = health.watch(of("shoal.nobody.v1.Nobody")).await.unwrap().into_inner();
    assert_eq!(
        unknown.message().await.unwrap().unwrap().status,
        i32::from(ServingStatus::ServiceUnknown)
    );
    let mut known = health.watch(of("shoal.registry.v1.Registry")).await.unwrap().into_inner();
    while known.message().await.unwrap().unwrap().status != i32::from(ServingStatus::Serving) {}
    registry.process.set_ready(false);
    assert_eq!(
        known.message().await.unwrap().unwrap().status,
        i32::from(ServingStatus::NotServing)
    );
    // Its readiness is nobody's who asks for something else: that watch says nothing, and ends with
    // the process only.
    let next = tokio::time::timeout(Duration::from_millis(1), unknown.message()).await;
    assert!(next.is_err(), "{next:?}");
    assert_eq!(
        health.check(of("shoal.nobody.v1.Nobody")).await.unwrap_err().code(),
        Code::NotFound
    );
    registry.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_a_wrong_role_and_no_certificate_are_refused() {
    let (world, other) = (World::new(), World::new());
    let registry = RegistryDouble::new().start(&world);
    let address = registry.grpc();
    let list = |channel| async move {
        RegistryClient::new(channel).list_instances(ListInstancesRequest::default()).await
    };

    let error = list(channel(other.files("node-1"), Service::Registry, address)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "the client refuses a server of another cluster");
    // A client that believes this cluster, with a certificate that this cluster does not believe.
    let mixed = other.directory.path().join("mixed.crt");
    let both = [other.pki().join("ca.crt"), world.pki().join("ca.crt")]
        .map(|path| std::fs::read(path).unwrap())
        .concat();
    std::fs::write(&mixed, both).unwrap();
    let error =
        list(channel(Files { ca: mixed, ..other.files("node-1") }, Service::Registry, address))
            .await
            .unwrap_err();
    assert_ne!(error.code(), Code::Ok, "the server refuses a client of another cluster");
    let error = list(world.channel("node-1", Service::ConfigService, address)).await.unwrap_err();
    assert!(
        chassis::connect::explain(&error).contains("registry registry-1 answers there"),
        "{}",
        chassis::connect::explain(&error)
    );

    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert and the end, or a reset: but never HTTP/2.
    drop(plain.read_to_end(&mut answer).await);
    assert!(answer.len() < 16 && !answer.starts_with(&[0, 0]), "{answer:?}");
    assert!(
        list(world.channel("node-1", Service::Registry, address)).await.is_ok(),
        "and the port goes on serving"
    );
    registry.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_http_serves_metrics_and_version() {
    let world = World::new();
    let registry = RegistryDouble::new().start(&world);
    let admin = registry.process.ports.listeners()["admin"];
    let client = RegistryClient::new(world.channel("node-1", Service::Registry, registry.grpc()));
    client.clone().list_instances(ListInstancesRequest::default()).await.unwrap();
    let metrics = get(admin, "/metrics").await;
    assert!(
        metrics.contains(
            "shoal_grpc_calls_total{path=\"/shoal.registry.v1.Registry/ListInstances\",\
             result=\"ok\"}"
        ),
        "{metrics}",
    );
    assert!(metrics.contains("shoal_certificate_expires_timestamp_seconds 1"), "{metrics}");
    assert!(get(admin, "/version").await.contains("\"name\":\"registry-1\""));
    assert!(get(admin, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(admin, "/other").await.starts_with("HTTP/1.1 404"));
    eventually("the connection is counted", || {
        registry.process.exposition.render().contains("shoal_grpc_connections")
    })
    .await;
    registry.stop().unwrap();
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    tcp.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .await
    .unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_describes_every_contract_and_traces_without_a_collector_do_no_harm() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let world = World::new();
    let options = world.options("node-1", None, &["--otlp-endpoint", "http://127.0.0.1:1"]);
    let node = start("proxy-node", options, |process| {
        process.serve_grpc(tonic::service::Routes::default(), &POLICY).map(drop)
    });
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client =
        ServerReflectionClient::new(world.channel("operator", Service::ProxyNode, node.grpc()));
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for expected in
        ["shoal.registry.v1.Registry", "shoal.config.v1.ConfigService", "grpc.health.v1.Health"]
    {
        assert!(names.contains(&expected), "{names:?}");
    }
    drop(answers);
    node.stop().unwrap();
}
