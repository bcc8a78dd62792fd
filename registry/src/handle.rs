//! What everybody but the owner has of it: a bounded queue of questions, each with one answer.

use std::{sync::Arc, time::Duration};

use cluster::{AdminState, InstanceStatus};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    command::{self, Command, Outcome},
    feed::Feed,
    membership::Holding,
    recollection::{Recollection, Restored},
    snapshot::{Filter, Snapshot},
};

/// How long anybody waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// By the rules.
    #[error(transparent)]
    Refused(#[from] command::Error),
    /// The command may or may not have been taken; repeating it is safe.
    #[error("the registry cannot write its database: {0}; nothing is acknowledged until it can")]
    Store(String),
    /// A restore of what somebody looked at, over something else.
    #[error(
        "what the registry has is not what it was when it was looked at: nothing was replaced; \
         look again, then decide anew"
    )]
    Changed,
    /// The same, for another reason.
    #[error("the registry is stopping or overloaded; try again")]
    Busy,
}

impl Error {
    /// Of what could not be written, with what to do about it.
    pub(crate) fn of_store(error: &database::Error) -> Self {
        let remedy = error.remedy().map_or_else(String::new, |remedy| format!(": {remedy}"));
        Self::Store(format!("{error}{remedy}"))
    }
}

/// A change of what operators want: what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether it may serve.
    pub admin_state: Option<AdminState>,
    /// Its weight; `Some(None)` returns to its own.
    pub weight: Option<Option<u32>>,
    /// Why; replaces the reason given before when the admin state is set.
    pub reason: String,
    /// Although nobody usable would be left.
    pub force: bool,
}

/// What a command came to, and what the instance it is about has to know now.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it came to.
    pub outcome: Outcome,
    /// What the instance has to know.
    pub holding: Option<Holding>,
}

pub(crate) enum Message {
    Apply { command: Command, answer: oneshot::Sender<Result<Answer, Error>> },
    Change { name: String, change: Change, answer: oneshot::Sender<Result<InstanceStatus, Error>> },
    Follow { name: String, answer: oneshot::Sender<Option<watch::Receiver<Holding>>> },
    Recollect { answer: oneshot::Sender<Recollection> },
    Restore { restored: Restored, answer: oneshot::Sender<Result<Recollection, Error>> },
}

/// Asks the owner. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) queue: mpsc::Sender<Message>,
    pub(crate) feed: Arc<Feed>,
}

impl Handle {
    /// Has a command applied.
    ///
    /// # Errors
    /// It is refused, or nobody knows.
    pub async fn apply(&self, command: Command) -> Result<Answer, Error> {
        self.ask(|answer| Message::Apply { command, answer }).await?
    }

    /// Changes what operators want of an instance that is there.
    ///
    /// # Errors
    /// It is not there, or nobody knows.
    pub async fn change(&self, name: String, change: Change) -> Result<InstanceStatus, Error> {
        self.ask(|answer| Message::Change { name, change, answer }).await?
    }

    /// Everything as it is now, without asking the owner. What was acknowledged before is in it.
    ///
    /// # Errors
    /// [`Error::Busy`] when the store is not replayed in time.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let mut reader = self.feed.reader(Filter::of(&[]), "");
        timeout(ANSWER_WITHIN, reader.ready()).await.map_err(|_| Error::Busy)?;
        Ok(self.feed.snapshot())
    }

    /// Follows what the process that holds `name` has to know; the channel closes when nobody holds
    /// it any more.
    ///
    /// # Errors
    /// [`Error::Busy`]
    pub async fn follow(&self, name: String) -> Result<Option<watch::Receiver<Holding>>, Error> {
        self.ask(|answer| Message::Follow { name, answer }).await
    }

    /// What a backup keeps of now.
    ///
    /// # Errors
    /// [`Error::Busy`]
    pub async fn recollect(&self) -> Result<Recollection, Error> {
        self.ask(|answer| Message::Recollect { answer }).await
    }

    /// Replaces what operators want by what was restored, in a later epoch: all of it or nothing.
    ///
    /// # Errors
    /// Something else is there than what was looked at, or it cannot be written; nothing has
    /// changed then.
    pub async fn restore(&self, restored: Restored) -> Result<Recollection, Error> {
        self.ask(|answer| Message::Restore { restored, answer }).await?
    }

    /// Where watchers read.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.queue.send(message(answer)).await.map_err(|_| Error::Busy)?;
            answered.await.map_err(|_| Error::Busy)
        };
        timeout(ANSWER_WITHIN, asked).await.map_err(|_| Error::Busy)?
    }
}
