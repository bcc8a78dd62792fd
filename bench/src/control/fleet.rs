//! Many nodes that follow the configuration: hello, assignments, acknowledgements, as the chassis
//! of a real node speaks them.

use std::{collections::HashMap, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use cluster::Service;
use proto::config::{
    Acknowledgement, Applied, CommitHeader, CommitRequest, FileChunk, GetRevisionRequest, Hello,
    RolloutState, StartRolloutRequest, SubscribeRequest, WatchRolloutRequest, commit_request::Part,
    config_service_client::ConfigServiceClient, subscribe_request::Message,
};
use testkit::wait::PATIENCE;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;

use super::Caller;

/// Handshakes at the same time.
const AT_ONCE: usize = 32;

/// A node applied a revision and said so.
#[derive(Debug)]
struct Answered {
    node: usize,
    revision: String,
    at: Instant,
}

/// Connected nodes.
#[derive(Debug)]
pub struct Fleet {
    size: usize,
    answers: mpsc::Receiver<Answered>,
    nodes: JoinSet<Result<()>>,
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// The rollout was asked for.
    pub started: Instant,
    /// The first node had it.
    pub first: Instant,
    /// The last node had it.
    pub last: Instant,
    /// The rollout was done and its revision released.
    pub done: Instant,
}

impl Fleet {
    /// Connects so many nodes; each has applied the released revision when this returns.
    pub async fn connect(caller: &Caller, size: usize) -> Result<Self> {
        let (told, answers) = mpsc::channel(size);
        let mut fleet = Self { size, answers, nodes: JoinSet::new() };
        let room = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        for node in 0..size {
            let (caller, told, room) = (caller.clone(), told.clone(), std::sync::Arc::clone(&room));
            fleet.nodes.spawn(async move {
                let permit = room.acquire_owned().await?;
                let channel = caller.connect().await?;
                drop(permit);
                follow(node, ConfigServiceClient::new(channel), told).await
            });
        }
        fleet.until_all(None).await?;
        Ok(fleet)
    }

    /// Waits until every node has answered for a revision (any: the first); when the first and the
    /// last did.
    async fn until_all(&mut self, revision: Option<&str>) -> Result<(Instant, Instant)> {
        let mut seen: HashMap<usize, Instant> = HashMap::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while seen.len() < self.size {
            tokio::select! {
                answered = timeout_at(deadline, self.answers.recv()) => {
                    let Ok(answered) = answered else { bail!("only {} of {} nodes have the \
                        revision after {PATIENCE:?}", seen.len(), self.size) };
                    let answered = answered.context("no node is left")?;
                    if revision.is_none_or(|revision| revision == answered.revision) {
                        seen.insert(answered.node, answered.at);
                    }
                }
                Some(ended) = self.nodes.join_next() => {
                    ended?.context("a node lost its connection")?;
                    bail!("the config-service ended a node's stream");
                }
            }
        }
        let (first, last) = (seen.values().min(), seen.values().max());
        Ok((*first.context("no node")?, *last.context("no node")?))
    }

    /// Commits a bundle and rolls it out to everybody.
    pub async fn release(&mut self, operator: &Caller, bundle: &str) -> Result<Release> {
        let mut client = ConfigServiceClient::new(operator.connect().await?);
        let newest = client
            .get_revision(GetRevisionRequest { revision: "newest".into() })
            .await?
            .into_inner();
        let header = CommitHeader {
            parent: newest.revision.context("no revision")?.id,
            author: "bench".into(),
            message: "bench".into(),
            again: true,
        };
        let chunk = FileChunk { path: "cluster.yaml".into(), data: bundle.as_bytes().to_vec() };
        let parts = [Part::Header(header), Part::Chunk(chunk)]
            .map(|part| CommitRequest { part: Some(part) });
        let revision = client
            .commit(tokio_stream::iter(parts))
            .await?
            .into_inner()
            .revision
            .context("no revision")?
            .id;
        let started = Instant::now();
        let rollout = client
            .start_rollout(StartRolloutRequest { revision: revision.clone() })
            .await?
            .into_inner()
            .rollout;
        let rollout_id = rollout.context("no rollout")?.id;
        let mut watch =
            client.watch_rollout(WatchRolloutRequest { rollout_id }).await?.into_inner();
        let done = async {
            while let Some(told) = watch.message().await? {
                let rollout = told.rollout.unwrap_or_default();
                match rollout.state() {
                    RolloutState::Done => return Ok(Instant::now()),
                    RolloutState::Trying | RolloutState::Spreading => {}
                    other => bail!("the rollout is {other:?}: {}", rollout.explanation),
                }
            }
            bail!("the rollout's end was not told")
        };
        let all =
            timeout(PATIENCE, async { tokio::try_join!(self.until_all(Some(&revision)), done) });
        let ((first, last), done) = all.await.context("the rollout does not end")??;
        Ok(Release { started, first, last, done })
    }
}

async fn follow(
    node: usize,
    mut client: ConfigServiceClient<chassis::ServiceChannel>,
    told: mpsc::Sender<Answered>,
) -> Result<()> {
    let (say, said) = mpsc::channel(4);
    let name = format!("proxy-node-{node}");
    let variables = [
        ("name", name.clone()),
        ("listen.proxy", format!("10.0.{}.{}:3128", node / 250, node % 250 + 1)),
    ];
    let hello = Hello {
        service: Service::ProxyNode.to_string(),
        id: uuid::Uuid::now_v7().to_string(),
        variables: variables.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        name,
        applied: None::<Applied>,
        ..Hello::default()
    };
    say.send(SubscribeRequest { message: Some(Message::Hello(hello)) }).await?;
    let mut assignments = client.subscribe(ReceiverStream::new(said)).await?.into_inner();
    while let Some(message) = assignments.message().await? {
        let assignment = message.assignment.context("a message without an assignment")?;
        // What a node does with it is the node's time; that it is whole is checked here too.
        ensure!(
            serde_json::from_slice::<serde_json::Value>(&assignment.document).is_ok(),
            "the assignment is no document"
        );
        let answer = Acknowledgement {
            revision: assignment.revision.clone(),
            hash: assignment.hash,
            problems: Vec::new(),
        };
        say.send(SubscribeRequest { message: Some(Message::Acknowledgement(answer)) }).await?;
        told.send(Answered { node, revision: assignment.revision, at: Instant::now() }).await?;
    }
    Ok(())
}
