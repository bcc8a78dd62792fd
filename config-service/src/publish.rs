//! The one owner of the fleet: a task that takes what nodes and operators say through
//! [`crate::rollout`], keeps what follows, and sends assignments. Others have a [`Handle`].

mod connections;
pub mod drift;
pub mod library;
pub mod owner;

use crate::history::History;
use crate::rollout::{self, Control, Key, Target};
use crate::store::{self, Record};
use chassis::transfer::Parcel;
use cluster_config::{Problem, Rendered, Variables};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

pub use drift::Drift;
pub use owner::Owner;

/// Commands that wait while another is done.
const QUEUE: usize = 1024;
/// Assignments that a node has not read yet; one that lags further behind is disconnected.
pub const ASSIGNMENTS: usize = 8;

/// What a node is sent.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Id of the revision.
    pub revision: String,
    /// Its rendering for this node.
    pub rendered: Arc<Rendered>,
}

/// A node that says hello.
#[derive(Debug)]
pub struct Hello {
    pub key: Key,
    /// What `${node.*}` stands for there.
    pub variables: Variables,
    /// Its process: another after every start.
    pub process: String,
    /// What it runs.
    pub applied: Option<Target>,
    /// Hashes that it will not take, with the reason.
    pub rejected: std::collections::BTreeMap<String, String>,
    /// Where its assignments go.
    pub assignments: mpsc::Sender<Assignment>,
}

/// A connection of a node, as its stream knows it.
#[derive(Debug)]
pub struct Session {
    /// Goes with everything that is said of this connection.
    pub number: u64,
    /// Ends when the connection is to end.
    pub over: oneshot::Receiver<()>,
}

/// What is put in the place of everything.
#[derive(Debug)]
pub struct Restoring {
    /// All but the content of files.
    pub history: History,
    /// Content of files.
    pub content: Parcel,
    /// Fingerprint of what somebody looked at before: nothing else is replaced.
    pub expected: Option<String>,
}

/// Why a rollout cannot be started or controlled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// By its rules.
    #[error(transparent)]
    Refused(#[from] rollout::Error),
    /// By the store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The service ends.
    #[error("the config-service is stopping")]
    Stopping,
}

/// What the owner is told.
#[derive(Debug)]
pub enum Command {
    /// A node connects.
    Hello(Hello, oneshot::Sender<Session>),
    /// A node runs something else for a reason of its own.
    Applied(Key, u64, Target),
    /// A node answers an assignment.
    Acknowledged(Key, u64, Target, Vec<Problem>),
    /// A node's connection ends.
    Gone(Key, u64),
    /// A rollout is asked for.
    Start(String, oneshot::Sender<Result<Record, Error>>),
    /// A rollout is paused, resumed or aborted.
    Control(String, Control, oneshot::Sender<Result<Record, Error>>),
    /// The newest rollout is asked for.
    Newest(oneshot::Sender<Option<Record>>),
    /// Whether anything is under way that a restore must not tear apart.
    MayRestore(oneshot::Sender<Result<(), Error>>),
    /// Everything is replaced by what was restored.
    Restore(Box<Restoring>, oneshot::Sender<Result<(), Error>>),
    /// Who is in step is asked for.
    Drift(oneshot::Sender<Vec<Drift>>),
}

/// What others have of the owner. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    rollouts: watch::Sender<Option<Arc<Record>>>,
}

impl Handle {
    /// The handle, and what the owner is made of.
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        (Self { commands, rollouts: watch::Sender::new(None) }, receiver)
    }

    /// Every change of a rollout from now on.
    pub fn rollouts(&self) -> watch::Receiver<Option<Arc<Record>>> {
        self.rollouts.subscribe()
    }

    fn publish(&self, record: Arc<Record>) {
        self.rollouts.send_replace(Some(record));
    }

    /// Says something that wants no answer.
    pub async fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| Error::Stopping)
    }

    /// Says something and waits for the answer.
    pub async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.tell(command(sender)).await?;
        receiver.await.map_err(|_| Error::Stopping)
    }
}
