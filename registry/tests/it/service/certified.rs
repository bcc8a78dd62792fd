//! The program with real certificates: what a certificate says is what counts. And what it refuses
//! to start with.

use std::{path::Path, process::Command, time::Duration};

use chassis::{
    Clock, Role, ServiceChannel,
    connect::{Connector, Expected, Transport},
    credentials::{Credentials, Files},
    pki::{self, Issued},
};
use cluster::Service;
use proto::registry::{
    AdminState, Instance, ListInstancesRequest, RegisterRequest, SetAdminStateRequest,
    registry_client::RegistryClient,
};
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::{
    program::Program,
    server::{LIMIT, instance},
};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

async fn client(port: u16, issued: &Issued) -> RegistryClient<ServiceChannel> {
    let files = Files { ca: issued.ca.clone(), cert: issued.cert.clone(), key: issued.key.clone() };
    let transport =
        Transport::Mutual(Credentials::load(files, Clock::system()).expect("good credentials"));
    let seeds = vec![format!("127.0.0.1:{port}")];
    let expected = Expected { service: Service::Registry, name: None };
    let mut client = RegistryClient::new(
        Connector::new(transport, expected, move || seeds.clone().into()).channel(),
    );
    let up = async {
        while client.list_instances(ListInstancesRequest::default()).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, up).await.expect("it comes up");
    client
}

#[tokio::test]
async fn certificates_decide_who_may_do_what() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = [
        (Service::Registry, "registry-1"),
        (Service::ProxyNode, "node-1"),
        (Service::Console, "console-1"),
    ];
    let names = names.map(|(service, name)| (Role::Service(service), name.to_owned()));
    let made = pki::init(
        &dir.path().join("pki"),
        &names,
        Clock::system().now(),
        Duration::from_secs(86_400),
    )
    .expect("certificates");
    let [registry, node, console] = &made.issued[..] else { panic!("three were asked for") };
    let files =
        ["--ca", text(&registry.ca), "--cert", text(&registry.cert), "--key", text(&registry.key)];
    let program = Program::start(dir.path(), &files).await;
    let mut node = client(program.port, node).await;
    let mut operator = client(program.port, &made.operator).await;
    let here = |name| Instance {
        endpoints: [("proxy".to_owned(), "127.0.0.1:3128".to_owned())].into(),
        ..instance("proxy-node", name, 1)
    };
    let register =
        |name| RegisterRequest { instance: Some(here(name)), lease_ttl: None, ready: true };
    node.register(register("node-1")).await.expect("its own name");
    assert_eq!(
        node.register(register("node-2")).await.expect_err("another name").code(),
        Code::PermissionDenied
    );
    assert_eq!(
        operator.register(register("operator")).await.expect_err("a person").code(),
        Code::PermissionDenied
    );
    let weigh = SetAdminStateRequest {
        name: "node-1".into(),
        weight: Some(5),
        reason: "test".into(),
        ..Default::default()
    };
    assert_eq!(
        node.set_admin_state(weigh.clone()).await.expect_err("no operator").code(),
        Code::PermissionDenied
    );
    operator.set_admin_state(weigh.clone()).await.expect("an operator may");
    let mut console = client(program.port, console).await;
    let drain = SetAdminStateRequest {
        name: "node-1".into(),
        admin_state: AdminState::Drain.into(),
        force: true,
        ..Default::default()
    };
    let accept = SetAdminStateRequest { accept_losses: "proxy-node".into(), ..Default::default() };
    let for_ann = |wanted: &SetAdminStateRequest| {
        let mut request = tonic::Request::new(wanted.clone());
        request.metadata_mut().insert(chassis::audit::ON_BEHALF_OF, "ann".parse().expect("ASCII"));
        request
    };
    for (wanted, says) in [(&weigh, "weights"), (&accept, "only an operator")] {
        let refused = console.set_admin_state(for_ann(wanted)).await.expect_err(says);
        assert!(
            refused.code() == Code::PermissionDenied && refused.message().contains(says),
            "{refused:?}"
        );
    }
    assert_eq!(
        console.set_admin_state(drain.clone()).await.expect_err("for nobody").code(),
        Code::PermissionDenied
    );
    console.set_admin_state(for_ann(&drain)).await.expect("a person's wish");
    let audit =
        std::fs::read_to_string(dir.path().join("data/audit.jsonl")).expect("an audit file");
    assert!(
        audit.contains("node-1, weight 5, because test") && audit.contains("operator operator"),
        "{audit}"
    );
    assert!(audit.contains("operator ann via console console-1"), "{audit}");
    program.kill();
}

#[test]
fn what_it_refuses_to_start_with() {
    let dir = tempfile::tempdir().expect("a directory");
    let foreign = dir.path().join("foreign.db");
    std::fs::write(&foreign, [b'x'; 200]).expect("writes");
    let foreign_url = format!("sqlite:{}", foreign.display());
    for (database, says) in [
        ("postgres://user@host/shoal", "PostgreSQL is not supported by this version"),
        ("mysql://host", "is no database URL"),
        (foreign_url.as_str(), "database of another program"),
        ("sqlite:/nowhere/at/all.db", "unable to open database file"),
    ] {
        let data = dir.path().join("data");
        let output = Command::new(env!("CARGO_BIN_EXE_registry"))
            .args([
                "--insecure-plaintext",
                "--grpc",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--log-level",
                "error",
                "--database",
                database,
                "--data-dir",
            ])
            .arg(&data)
            .output()
            .expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(says),
            "{database}: {:?} {error}",
            output.status
        );
    }
    assert_eq!(std::fs::read(&foreign).expect("reads"), [b'x'; 200]);
}
