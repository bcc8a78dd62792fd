//! The state taken out, and put back into a registry that was wiped.

use proto::{
    purge::{Purge, purge::Scope},
    registry::{AdminState, SetAdminStateRequest, State, WatchResponse, watch_response::Event},
    state::{
        Chunk, DescribeRequest, End, ExportRequest, ImportHeader, ImportRequest, ImportResponse,
        export_response, import_request::Part, state_transfer_client::StateTransferClient,
    },
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::server::{LIMIT, Running, clock, instance};

/// What an export sent.
#[derive(Clone)]
struct Exported {
    state: proto::state::State,
    chunks: Vec<Chunk>,
    end: End,
}

async fn export(client: &mut StateTransferClient<Channel>) -> Exported {
    let mut stream = client.export(ExportRequest {}).await.expect("exports").into_inner();
    let mut exported =
        Exported { state: Default::default(), chunks: Vec::new(), end: End::default() };
    while let Some(message) =
        timeout(LIMIT, stream.message()).await.expect("in time").expect("well")
    {
        match message.part.expect("a part") {
            export_response::Part::State(state) => exported.state = state,
            export_response::Part::Chunk(chunk) => exported.chunks.push(chunk),
            export_response::Part::End(end) => exported.end = end,
        }
    }
    exported
}

async fn import(
    client: &mut StateTransferClient<Channel>,
    exported: &Exported,
    check_only: bool,
) -> Result<ImportResponse, Status> {
    import_as(client, exported, ImportHeader { check_only, ..Default::default() }).await
}

/// The same, with more said in the header.
async fn import_as(
    client: &mut StateTransferClient<Channel>,
    exported: &Exported,
    header: ImportHeader,
) -> Result<ImportResponse, Status> {
    let header = ImportHeader { state: Some(exported.state.clone()), ..header };
    let mut parts = vec![Part::Header(header)];
    parts.extend(exported.chunks.iter().cloned().map(Part::Chunk));
    parts.push(Part::End(exported.end.clone()));
    let messages: Vec<_> =
        parts.into_iter().map(|part| ImportRequest { part: Some(part) }).collect();
    let mut stream = client.import(tokio_stream::iter(messages)).await?.into_inner();
    Ok(timeout(LIMIT, stream.message()).await.expect("in time")?.expect("an answer"))
}

async fn snapshot(stream: &mut Streaming<WatchResponse>) -> (String, u64) {
    loop {
        let message = timeout(LIMIT, stream.message())
            .await
            .expect("in time")
            .expect("well")
            .expect("a message");
        if let Some(Event::Snapshot(snapshot)) = message.event {
            return (snapshot.cluster_id, snapshot.epoch);
        }
    }
}

fn drain(name: &str, reason: &str) -> SetAdminStateRequest {
    SetAdminStateRequest {
        name: name.into(),
        admin_state: AdminState::Drain.into(),
        reason: reason.into(),
        force: true,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_wiped_registry_gets_its_state_back_and_everybody_hears_it() {
    let (dir, wiped) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = Running::start(dir.path(), &clock()).await;
    server
        .client("proxy-node/a")
        .await
        .register(instance("proxy-node", "a", 1), true)
        .await
        .expect("registers");
    server.client("operator/ann").await.set(drain("a", "new disk")).await.expect("drains");
    let exported = export(&mut server.transfer().await).await;
    assert_eq!(
        (
            exported.state.counts["admin states"],
            exported.state.counts["instances"],
            exported.state.epoch
        ),
        (1, 1, 1)
    );
    server.crash().await;

    let server = Running::start(wiped.path(), &clock()).await;
    let mut node = server.client("proxy-node/a").await;
    node.register(instance("proxy-node", "a", 1), true).await.expect("registers anew");
    server
        .client("proxy-node/b")
        .await
        .register(instance("proxy-node", "b", 1), true)
        .await
        .expect("registers");
    let mut operator = server.client("operator/ann").await;
    operator.set(drain("b", "later")).await.expect("drains");
    let mut watching = operator.watch(&[], "").await.expect("watches");
    let (made_anew, first) = snapshot(&mut watching).await;
    assert_ne!(made_anew, exported.state.cluster_id);

    let mut client = server.transfer().await;
    let checked = import(&mut client, &exported, true).await.expect("is good");
    assert!(
        checked.changes.iter().any(|change| change == "a: drain (new disk) (now ready)"),
        "{:?}",
        checked.changes
    );
    assert_eq!(operator.state("a").await, Some(State::Usable), "a check touches nothing");
    import(&mut client, &exported, false).await.expect("is restored");
    let (cluster_id, epoch) = snapshot(&mut watching).await;
    assert_eq!(
        (cluster_id, epoch),
        (exported.state.cluster_id.clone(), first + 1),
        "who watches hears everything anew"
    );
    assert_eq!(
        (operator.state("a").await, operator.state("b").await),
        (Some(State::Draining), Some(State::Usable))
    );

    server.crash().await;
    let server = Running::start(wiped.path(), &clock()).await;
    let state = server
        .transfer()
        .await
        .describe(DescribeRequest {})
        .await
        .expect("describes")
        .into_inner()
        .state
        .expect("a state");
    assert_eq!(
        (state.cluster_id, state.epoch, state.counts["admin states"]),
        (exported.state.cluster_id, 2, 1),
        "it is on the disk"
    );
}

#[tokio::test]
async fn what_is_not_whole_touches_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    server
        .client("proxy-node/a")
        .await
        .register(instance("proxy-node", "a", 1), true)
        .await
        .expect("registers");
    server.client("operator/ann").await.set(drain("a", "new disk")).await.expect("drains");
    let mut client = server.transfer().await;
    let good = export(&mut client).await;
    let before = client
        .describe(DescribeRequest {})
        .await
        .expect("describes")
        .into_inner()
        .state
        .expect("a state");
    let with = |change: &dyn Fn(&mut Exported)| {
        let mut exported = good.clone();
        change(&mut exported);
        exported
    };
    let bad = [
        (
            with(&|exported| drop(exported.chunks.pop())),
            Code::InvalidArgument,
            "a piece is missing or damaged",
        ),
        (
            with(&|exported| exported.chunks.iter_mut().for_each(|chunk| chunk.data.reverse())),
            Code::InvalidArgument,
            "missing or damaged",
        ),
        (
            with(&|exported| exported.state.service = "config-service".into()),
            Code::InvalidArgument,
            "cannot become that of registry",
        ),
        (
            with(&|exported| exported.state.format = 2),
            Code::FailedPrecondition,
            "restore it with the version that made it",
        ),
        (
            with(&|exported| exported.state.cluster_id = "x".into()),
            Code::InvalidArgument,
            "no cluster's id",
        ),
        (
            with(&|exported| (exported.chunks, exported.end) = (Vec::new(), End::default())),
            Code::InvalidArgument,
            "is missing",
        ),
    ];
    for (exported, code, says) in bad {
        let refused = import(&mut client, &exported, false).await.expect_err(says);
        assert!(refused.code() == code && refused.message().contains(says), "{refused:?}");
    }
    let after = client
        .describe(DescribeRequest {})
        .await
        .expect("describes")
        .into_inner()
        .state
        .expect("a state");
    assert_eq!((after.epoch, after.facts), (before.epoch, before.facts));
}

#[tokio::test]
async fn only_what_was_looked_at_is_replaced_and_in_an_epoch_that_nobody_remembers() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Running::start(dir.path(), &clock()).await;
    server
        .client("proxy-node/a")
        .await
        .register(instance("proxy-node", "a", 1), true)
        .await
        .expect("registers");
    let mut operator = server.client("operator/ann").await;
    let mut client = server.transfer().await;
    let exported = export(&mut client).await;
    let looked_at = exported.state.fingerprint.clone();
    server
        .client("proxy-node/b")
        .await
        .register(instance("proxy-node", "b", 1), true)
        .await
        .expect("registers");
    let expecting = |expected: &str| ImportHeader {
        expected: expected.to_owned(),
        after_epoch: 7,
        ..Default::default()
    };
    let state = import_as(&mut client, &exported, expecting(&looked_at))
        .await
        .expect("a node that comes changes nothing")
        .state;
    assert_eq!(state.map(|state| state.epoch), Some(8), "later than what anybody remembers");

    let refused = import_as(&mut client, &exported, expecting(&looked_at))
        .await
        .expect_err("it was restored meanwhile");
    assert!(
        refused.code() == Code::Aborted && refused.message().contains("nothing was replaced"),
        "{refused:?}"
    );
    let described = async |client: &mut StateTransferClient<Channel>| {
        client
            .describe(DescribeRequest {})
            .await
            .expect("describes")
            .into_inner()
            .state
            .expect("a state")
    };
    let now = described(&mut client).await;
    operator.set(drain("a", "new disk")).await.expect("drains");
    let refused = import_as(&mut client, &exported, expecting(&now.fingerprint))
        .await
        .expect_err("somebody wants something else");
    assert_eq!(refused.code(), Code::Aborted);
    assert_eq!(
        (described(&mut client).await.epoch, operator.state("a").await),
        (8, Some(State::Draining)),
        "nothing was replaced"
    );
}

#[tokio::test]
async fn the_log_of_purges_comes_back_in_an_epoch_in_which_no_place_means_anything() {
    let (dir, wiped) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = Running::start(dir.path(), &clock()).await;
    let mut operator = server.client("operator/ann").await;
    let tag = |text: &str| Purge { scope: Some(Scope::Tag(text.to_owned())), soft: true };
    for text in ["one", "two", "three"] {
        operator.purge(tag(text)).await.expect("logged");
    }
    let exported = export(&mut server.transfer().await).await;
    assert_eq!(exported.state.counts["purges"], 3);
    server.crash().await;

    let server = Running::start(wiped.path(), &clock()).await;
    let mut operator = server.client("operator/ann").await;
    operator.purge(tag("since")).await.expect("logged");
    let before = operator.list_purges(9).await.expect("lists").newest.expect("a place");
    import(&mut server.transfer().await, &exported, false).await.expect("is restored");
    let listed = operator.list_purges(9).await.expect("lists");
    let newest = listed.newest.expect("a place");
    assert_eq!((newest.position, newest.epoch), (3, before.epoch + 1));
    let texts: Vec<_> = listed.purges.into_iter().map(|it| it.purge.expect("what")).collect();
    assert_eq!(texts, [tag("three"), tag("two"), tag("since")], "what there was stays");
    assert_eq!(operator.purge(tag("next")).await.expect("logged").position, 4);
    server.crash().await;
    let server = Running::start(wiped.path(), &clock()).await;
    let mut operator = server.client("operator/ann").await;
    assert_eq!(operator.list_purges(9).await.expect("lists").purges.len(), 4);
}
