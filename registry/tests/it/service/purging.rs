//! The log of purges over real sockets: written, followed, acknowledged, kept.

use proto::{
    purge::{Purge, purge::Scope},
    registry::{
        FollowPurgesRequest, FollowPurgesResponse, ListPurgesResponse, PurgeOutcome, PurgePlace,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::server::{Client, LIMIT, Running, clock, id};

fn tag(text: &str) -> Purge {
    Purge { scope: Some(Scope::Tag(text.to_owned())), soft: false }
}

/// A node on its stream.
struct Node {
    name: String,
    sender: mpsc::Sender<FollowPurgesRequest>,
    stream: Streaming<FollowPurgesResponse>,
    question: u64,
}

impl Node {
    async fn open(running: &Running, name: &str, place: Option<PurgePlace>) -> Self {
        let mut client = running.client(&format!("proxy-node/{name}")).await;
        let (sender, requests) = mpsc::channel(8);
        let first = FollowPurgesRequest {
            name: name.to_owned(),
            id: id(1),
            place,
            ..FollowPurgesRequest::default()
        };
        sender.send(first).await.expect("open");
        let stream = client.follow_purges(ReceiverStream::new(requests)).await.expect("opens");
        Self { name: name.to_owned(), sender, stream, question: 0 }
    }

    async fn next(&mut self) -> Result<FollowPurgesResponse, Status> {
        let message = timeout(LIMIT, self.stream.message()).await.expect("in time")?;
        Ok(message.expect("it goes on"))
    }

    async fn say(&mut self, place: PurgePlace, outcomes: Vec<PurgeOutcome>) {
        self.question += 1;
        let message = FollowPurgesRequest {
            name: self.name.clone(),
            id: id(1),
            place: Some(place),
            question: self.question,
            outcomes,
        };
        self.sender.send(message).await.expect("open");
    }
}

fn positions(response: &FollowPurgesResponse) -> Vec<u64> {
    response.purges.iter().map(|logged| logged.position).collect()
}

async fn list(client: &mut Client) -> ListPurgesResponse {
    client.list_purges(100).await.expect("lists")
}

#[tokio::test]
async fn a_purge_is_told_in_order_acknowledged_and_there_after_a_crash() {
    let dir = tempfile::tempdir().expect("a directory");
    let running = Running::start(dir.path(), &clock()).await;
    let mut operator = running.client("operator/alice").await;
    // From nowhere it cannot be said what was missed.
    let mut node = Node::open(&running, "node-1", None).await;
    let first = node.next().await.expect("told");
    assert!(first.gap && positions(&first).is_empty());
    let start = first.place.expect("a place");
    assert_eq!(start.position, 0);

    for text in ["one", "two"] {
        operator.purge(tag(text)).await.expect("logged");
    }
    let mut heard = Vec::new();
    let mut place = start.clone();
    while heard.len() < 2 {
        let told = node.next().await.expect("told");
        assert!(!told.gap);
        heard.extend(positions(&told));
        place = told.place.expect("a place");
    }
    assert_eq!((heard, place.position), (vec![1, 2], 2));
    let outcome = PurgeOutcome { position: 2, concerned: 9, problem: String::new() };
    node.say(place.clone(), vec![outcome.clone()]).await;
    let answer = node.next().await.expect("answered");
    assert_eq!((answer.answers, positions(&answer)), (1, vec![]));
    let listed = list(&mut operator).await;
    let known = &listed.followers[0];
    assert_eq!((known.name.as_str(), known.applied, known.connected), ("node-1", 2, true));
    assert_eq!(known.outcomes, [outcome]);
    assert_eq!(listed.purges[0].by, "operator alice");
    let texts: Vec<_> = listed.purges.into_iter().map(|it| it.purge.expect("what")).collect();
    assert_eq!(texts, [tag("two"), tag("one")], "the newest first");

    running.crash().await;
    let running = Running::start(dir.path(), &clock()).await;
    let mut operator = running.client("operator/alice").await;
    let listed = list(&mut operator).await;
    assert_eq!(listed.newest.as_ref(), Some(&place));
    assert_eq!((listed.purges.len(), listed.followers.len()), (2, 0));
    // It goes on where it was, and who was further back hears what it missed.
    for (name, from, expected) in [("node-1", &place, vec![]), ("node-2", &start, vec![1, 2])] {
        let mut node = Node::open(&running, name, Some(from.clone())).await;
        let told = node.next().await.expect("told");
        assert_eq!((told.gap, positions(&told)), (false, expected), "{name}");
    }
    let third = operator.purge(tag("three")).await.expect("logged");
    assert_eq!(third.position, 3);
}

#[tokio::test]
async fn a_place_of_another_log_means_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let running = Running::start(dir.path(), &clock()).await;
    let mut operator = running.client("operator/alice").await;
    operator.purge(tag("one")).await.expect("logged");
    let newest = list(&mut operator).await.newest.expect("a place");
    for place in [
        PurgePlace { epoch: newest.epoch + 1, ..newest.clone() },
        PurgePlace { cluster_id: id(9), ..newest.clone() },
        PurgePlace { position: 2, ..newest.clone() },
    ] {
        let mut node = Node::open(&running, "node-1", Some(place)).await;
        let told = node.next().await.expect("told");
        assert!(told.gap && told.place.as_ref() == Some(&newest), "{told:?}");
    }
}

#[tokio::test]
async fn who_may_purge_what_and_who_may_follow() {
    let dir = tempfile::tempdir().expect("a directory");
    let running = Running::start(dir.path(), &clock()).await;
    let mut node = running.client("proxy-node/node-1").await;
    let url = Purge { scope: Some(Scope::Url("http://a.example/".into())), soft: true };
    let logged = node.purge(url.clone()).await.expect("a single URL");
    assert_eq!((logged.by.as_str(), logged.purge), ("proxy-node node-1", Some(url)));
    let refused = node.purge(tag("t")).await.expect_err("more than a URL");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut operator = running.client("operator/alice").await;
    for nonsense in [Purge::default(), tag(""), tag(&"x".repeat(3000))] {
        let refused = operator.purge(nonsense).await.expect_err("nonsense");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    let mut other = running.client("proxy-node/node-1").await;
    let message = FollowPurgesRequest { name: "node-2".into(), id: id(1), ..Default::default() };
    let mut stream = other.follow_purges(tokio_stream::once(message)).await.expect("opens");
    assert_eq!(stream.message().await.expect_err("refused").code(), Code::PermissionDenied);
}
