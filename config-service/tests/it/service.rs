//! The service over real sockets: bundles, revisions, rollouts with nodes that acknowledge, refuse
//! and keep silent, and reopening the store.

use chassis::authorize::{Identity, Peer, Role};
use chassis::{Clock, StopSignal};
use cluster::Service;
use cluster_config::example_bundle;
use config_service::api::transfer::Transfer;
use config_service::api::{Api, Seen};
use config_service::publish::{Handle, Owner};
use config_service::rollout::Times;
use config_service::store::Store;
use futures::{StreamExt, stream};
use proto::config::config_service_client::ConfigServiceClient;
use proto::config::config_service_server::ConfigServiceServer;
use proto::config::subscribe_request::Message;
use proto::config::{
    self as pb, NodeRolloutState, RevisionOutcome as Outcome, RolloutState, commit_request::Part,
};
use proto::state::state_transfer_client::StateTransferClient;
use proto::state::state_transfer_server::StateTransferServer;
use proto::state::{self as state, export_response, import_request};
use sqlx::{Connection, Executor, SqliteConnection};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request};
use tonic_types::StatusExt;

type Client = ConfigServiceClient<Channel>;
type Files = BTreeMap<String, Vec<u8>>;

struct Running {
    client: Client,
    transfer: StateTransferClient<Channel>,
    stop: StopSignal,
    server: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(database: &Path) -> Self {
        Self::start_for(database, None, Duration::from_secs(15)).await
    }

    async fn start_for(database: &Path, identity: Option<Identity>, acknowledge: Duration) -> Self {
        let store = Store::open(database).await.unwrap();
        let (handle, commands) = Handle::new();
        let (stop, clock) = (StopSignal::default(), Clock::system());
        let times = Times { acknowledge, soak: Duration::from_millis(20) };
        let commands = Arc::new(Mutex::new(commands));
        let owner = Owner {
            handle: handle.clone(),
            commands,
            store: store.clone(),
            times,
            clock: clock.clone(),
            stop: stop.clone(),
        };
        let owner = tokio::spawn(owner.run());
        let seen = Seen {
            service: "balancer".into(),
            name: "elsewhere".into(),
            revision: String::new(),
            hash: String::new(),
        };
        let roster = Arc::new(move || vec![seen.clone()]);
        let (cluster, directory) =
            (Arc::new(|| ("a-cluster".to_owned(), 3)), database.parent().unwrap().to_owned());
        let transfer = Transfer {
            store: store.clone(),
            owner: handle.clone(),
            clock: clock.clone(),
            cluster,
            directory,
        };
        let api = Api { store, owner: handle, clock, stop: stop.clone(), roster };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = Peer { identity, address, hosts: Vec::new() };
        let service = ConfigServiceServer::with_interceptor(api, move |mut request: Request<()>| {
            request.extensions_mut().insert(peer.clone());
            Ok(request)
        });
        let closing = stop.clone();
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder()
                .add_service(service)
                .add_service(StateTransferServer::new(transfer))
                .serve_with_incoming_shutdown(incoming, async move { closing.wait().await })
                .await
                .unwrap();
            owner.await.unwrap().unwrap();
        });
        let client = Client::connect(format!("http://{address}")).await.unwrap();
        let transfer = StateTransferClient::connect(format!("http://{address}")).await.unwrap();
        Self { client, transfer, stop, server }
    }

    /// Streams end by themselves, or this would never return.
    async fn stop(self) {
        self.stop.raise();
        drop((self.client, self.transfer));
        self.server.await.unwrap();
    }

    async fn commit(
        &mut self,
        parent: &str,
        files: &Files,
        message: &str,
    ) -> Result<pb::Revision, tonic::Status> {
        let header = pb::CommitHeader {
            parent: parent.into(),
            author: "ann".into(),
            message: message.into(),
            ..Default::default()
        };
        let mut parts = vec![Part::Header(header)];
        parts.extend(chunks(files).into_iter().map(Part::Chunk));
        let requests = parts.into_iter().map(|part| pb::CommitRequest { part: Some(part) });
        self.client
            .commit(stream::iter(requests.collect::<Vec<_>>()))
            .await
            .map(|answer| answer.into_inner().revision.unwrap())
    }

    async fn roll_out(&mut self, revision: &str) -> pb::Rollout {
        self.client
            .start_rollout(pb::StartRolloutRequest { revision: revision.into() })
            .await
            .unwrap();
        self.ended().await
    }

    /// The newest rollout once it has ended.
    async fn ended(&mut self) -> pb::Rollout {
        let watching = self
            .client
            .watch_rollout(pb::WatchRolloutRequest::default())
            .await
            .unwrap()
            .into_inner();
        let states: Vec<_> =
            watching.map(|answer| answer.unwrap().rollout.unwrap()).collect().await;
        states.last().unwrap().clone()
    }

    async fn released(&mut self) -> Result<String, Code> {
        let answer =
            self.client.get_revision(pb::GetRevisionRequest { revision: "released".into() }).await;
        answer
            .map(|answer| answer.into_inner().revision.unwrap().id)
            .map_err(|status| status.code())
    }

    async fn drift(&mut self) -> HashMap<String, pb::Drift> {
        let nodes = self.client.get_drift(pb::GetDriftRequest {}).await.unwrap().into_inner().nodes;
        nodes.into_iter().map(|node| (node.name.clone(), node)).collect()
    }
}

/// In pieces of 100 bytes.
fn chunks(files: &Files) -> Vec<pb::FileChunk> {
    let mut chunks = Vec::new();
    for (path, content) in files {
        chunks.push(pb::FileChunk { path: path.clone(), data: Vec::new() });
        chunks.extend(
            content
                .chunks(100)
                .map(|data| pb::FileChunk { path: String::new(), data: data.to_vec() }),
        );
    }
    chunks
}

/// A page shows what its console is told, to people who need not have a password.
#[tokio::test(flavor = "multi_thread")]
async fn a_console_does_not_learn_the_hashes_of_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("config.db");
    let hash = "ann:$2y$05$abcdefghijklmnopqrstuuNjPBUvLhWtIIQnHyzUqqWgSWTVmQ8bG\n";
    let mut files = with("memory: 256MiB", "memory: 512MiB");
    files.insert("users/staff".into(), hash.into());
    let mut service = Running::start(&database).await;
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    service.commit(&first.id, &files, "with people").await.unwrap();
    service.stop().await;
    for (role, told) in [(Role::Operator, true), (Role::Service(cluster::Service::Console), false)]
    {
        let identity = Identity::new(role, "somebody");
        let mut service =
            Running::start_for(&database, Some(identity), Duration::from_secs(15)).await;
        let diff = service
            .client
            .diff(pb::DiffRequest { from: "1".into(), to: "2".into() })
            .await
            .unwrap()
            .into_inner();
        let of = |path: &str| diff.files.iter().find(|file| file.path == path).unwrap();
        assert!(of("cluster.yaml").unified.contains("memory: 512MiB"), "{diff:?}");
        assert_eq!(of("users/staff").unified.contains("ann:$2y$05$"), told, "{diff:?}");
        let fetched = service
            .client
            .fetch_file(pb::FetchFileRequest { sha256: of("users/staff").to_sha256.to_uppercase() })
            .await;
        assert_eq!(
            fetched.map(|_| true).map_err(|status| status.code()),
            if told { Ok(true) } else { Err(Code::PermissionDenied) }
        );
        let main = pb::FetchFileRequest { sha256: of("cluster.yaml").to_sha256.clone() };
        assert!(service.client.fetch_file(main).await.is_ok(), "{role:?}");
        service.stop().await;
    }
}

fn with(from: &str, to: &str) -> Files {
    let mut files = example_bundle();
    let text = String::from_utf8(files["cluster.yaml"].clone()).unwrap();
    assert!(text.contains(from));
    files.insert("cluster.yaml".into(), text.replace(from, to).into_bytes());
    files
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Acknowledge,
    Refuse,
    Silence,
}

/// A node: what it runs, as it changes.
struct FakeNode {
    applied: watch::Receiver<String>,
    answer: watch::Sender<Answer>,
    _up: mpsc::Sender<pb::SubscribeRequest>,
}

impl FakeNode {
    async fn connect(client: &Client, service: &str, name: &str, rejected: &[&str]) -> Self {
        let (up, requests) = mpsc::channel(8);
        let variables = [
            ("name", name),
            ("listen.proxy", "127.0.0.1:3128"),
            ("listen.frontend", "127.0.0.1:8080"),
        ];
        let hello = pb::Hello {
            service: service.into(),
            name: name.into(),
            id: String::new(),
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            applied: None,
            rejected_hashes: rejected
                .iter()
                .map(|hash| ((*hash).to_owned(), "crashed".to_owned()))
                .collect(),
        };
        up.send(pb::SubscribeRequest { message: Some(Message::Hello(hello)) }).await.unwrap();
        let mut down =
            client.clone().subscribe(ReceiverStream::new(requests)).await.unwrap().into_inner();
        let (applied, applying) = watch::channel(String::new());
        let (answer, answering) = watch::channel(Answer::Acknowledge);
        let answers = up.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = down.message().await {
                let assignment = message.assignment.unwrap();
                let mode = *answering.borrow();
                let refusal = pb::Problem {
                    message: "no such interface".into(),
                    cause: pb::Cause::Disk.into(),
                    ..Default::default()
                };
                let problems = if mode == Answer::Refuse && *applied.borrow() != assignment.revision
                {
                    vec![refusal]
                } else {
                    Vec::new()
                };
                if mode == Answer::Silence {
                    continue;
                }
                if problems.is_empty() {
                    applied.send_replace(assignment.revision.clone());
                }
                let acknowledgement = pb::Acknowledgement {
                    revision: assignment.revision,
                    hash: assignment.hash,
                    problems,
                };
                let message = pb::SubscribeRequest {
                    message: Some(Message::Acknowledgement(acknowledgement)),
                };
                if answers.send(message).await.is_err() {
                    return;
                }
            }
        });
        Self { applied: applying, answer, _up: up }
    }

    async fn runs(&mut self, revision: &str) {
        let waited = tokio::time::timeout(
            Duration::from_secs(20),
            self.applied.wait_for(|applied| applied == revision),
        )
        .await;
        waited.unwrap_or_else(|_| panic!("never ran {revision}")).unwrap();
    }
}

#[tokio::test]
async fn revisions_are_kept_compared_and_found() {
    let directory = TempDir::new().unwrap();
    let database = directory.path().join("config.db");
    let mut service = Running::start(&database).await;
    assert_eq!(service.released().await, Err(Code::NotFound));

    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    assert_eq!(
        (first.number, first.id.len(), first.committer.as_str(), first.released),
        (1, 12, "anonymous", false)
    );
    assert_eq!(
        service.commit("", &example_bundle(), "first").await.unwrap(),
        first,
        "safe to retry"
    );
    let conflict = service.commit("", &example_bundle(), "other").await.unwrap_err();
    assert_eq!(conflict.code(), Code::Aborted);
    assert!(conflict.message().contains(&first.id), "{conflict}");

    let changed = with("memory: 256MiB", "memory: 512MiB");
    let second = service.commit(&first.id, &changed, "more memory").await.unwrap();
    assert_eq!((second.number, second.parent.as_str()), (2, first.id.as_str()));
    assert_eq!(
        service.commit("", &example_bundle(), "first").await.unwrap(),
        first,
        "safe to retry later, too"
    );

    for name in ["newest", "2", &second.id[..5], &second.id] {
        let found = service
            .client
            .get_revision(pb::GetRevisionRequest { revision: name.into() })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (found.revision.unwrap().id, found.files.len()),
            (second.id.clone(), 3),
            "{name}"
        );
    }
    let unknown = service
        .client
        .get_revision(pb::GetRevisionRequest { revision: "77".into() })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let diff = service
        .client
        .diff(pb::DiffRequest { from: "1".into(), to: "newest".into() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(diff.files.len(), 1);
    assert!(
        diff.files[0].unified.contains("\n-  cache: {memory: 256MiB")
            && diff.files[0].unified.contains("\n+  cache: {memory: 512MiB")
    );
    let content: Vec<u8> = {
        let request = pb::FetchFileRequest { sha256: diff.files[0].to_sha256.clone() };
        let pieces = service.client.fetch_file(request).await.unwrap().into_inner();
        pieces.map(|piece| piece.unwrap().data).concat().await
    };
    assert_eq!(content, changed["cluster.yaml"]);

    let request =
        pb::RollbackRequest { revision: "1".into(), author: "bob".into(), message: String::new() };
    let third = service.client.rollback(request).await.unwrap().into_inner().revision.unwrap();
    assert_eq!(
        (third.number, third.message.as_str()),
        (3, format!("Roll back to {}: first", first.id).as_str())
    );
    let page = service
        .client
        .list_revisions(pb::ListRevisionsRequest { page_size: 2, page_token: String::new() })
        .await
        .unwrap()
        .into_inner();
    let rest = pb::ListRevisionsRequest { page_size: 2, page_token: page.next_page_token.clone() };
    let rest = service.client.list_revisions(rest).await.unwrap().into_inner();
    let numbers: Vec<u64> =
        page.revisions.iter().chain(&rest.revisions).map(|revision| revision.number).collect();
    assert_eq!((numbers, rest.next_page_token.as_str()), (vec![3, 2, 1], ""));

    service.roll_out("2").await;
    service.stop().await;
    let mut service = Running::start(&database).await;
    assert_eq!(service.released().await, Ok(second.id.clone()));
    let all = service
        .client
        .list_revisions(pb::ListRevisionsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .revisions;
    assert_eq!(
        all.iter().map(|revision| revision.released).collect::<Vec<_>>(),
        [false, true, false]
    );
    assert_eq!(
        all.iter().map(pb::Revision::outcome).collect::<Vec<_>>(),
        [Outcome::Committed, Outcome::Released, Outcome::Committed]
    );
    assert_eq!(
        pb::Revision { released: false, outcome: Outcome::Unspecified.into(), ..all[1].clone() },
        second
    );
    assert_eq!(service.ended().await.state(), RolloutState::Done);
    service.stop().await;
}

#[tokio::test]
async fn a_bad_bundle_is_refused_with_every_problem() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let mut files = with("memory: 256MiB", "memroy: 256MB");
    files.insert("lists/blocked_sites.txt".into(), b"ok.example\nhttp://bad/\n".to_vec());
    let refused = service.commit("", &files, "bad").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_details_bad_request().unwrap();
    let fields: Vec<&str> =
        details.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["cluster.yaml:8:11", "lists/blocked_sites.txt:2"]);
    let requests: Vec<_> = chunks(&files)
        .into_iter()
        .map(|chunk| pb::ValidateRequest { chunk: Some(chunk) })
        .collect();
    let problems =
        service.client.validate(stream::iter(requests)).await.unwrap().into_inner().problems;
    assert_eq!(
        (problems.len(), problems[0].line, problems[0].remedy.as_str()),
        (2, 8, "did you mean `memory`?")
    );
    let none = service
        .client
        .get_revision(pb::GetRevisionRequest { revision: "newest".into() })
        .await
        .unwrap_err();
    assert_eq!(none.code(), Code::NotFound, "nothing was stored");
    let headless =
        service.client.commit(stream::iter([pb::CommitRequest { part: None }])).await.unwrap_err();
    assert_eq!(headless.code(), Code::InvalidArgument);
    service.stop().await;
}

#[tokio::test]
async fn a_revision_reaches_every_node_and_a_refusal_takes_it_back() {
    let directory = TempDir::new().unwrap();
    let database = directory.path().join("config.db");
    let mut service = Running::start(&database).await;
    let mut nodes = Vec::new();
    for (kind, name) in [
        ("proxy-node", "p1"),
        ("proxy-node", "p2"),
        ("proxy-node", "p3"),
        ("balancer", "b1"),
        ("health-checker", "h1"),
    ] {
        nodes.push(FakeNode::connect(&service.client, kind, name, &[]).await);
    }
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    assert_eq!(service.drift().await["p1"].explanation, "nothing is released yet: start a rollout");
    let rollout = service.roll_out("newest").await;
    assert_eq!(
        (rollout.state(), rollout.nodes.len()),
        (RolloutState::Done, 5),
        "{}",
        rollout.explanation
    );
    for node in &mut nodes {
        node.runs(&first.id).await;
    }
    let drift = service.drift().await;
    assert!(drift.values().all(|node| node.in_step == (node.name != "elsewhere")), "{drift:?}");
    assert!(drift["elsewhere"].explanation.starts_with("registered, but not subscribed"));
    assert_eq!(drift["elsewhere"].cause(), pb::Cause::NotConnected);

    // Only the proxy's section differs; p2, which is not the first, refuses.
    let second = service
        .commit(&first.id, &with("memory: 256MiB", "memory: 512MiB"), "more memory")
        .await
        .unwrap();
    nodes[1].answer.send_replace(Answer::Refuse);
    let rollout = service.roll_out(&second.id).await;
    assert_eq!(rollout.state(), RolloutState::Failed);
    let causes: Vec<_> = rollout
        .nodes
        .iter()
        .flat_map(|node| node.problems.iter().map(|problem| (node.name.as_str(), problem.cause())))
        .collect();
    assert_eq!(causes, [("p2", pb::Cause::Disk)]);
    assert!(
        rollout.explanation.contains("p2") && rollout.explanation.contains("no such interface"),
        "{}",
        rollout.explanation
    );
    let of = |name: &str| rollout.nodes.iter().find(|node| node.name == name).unwrap();
    assert_eq!(
        (of("p2").state(), of("p1").state()),
        (NodeRolloutState::Rejected, NodeRolloutState::Reverted)
    );
    assert_eq!(of("p2").problems[0].message, "no such interface");
    for node in &mut nodes {
        node.runs(&first.id).await;
    }
    assert_eq!(service.released().await, Ok(first.id.clone()));
    let told = outcomes(&mut service).await;
    assert_eq!(
        told,
        [
            (Outcome::Rejected, "rejected by p2: no such interface".to_owned()),
            (Outcome::Released, String::new())
        ]
    );

    // Once it does not refuse any more, the same revision goes through; a node that joins gets it
    // at once.
    nodes[1].answer.send_replace(Answer::Acknowledge);
    assert_eq!(service.roll_out(&second.id).await.state(), RolloutState::Done);
    let mut late = FakeNode::connect(&service.client, "proxy-node", "p4", &[]).await;
    late.runs(&second.id).await;
    assert_eq!(service.released().await, Ok(second.id.clone()));

    // What takes the place of a revision is a later one, or an earlier one again.
    let third = service
        .commit(&second.id, &with("memory: 256MiB", "memory: 128MiB"), "less memory")
        .await
        .unwrap();
    assert_eq!(service.roll_out(&third.id).await.state(), RolloutState::Done);
    let request = pb::RollbackRequest {
        revision: "1".into(),
        author: String::new(),
        message: "as it was".into(),
    };
    let fourth = service.client.rollback(request).await.unwrap().into_inner().revision.unwrap();
    assert_eq!(service.roll_out(&fourth.id).await.state(), RolloutState::Done);
    let told = outcomes(&mut service).await;
    let expected = [
        (Outcome::Released, ""),
        (Outcome::RolledBack, "rolled back by revision 4"),
        (Outcome::Superseded, "revision 3 took its place"),
        (Outcome::Superseded, "revision 2 took its place"),
    ];
    assert_eq!(told, expected.map(|(outcome, reason)| (outcome, reason.to_owned())));
    service.stop().await;
}

/// What became of every revision, newest first.
async fn outcomes(service: &mut Running) -> Vec<(Outcome, String)> {
    history(service)
        .await
        .into_iter()
        .map(|revision| (revision.outcome(), revision.outcome_reason))
        .collect()
}

#[tokio::test]
async fn a_silent_node_ends_a_rollout_and_a_restart_does_not() {
    let directory = TempDir::new().unwrap();
    let database = directory.path().join("config.db");
    let mut service = Running::start_for(&database, None, Duration::from_millis(300)).await;
    let mut node = FakeNode::connect(&service.client, "proxy-node", "p1", &[]).await;
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    assert_eq!(service.roll_out(&first.id).await.state(), RolloutState::Done);
    node.runs(&first.id).await;
    node.answer.send_replace(Answer::Silence);
    let second =
        service.commit(&first.id, &with("memory: 256MiB", "memory: 512MiB"), "more").await.unwrap();
    let rollout = service.roll_out(&second.id).await;
    assert_eq!(
        (rollout.state(), rollout.explanation.as_str()),
        (RolloutState::Failed, "proxy-node p1 did not answer within 300ms")
    );
    service.stop().await;

    let mut service = Running::start(&database).await;
    let node = FakeNode::connect(&service.client, "proxy-node", "p1", &[]).await;
    node.answer.send_replace(Answer::Silence);
    let running = service
        .client
        .start_rollout(pb::StartRolloutRequest { revision: second.id.clone() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(running.rollout.unwrap().state(), RolloutState::Trying);
    let busy = service
        .client
        .start_rollout(pb::StartRolloutRequest { revision: "1".into() })
        .await
        .unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);
    service.stop().await;
    let mut service = Running::start(&database).await;
    let watching = service
        .client
        .watch_rollout(pb::WatchRolloutRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut states = watching.map(|answer| answer.unwrap().rollout.unwrap());
    assert_eq!(states.next().await.unwrap().state(), RolloutState::Trying, "it goes on");
    let busy = service
        .client
        .start_rollout(pb::StartRolloutRequest { revision: "1".into() })
        .await
        .unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);
    let mut node = FakeNode::connect(&service.client, "proxy-node", "p1", &[]).await;
    node.runs(&second.id).await;
    let last = states.collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(
        (last.state(), last.explanation.as_str()),
        (RolloutState::Done, "the one connected node has it")
    );
    assert_eq!(service.released().await, Ok(second.id));
    service.stop().await;
}

/// A node that has the revision and is not on record would be taken, after kill -9, for one that
/// cannot be harmed by it.
#[tokio::test]
async fn nobody_new_gets_what_cannot_be_written_down() {
    let directory = TempDir::new().unwrap();
    let database = directory.path().join("config.db");
    let mut service = Running::start(&database).await;
    let mut canary = FakeNode::connect(&service.client, "proxy-node", "p1", &[]).await;
    let mut other = FakeNode::connect(&service.client, "proxy-node", "p2", &[]).await;
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    assert_eq!(service.roll_out(&first.id).await.state(), RolloutState::Done);
    let second =
        service.commit(&first.id, &with("memory: 256MiB", "memory: 512MiB"), "more").await.unwrap();
    canary.answer.send_replace(Answer::Silence);
    let running = service
        .client
        .start_rollout(pb::StartRolloutRequest { revision: second.id.clone() })
        .await
        .unwrap()
        .into_inner();

    let mut disk =
        SqliteConnection::connect(&format!("sqlite://{}", database.display())).await.unwrap();
    disk.execute(
        "CREATE TRIGGER fails BEFORE UPDATE ON rollouts BEGIN SELECT RAISE(ABORT, 'the \
        disk fails'); END",
    )
    .await
    .unwrap();
    // The canary comes back with an answer, and soaks.
    canary = FakeNode::connect(&service.client, "proxy-node", "p1", &[]).await;
    canary.runs(&second.id).await;
    let assigned = async {
        while service.drift().await["p2"].assigned_revision != second.id {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), assigned)
        .await
        .expect("the canary has soaked, and everybody is to have it");
    assert_eq!(*other.applied.borrow(), first.id, "it was sent what is not written down");
    let id = running.rollout.unwrap().id;
    let pause =
        pb::ControlRolloutRequest { rollout_id: id, action: pb::RolloutAction::Pause.into() };
    let refused = service.client.control_rollout(pause).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::Internal,
        "what is not written down is not acknowledged: {refused}"
    );

    disk.execute("DROP TRIGGER fails").await.unwrap();
    other.runs(&second.id).await;
    service.stop().await;
}

#[tokio::test]
async fn a_rollout_is_paused_resumed_and_aborted() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let node = FakeNode::connect(&service.client, "balancer", "b1", &[]).await;
    node.answer.send_replace(Answer::Silence);
    service.commit("", &example_bundle(), "first").await.unwrap();
    let started = service
        .client
        .start_rollout(pb::StartRolloutRequest { revision: "1".into() })
        .await
        .unwrap()
        .into_inner()
        .rollout
        .unwrap();
    for (action, state) in [
        (pb::RolloutAction::Pause, RolloutState::Paused),
        (pb::RolloutAction::Resume, RolloutState::Trying),
        (pb::RolloutAction::Abort, RolloutState::Aborted),
        (pb::RolloutAction::Abort, RolloutState::Aborted),
    ] {
        let request =
            pb::ControlRolloutRequest { rollout_id: started.id.clone(), action: action.into() };
        assert_eq!(
            service
                .client
                .control_rollout(request)
                .await
                .unwrap()
                .into_inner()
                .rollout
                .unwrap()
                .state(),
            state
        );
    }
    assert_eq!(service.released().await, Err(Code::NotFound));
    service.stop().await;
}

#[tokio::test]
async fn whoever_watches_is_told_at_once_how_a_rollout_stands() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let node = FakeNode::connect(&service.client, "balancer", "b1", &[]).await;
    node.answer.send_replace(Answer::Silence);
    service.commit("", &example_bundle(), "first").await.unwrap();
    let started = service
        .client
        .start_rollout(pb::StartRolloutRequest { revision: "1".into() })
        .await
        .unwrap()
        .into_inner();
    let mut watching = service
        .client
        .watch_rollout(pb::WatchRolloutRequest::default())
        .await
        .unwrap()
        .into_inner();
    // Nothing changes meanwhile: the node keeps silent for longer than anybody waits here.
    let mut next = async || {
        let message = tokio::time::timeout(Duration::from_secs(10), watching.message())
            .await
            .expect("told at once");
        message.unwrap().map(|answer| answer.rollout.unwrap().state())
    };
    assert_eq!(next().await, Some(RolloutState::Trying));
    let id = started.rollout.unwrap().id;
    for (action, state) in [
        (pb::RolloutAction::Pause, RolloutState::Paused),
        (pb::RolloutAction::Abort, RolloutState::Aborted),
    ] {
        let request = pb::ControlRolloutRequest { rollout_id: id.clone(), action: action.into() };
        service.client.control_rollout(request).await.unwrap();
        assert_eq!(next().await, Some(state));
    }
    assert_eq!(next().await, None, "it is over");
    service.stop().await;
}

#[tokio::test]
async fn nobody_subscribes_in_anothers_name() {
    let directory = TempDir::new().unwrap();
    let identity =
        Identity { replicas: 2, ..Identity::new(Role::Service(Service::ProxyNode), "p1") };
    let service = Running::start_for(
        &directory.path().join("config.db"),
        Some(identity),
        Duration::from_secs(15),
    )
    .await;
    for (kind, name, allowed) in [
        ("proxy-node", "p1", true),
        ("proxy-node", "p1-b", true),
        ("proxy-node", "p2", false),
        ("balancer", "p1", false),
    ] {
        let hello = pb::Hello { service: kind.into(), name: name.into(), ..Default::default() };
        // The request stays open: an answer comes as soon as the hello is read.
        let requests =
            stream::iter([pb::SubscribeRequest { message: Some(Message::Hello(hello)) }])
                .chain(stream::pending());
        let answer = service.client.clone().subscribe(requests).await;
        assert_eq!(
            answer.err().map(|status| status.code()),
            (!allowed).then_some(Code::PermissionDenied),
            "{kind} {name}"
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn the_first_start_takes_a_directory() {
    let directory = TempDir::new().unwrap();
    let bundle = directory.path().join("bundle");
    for (path, content) in example_bundle() {
        let path = bundle.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    std::fs::write(bundle.join(".hidden"), "x").unwrap();
    let store = Store::open(&directory.path().join("config.db")).await.unwrap();
    let now = Clock::system().now();
    config_service::first::commit(&store, &bundle, "config-1", now).await.unwrap();
    let released = store.released().await.unwrap().unwrap();
    std::fs::write(bundle.join("cluster.yaml"), "version: 2\n").unwrap();
    config_service::first::commit(&store, &bundle, "config-1", now).await.unwrap();
    assert_eq!(
        (store.released().await.unwrap(), store.list(None, 9).await.unwrap().len()),
        (Some(released), 1)
    );

    let empty = Store::open(&directory.path().join("other.db")).await.unwrap();
    let failure =
        config_service::first::commit(&empty, &bundle, "config-1", now).await.unwrap_err();
    assert!(
        failure.to_string().contains("cluster.yaml:1:10: error: version cannot be 2"),
        "{failure}"
    );
    assert!(empty.list(None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_foreign_file_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notes.txt");
    std::fs::write(
        &path,
        "not a database, and rather longer than a header of one would be: ".repeat(9),
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(
        Store::open(&path).await,
        Err(config_service::store::Error::Database(database::Error::Foreign))
    ));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// What an export sent, as it would be sent back.
async fn export(service: &mut Running) -> Vec<import_request::Part> {
    let mut stream = service.transfer.export(state::ExportRequest {}).await.unwrap().into_inner();
    let mut parts = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        parts.push(match message.part.unwrap() {
            export_response::Part::State(state) => {
                import_request::Part::Header(state::ImportHeader {
                    state: Some(state),
                    ..Default::default()
                })
            }
            export_response::Part::Chunk(chunk) => import_request::Part::Chunk(chunk),
            export_response::Part::End(end) => import_request::Part::End(end),
        });
    }
    parts
}

async fn import(
    service: &mut Running,
    parts: &[import_request::Part],
) -> Result<state::ImportResponse, tonic::Status> {
    let messages: Vec<_> =
        parts.iter().cloned().map(|part| state::ImportRequest { part: Some(part) }).collect();
    let mut stream = service.transfer.import(stream::iter(messages)).await?.into_inner();
    Ok(stream.message().await?.unwrap())
}

/// The same import with something else in its header.
fn saying(
    parts: &[import_request::Part],
    say: impl Fn(&mut state::ImportHeader),
) -> Vec<import_request::Part> {
    let mut parts = parts.to_vec();
    let import_request::Part::Header(header) = &mut parts[0] else { panic!("no header") };
    say(header);
    parts
}

async fn history(service: &mut Running) -> Vec<pb::Revision> {
    service
        .client
        .list_revisions(pb::ListRevisionsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .revisions
}

#[tokio::test]
async fn a_wiped_store_gets_its_history_back_and_nodes_what_was_released() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    service.roll_out(&first.id).await;
    let changed = with("memory: 256MiB", "memory: 512MiB");
    let second = service.commit(&first.id, &changed, "more memory").await.unwrap();
    let (before, backup) = (history(&mut service).await, export(&mut service).await);
    // What comes after the backup is gone with the restore.
    let third = service
        .commit(&second.id, &with("memory: 256MiB", "memory: 128MiB"), "less")
        .await
        .unwrap();
    let mut node = FakeNode::connect(&service.client, "proxy-node", "proxy-node-1", &[]).await;
    service.roll_out(&third.id).await;
    node.runs(&third.id).await;
    drop(node);

    let checked =
        import(&mut service, &saying(&backup, |header| header.check_only = true)).await.unwrap();
    assert!(
        checked.changes[0].contains(&format!("go away: 3 ({})", third.id)),
        "{:?}",
        checked.changes
    );
    assert_eq!(history(&mut service).await.len(), 3, "a check touches nothing");
    assert_eq!(import(&mut service, &backup).await.unwrap().changes, checked.changes);
    assert_eq!(history(&mut service).await, before);
    assert_eq!(service.released().await.unwrap(), first.id);
    let mut node = FakeNode::connect(&service.client, "proxy-node", "proxy-node-1", &[]).await;
    node.runs(&first.id).await;
    assert_eq!(
        service
            .client
            .list_revisions(pb::ListRevisionsRequest::default())
            .await
            .unwrap()
            .into_inner()
            .revisions,
        before
    );
    service.stop().await;

    let mut wiped = Running::start(&directory.path().join("new.db")).await;
    import(&mut wiped, &backup).await.unwrap();
    assert_eq!(history(&mut wiped).await, before);
    assert_eq!(export(&mut wiped).await[1..], backup[1..], "the same, byte for byte");
    wiped.stop().await;
    let mut again = Running::start(&directory.path().join("new.db")).await;
    assert_eq!(
        (history(&mut again).await, again.released().await.unwrap()),
        (before, first.id),
        "it is on the disk"
    );
    again.stop().await;
}

#[tokio::test]
async fn a_restore_ends_the_connections_of_nodes_and_waits_for_rollouts() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    service.roll_out(&first.id).await;
    let backup = export(&mut service).await;
    let node = FakeNode::connect(&service.client, "proxy-node", "proxy-node-1", &[]).await;
    node.answer.send_replace(Answer::Silence);
    let second =
        service.commit(&first.id, &with("memory: 256MiB", "memory: 512MiB"), "more").await.unwrap();
    let rollout = service
        .client
        .start_rollout(pb::StartRolloutRequest { revision: second.id })
        .await
        .unwrap()
        .into_inner()
        .rollout
        .unwrap();
    for check_only in [true, false] {
        let refused =
            import(&mut service, &saying(&backup, |header| header.check_only = check_only))
                .await
                .unwrap_err();
        assert!(
            refused.code() == Code::FailedPrecondition
                && refused.message().contains("is running: wait for it"),
            "{refused:?}"
        );
    }
    assert_eq!(history(&mut service).await.len(), 2);
    let abort = pb::ControlRolloutRequest {
        rollout_id: rollout.id,
        action: pb::RolloutAction::Abort.into(),
    };
    service.client.control_rollout(abort).await.unwrap();
    import(&mut service, &backup).await.unwrap();
    let drift = service.drift().await;
    assert!(!drift.contains_key("proxy-node-1"), "it has to say hello again: {drift:?}");
    service.stop().await;
}

#[tokio::test]
async fn only_what_was_looked_at_is_replaced() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    let backup = export(&mut service).await;
    let described = service
        .transfer
        .describe(state::DescribeRequest {})
        .await
        .unwrap()
        .into_inner()
        .state
        .unwrap();
    let expecting = saying(&backup, |header| header.expected.clone_from(&described.fingerprint));
    import(&mut service, &expecting).await.unwrap();
    // Somebody commits after everybody looked.
    service.commit(&first.id, &with("memory: 256MiB", "memory: 512MiB"), "more").await.unwrap();
    let refused = import(&mut service, &expecting).await.unwrap_err();
    assert!(
        refused.code() == Code::Aborted && refused.message().contains("nothing was replaced"),
        "{refused:?}"
    );
    assert_eq!(history(&mut service).await.len(), 2);
    service.stop().await;
}

#[tokio::test]
async fn a_backup_made_in_the_middle_of_a_rollout_ends_it() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    service.roll_out(&first.id).await;
    let node = FakeNode::connect(&service.client, "proxy-node", "p1", &[]).await;
    node.answer.send_replace(Answer::Silence);
    let second =
        service.commit(&first.id, &with("memory: 256MiB", "memory: 512MiB"), "more").await.unwrap();
    service
        .client
        .start_rollout(pb::StartRolloutRequest { revision: second.id.clone() })
        .await
        .unwrap();
    let backup = export(&mut service).await;
    drop(node);
    service.stop().await;

    let mut wiped = Running::start(&directory.path().join("new.db")).await;
    import(&mut wiped, &backup).await.unwrap();
    let rollout = wiped.ended().await;
    assert_eq!((rollout.state(), rollout.revision.unwrap().id), (RolloutState::Failed, second.id));
    assert!(
        rollout.explanation.contains("restored from a backup that was made then"),
        "{}",
        rollout.explanation
    );
    assert_eq!(wiped.released().await, Ok(first.id.clone()));
    let mut node = FakeNode::connect(&wiped.client, "proxy-node", "p1", &[]).await;
    node.runs(&first.id).await;
    wiped.stop().await;
}

#[tokio::test]
async fn content_that_is_there_makes_no_revision_unless_somebody_asks() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let commit = async |service: &mut Running, parent: &str, again| {
        let header = pb::CommitHeader {
            parent: parent.into(),
            author: "ann".into(),
            message: "the same".into(),
            again,
        };
        let mut parts = vec![Part::Header(header)];
        parts.extend(chunks(&example_bundle()).into_iter().map(Part::Chunk));
        let requests = parts.into_iter().map(|part| pb::CommitRequest { part: Some(part) });
        service
            .client
            .commit(stream::iter(requests.collect::<Vec<_>>()))
            .await
            .unwrap()
            .into_inner()
    };
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    let unchanged = commit(&mut service, &first.id, false).await;
    assert_eq!(
        (unchanged.revision, unchanged.unchanged),
        (Some(first.clone()), true),
        "not released yet, which the answer says"
    );
    service.roll_out(&first.id).await;
    let unchanged = commit(&mut service, &first.id, false).await;
    assert!(unchanged.unchanged && unchanged.revision.unwrap().released);
    let request = pb::RollbackRequest { revision: "1".into(), ..Default::default() };
    let rollback = service.client.rollback(request).await.unwrap().into_inner();
    assert!(rollback.unchanged && rollback.revision.unwrap().number == 1);
    assert_eq!(history(&mut service).await.len(), 1);
    let again = commit(&mut service, &first.id, true).await;
    assert_eq!((again.revision.unwrap().number, again.unchanged), (2, false));
    service.stop().await;
}

#[tokio::test]
async fn a_history_that_is_not_whole_touches_nothing() {
    let directory = TempDir::new().unwrap();
    let mut service = Running::start(&directory.path().join("config.db")).await;
    let first = service.commit("", &example_bundle(), "first").await.unwrap();
    service.roll_out(&first.id).await;
    let good = export(&mut service).await;
    let before = history(&mut service).await;
    for missing in 0..good.len() {
        let mut bad = good.clone();
        bad.remove(missing);
        import(&mut service, &bad).await.expect_err("a part is missing");
    }
    for flipped in 0..good.len() {
        let mut bad = good.clone();
        let import_request::Part::Chunk(chunk) = &mut bad[flipped] else { continue };
        let Some(byte) = chunk.data.first_mut() else { continue };
        *byte ^= 1;
        let refused = import(&mut service, &bad).await.expect_err("a bit is flipped");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    let newer = saying(&good, |header| header.state.as_mut().unwrap().format = 2);
    let refused = import(&mut service, &newer).await.unwrap_err();
    assert!(refused.message().contains("restore it with the version that made it"), "{refused:?}");
    assert_eq!(history(&mut service).await, before);
    service.stop().await;
}
