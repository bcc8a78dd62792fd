//! Every unary rpc and KeepAlive.

use chassis::{Role, authorize::Decision};
use cluster::Service;
use proto::registry::{AdminState, Instance, SetAdminStateRequest, State, watch_response::Event};
use registry::api::POLICY;
use tonic::Code;
use tonic_types::StatusExt;

use super::server::{LIMIT, Running, clock, critical, id, instance, renewal};

fn set(name: &str, admin_state: AdminState) -> SetAdminStateRequest {
    SetAdminStateRequest {
        name: name.to_owned(),
        admin_state: admin_state.into(),
        force: true,
        ..SetAdminStateRequest::default()
    }
}

#[tokio::test]
async fn registering_and_fencing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let mut node = server.client("proxy-node/a*3").await;
    let first = node.register(instance("proxy-node", "a", 5), false).await.expect("registers");
    assert_eq!((first.generation, first.epoch, first.admin_state()), (1, 1, AdminState::Ready));
    assert_eq!(first.lease_ttl.expect("granted").seconds, 6);
    assert_eq!(
        node.register(instance("proxy-node", "a", 5), false).await.expect("again").generation,
        1
    );
    assert_eq!(node.state("a").await, Some(State::Starting));
    let fenced = node.register(instance("proxy-node", "a", 4), true).await.expect_err("older");
    assert_eq!(fenced.code(), Code::AlreadyExists);
    assert_eq!(fenced.get_details_error_info().expect("details").reason, "YOUNGER_HOLDS_NAME");
    assert_eq!(
        node.register(instance("proxy-node", "a", 6), true).await.expect("younger").generation,
        2
    );
    assert_eq!(node.renew(renewal("a", 5, 1)).await.expect_err("fenced").code(), Code::Aborted);
    assert_eq!(
        node.renew(renewal("a", 6, 1)).await.expect_err("wrong generation").code(),
        Code::NotFound
    );
    assert_eq!(
        node.renew(renewal("a-b", 6, 1)).await.expect_err("not registered").code(),
        Code::NotFound
    );
    assert_eq!(node.renew(renewal("a", 6, 2)).await.expect("the holder").effective_weight, 1);
    let list = node.list().await;
    assert_eq!((list.cluster_id, list.epoch), (first.cluster_id, 1));
}

#[tokio::test]
async fn nobody_speaks_for_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let mut node = server.client("proxy-node/a").await;
    node.register(instance("proxy-node", "a", 1), true).await.expect("its own name");
    let mut replica = server.client("proxy-node/r*2").await;
    replica.register(instance("proxy-node", "r-1", 1), true).await.expect("its own name and more");
    let mut operator = server.client("operator/ann").await;
    for (status, reason) in [
        (
            node.register(instance("proxy-node", "b", 1), true).await.expect_err("another name"),
            "WRONG_NAME",
        ),
        (
            node.register(instance("proxy-node", "a-2", 1), true)
                .await
                .expect_err("a certificate for one"),
            "WRONG_NAME",
        ),
        (
            node.register(instance("balancer", "a", 1), true).await.expect_err("another role"),
            "WRONG_ROLE",
        ),
        (
            operator.register(instance("proxy-node", "ann", 1), true).await.expect_err("a person"),
            "WRONG_ROLE",
        ),
        (node.deregister("b", 1, 0).await.expect_err("another name"), "WRONG_NAME"),
        (node.renew(renewal("b", 1, 1)).await.expect_err("another name"), "WRONG_NAME"),
    ] {
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert_eq!(status.get_details_error_info().expect("details").reason, reason);
    }
    let broken = Instance {
        endpoints: [("proxy".to_owned(), "0.0.0.0:1".to_owned())].into(),
        ..instance("proxy-node", "a", 1)
    };
    let status = node.register(broken, true).await.expect_err("a bad address");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("endpoint \"proxy\""), "{}", status.message());
}

#[tokio::test]
async fn one_certificate_takes_no_more_than_its_share() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    server
        .client("proxy-node/n-1")
        .await
        .register(instance("proxy-node", "n-1", 1), true)
        .await
        .expect("registers");
    let mut replicas = server.client("proxy-node/n*3").await;
    let mut registered = 0;
    for number in 2..42 {
        let heavy =
            Instance { weight: 256, ..instance("proxy-node", &format!("n-{number}"), number) };
        match replicas.register(heavy, true).await {
            Ok(_) => registered += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                assert_eq!(
                    status.get_details_error_info().expect("details").reason,
                    "TOO_MANY_REPLICAS"
                );
            }
        }
    }
    assert_eq!(registered, 3);
    let weights: Vec<u32> =
        replicas.list().await.instances.iter().map(|status| status.effective_weight).collect();
    assert_eq!(weights, [1; 4], "a weight is for operators to give");
    // Not even with a younger process does it take the name of somebody with another certificate.
    let refused = replicas
        .register(instance("proxy-node", "n-1", 99), true)
        .await
        .expect_err("another's name");
    assert_eq!(
        refused.get_details_error_info().expect("details").reason,
        "OTHER_CERTIFICATE_HOLDS_NAME"
    );
    // One that leaves makes room, and the same one may come again.
    replicas.deregister("n-2", 2, 0).await.expect("deregisters");
    replicas.register(instance("proxy-node", "n-50", 50), true).await.expect("there is room");
    replicas
        .register(instance("proxy-node", "n-3", 60), true)
        .await
        .expect("the same name, a younger process");
    let elsewhere = Instance {
        endpoints: [("relay".to_owned(), "93.184.216.34:80".to_owned())].into(),
        ..instance("proxy-node", "n-3", 61)
    };
    let refused = replicas.register(elsewhere, true).await.expect_err("an origin's address");
    assert_eq!(refused.get_details_error_info().expect("details").reason, "ENDPOINT_ELSEWHERE");
}

#[tokio::test]
async fn only_checkers_report_and_only_as_themselves() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let now = server.clock.now();
    for (start, name) in [(1, "a"), (2, "b"), (3, "c")] {
        server
            .client(&format!("proxy-node/{name}"))
            .await
            .register(instance("proxy-node", name, start), true)
            .await
            .expect("registers");
    }
    let mut first = server.client("health-checker/k1").await;
    assert_eq!(
        first
            .report(vec![critical("k1", "a", 1, now), critical("k1", "z", 9, now)])
            .await
            .expect("reports"),
        [id(9)]
    );
    assert_eq!(first.state("a").await, Some(State::Suspect));
    for other in ["k2", "k1-b"] {
        let status =
            first.report(vec![critical(other, "a", 1, now)]).await.expect_err("another name");
        assert_eq!(status.get_details_error_info().expect("details").reason, "WRONG_CHECKER");
    }
    assert_eq!(first.state("a").await, Some(State::Suspect), "one checker alone kills nobody");
    let mut second = server.client("health-checker/k2").await;
    second.report(vec![critical("k2", "a", 1, now)]).await.expect("reports");
    let status = second.status("a").await.expect("listed");
    assert_eq!((status.state(), status.opinions.len()), (State::Critical, 2));
    assert!(status.reasons[0].starts_with("2 checkers find it unwell"), "{:?}", status.reasons);
}

#[test]
fn the_table_of_roles() {
    let allowed = |rpc: &str, role| {
        matches!(
            POLICY.decide(&format!("/shoal.registry.v1.Registry/{rpc}"), Some(role)),
            Decision::Allowed { .. }
        )
    };
    let node = Role::Service(Service::ProxyNode);
    let checker = Role::Service(Service::HealthChecker);
    for (rpc, role, expected) in [
        ("Register", node, true),
        ("Register", Role::Operator, false),
        ("KeepAlive", Role::Operator, false),
        ("SetAdminState", Role::Operator, true),
        ("SetAdminState", Role::Service(Service::Balancer), true),
        ("SetAdminState", node, false),
        ("RemoveInstance", Role::Operator, true),
        ("RemoveInstance", Role::Service(Service::Console), false),
        ("RemoveInstance", node, false),
        ("ReportOpinions", checker, true),
        ("ReportOpinions", node, false),
        ("ReportOpinions", Role::Operator, false),
        ("Watch", node, true),
        ("ListInstances", Role::Operator, true),
        ("Purge", Role::Operator, true),
        ("Purge", node, true),
        ("Purge", Role::Service(Service::Balancer), false),
        ("Purge", Role::Service(Service::Console), false),
        ("ListPurges", Role::Operator, true),
        ("ListPurges", node, false),
        ("FollowPurges", node, true),
        ("FollowPurges", Role::Operator, false),
    ] {
        assert_eq!(allowed(rpc, role), expected, "{rpc} by {role}");
    }
    assert_eq!(POLICY.rules().len(), 14, "every rpc is in the table");
    for rpc in ["Describe", "Export", "Import"] {
        let decide =
            |role| POLICY.decide(&format!("/shoal.state.v1.StateTransfer/{rpc}"), Some(role));
        for role in [Role::Operator, Role::Service(Service::BackupService)] {
            assert!(matches!(decide(role), Decision::Allowed { .. }), "{rpc} by {role}");
        }
        for role in
            [node, checker, Role::Service(Service::Console), Role::Service(Service::ConfigService)]
        {
            assert!(matches!(decide(role), Decision::Denied { .. }), "{rpc} by {role}");
        }
    }
}

#[tokio::test]
async fn leases_lapse_and_drains_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let mut service = server.client("config-service/c").await;
    service.register(instance("config-service", "c", 1), true).await.expect("registers");
    server.pass(7);
    service.until("c", Some(State::Lost)).await;
    service.renew(renewal("c", 1, 1)).await.expect("it is back");
    service.until("c", Some(State::Usable)).await;
    service.deregister("c", 1, 20).await.expect("deregisters");
    assert_eq!(service.state("c").await, Some(State::Draining));
    service.deregister("c", 1, 20).await.expect("a retry");
    server.pass(21);
    service.until("c", None).await;
    assert_eq!(service.renew(renewal("c", 1, 1)).await.expect_err("gone").code(), Code::NotFound);
}

#[tokio::test]
async fn what_operators_want_is_pushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let mut node = server.client("proxy-node/a*3").await;
    node.register(instance("proxy-node", "a", 1), true).await.expect("registers");
    let (sender, messages) = tokio::sync::mpsc::channel(4);
    let mut responses =
        node.keep_alive(tokio_stream::wrappers::ReceiverStream::new(messages)).await;
    sender.send(renewal("a", 1, 1)).await.expect("sent");
    let answer = responses.message().await.expect("well").expect("one out for one in");
    assert_eq!((answer.admin_state(), answer.effective_weight), (AdminState::Ready, 1));
    let mut operator = server.client("operator/ann").await;
    let status = operator.set(set("a", AdminState::Drain)).await.expect("set").expect("a status");
    assert_eq!((status.state(), status.admin_state()), (State::Draining, AdminState::Drain));
    let pushed = responses.message().await.expect("well").expect("a push");
    assert_eq!(pushed.admin_state(), AdminState::Drain);
    let weigh =
        SetAdminStateRequest { name: "a".to_owned(), weight: Some(7), ..Default::default() };
    assert_eq!(
        operator.set(weigh).await.expect("set").expect("a status").state(),
        State::Draining,
        "the admin state stays"
    );
    assert_eq!(responses.message().await.expect("well").expect("a push").effective_weight, 7);
    let reset = SetAdminStateRequest {
        name: "a".to_owned(),
        reset_weight: true,
        ..set("a", AdminState::Ready)
    };
    assert_eq!(operator.set(reset).await.expect("set").expect("a status").effective_weight, 1);
    assert_eq!(responses.message().await.expect("well").expect("a push").effective_weight, 1);
    sender.send(renewal("a-2", 1, 1)).await.expect("sent");
    assert_eq!(responses.message().await.expect_err("another name").code(), Code::InvalidArgument);
    assert_eq!(
        operator.set(set("b", AdminState::Drain)).await.expect_err("unknown").code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_younger_process_ends_the_older_ones_stream_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let mut node = server.client("proxy-node/a").await;
    node.register(instance("proxy-node", "a", 1), true).await.expect("registers");
    let (sender, messages) = tokio::sync::mpsc::channel(4);
    let mut responses =
        node.keep_alive(tokio_stream::wrappers::ReceiverStream::new(messages)).await;
    sender.send(renewal("a", 1, 1)).await.expect("sent");
    responses.message().await.expect("well").expect("an answer");
    node.register(instance("proxy-node", "a", 2), true).await.expect("takes over");
    assert_eq!(responses.message().await.expect_err("superseded").code(), Code::Aborted);
    let mut responses = node
        .keep_alive(tokio_stream::StreamExt::chain(
            tokio_stream::once(renewal("a", 2, 2)),
            tokio_stream::pending(),
        ))
        .await;
    responses.message().await.expect("well").expect("an answer");
    node.deregister("a", 2, 0).await.expect("deregisters");
    assert_eq!(responses.message().await.expect_err("gone").code(), Code::NotFound);
}

#[tokio::test]
async fn the_last_one_that_serves_is_taken_out_by_force_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    for (start, name) in [(1, "a"), (2, "b")] {
        server
            .client(&format!("proxy-node/{name}"))
            .await
            .register(instance("proxy-node", name, start), true)
            .await
            .expect("registers");
    }
    let mut operator = server.client("operator/ann").await;
    let wanted =
        |name: &str, admin_state| SetAdminStateRequest { force: false, ..set(name, admin_state) };
    operator.set(wanted("a", AdminState::Drain)).await.expect("b is left");
    let weigh = |weight| SetAdminStateRequest {
        name: "b".to_owned(),
        weight: Some(weight),
        ..Default::default()
    };
    for message in [wanted("b", AdminState::Drain), wanted("b", AdminState::Maintenance), weigh(0)]
    {
        let refused = operator.set(message.clone()).await.expect_err("nobody would be left");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        assert_eq!(refused.get_details_error_info().expect("details").reason, "LAST_USABLE");
        assert!(
            refused.message().contains("b is the last usable proxy-node")
                && refused.message().contains("--force"),
            "{refused:?}"
        );
        assert_eq!(operator.state("b").await, Some(State::Usable), "{message:?}");
    }
    operator.set(weigh(7)).await.expect("it still serves");
    operator.set(wanted("a", AdminState::Maintenance)).await.expect("it serves nobody as it is");
    operator
        .set(SetAdminStateRequest { force: true, ..wanted("b", AdminState::Drain) })
        .await
        .expect("forced");
    assert_eq!(operator.state("b").await, Some(State::Draining));
    operator.set(wanted("b", AdminState::Ready)).await.expect("back");
}

#[tokio::test]
async fn who_is_gone_is_removed_at_once_and_who_is_there_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    let mut node = server.client("proxy-node/a").await;
    node.register(instance("proxy-node", "a", 1), true).await.expect("registers");
    let mut operator = server.client("operator/ann").await;
    let refused = operator.remove("a").await.expect_err("alive");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.get_details_error_info().expect("details").reason, "STILL_THERE");
    operator
        .set(SetAdminStateRequest { weight: Some(9), ..set("a", AdminState::Drain) })
        .await
        .expect("drained");
    let mut watched = operator.watch(&["proxy-node"], "").await.expect("watches");
    node.deregister("a", 1, 60).await.expect("it stops");
    assert_eq!(operator.state("a").await, Some(State::Draining), "listed while it drains");
    assert!(operator.remove("a").await.expect("gone"), "it was listed");
    assert_eq!(operator.state("a").await, None);
    let gone = async {
        while let Some(message) = watched.message().await.expect("well") {
            if let Some(Event::Delta(delta)) = message.event
                && delta.removed.iter().any(|removed| removed == "a")
            {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("watchers hear of it");
    assert_eq!(operator.remove("a").await.expect_err("a second time").code(), Code::NotFound);
    // What was wanted of the name is forgotten, and stays so after a restart.
    node.register(instance("proxy-node", "a", 2), true).await.expect("another process");
    let status = operator.status("a").await.expect("listed");
    assert_eq!((status.admin_state(), status.effective_weight), (AdminState::Ready, 1));
}

#[tokio::test]
async fn implausible_losses_are_held_until_they_are_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let server = Running::start(dir.path(), &clock).await;
    for (start, name) in [(1, "a"), (2, "b"), (3, "c")] {
        server
            .client(&format!("proxy-node/{name}"))
            .await
            .register(instance("proxy-node", name, start), true)
            .await
            .expect("registers");
    }
    server.pass(7);
    let mut operator = server.client("operator/ann").await;
    operator.until("a", Some(State::Lost)).await;
    let list = operator.list().await;
    let guard = &list.guards[0];
    assert!(
        guard.holding && guard.held == ["b", "c"] && (guard.members, guard.well) == (3, 0),
        "{guard:?}"
    );
    let held = operator.status("b").await.expect("listed");
    assert_eq!((held.state(), held.withheld_state()), (State::Usable, State::Lost));
    let accept =
        SetAdminStateRequest { accept_losses: "proxy-node".to_owned(), ..Default::default() };
    assert_eq!(operator.set(accept.clone()).await.expect("accepted"), None);
    assert_eq!(
        (operator.state("b").await, operator.state("c").await),
        (Some(State::Lost), Some(State::Lost))
    );
    operator.set(accept).await.expect("a retry");
    server.crash().await;
    let server = Running::start(dir.path(), &clock).await;
    assert_eq!(
        server.client("operator/ann").await.state("c").await,
        Some(State::Lost),
        "an accepted loss survives"
    );
}
