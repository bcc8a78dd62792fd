//! What is done, step by step, for whoever wants to watch. Nobody has to: what was begun goes on
//! without a listener.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};

/// Steps that a slow listener has not read yet.
pub const QUEUE: usize = 64;
/// A listener that reads nothing for so long misses a step.
const PATIENCE: Duration = Duration::from_secs(1);

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Done,
    /// Failed: the last.
    Failed,
}

/// Something that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub number: u32,
    pub title: String,
    /// How it stands.
    pub state: State,
    /// In words for people.
    pub detail: String,
    /// Of `total`.
    pub done: u64,
    /// 0: nobody knows.
    pub total: u64,
}

/// Tells of steps.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    to: Option<mpsc::Sender<Step>>,
    number: u32,
    title: String,
}

impl Steps {
    /// To this listener.
    #[must_use]
    pub fn new(to: mpsc::Sender<Step>) -> Self {
        Self { to: Some(to), ..Self::default() }
    }

    #[must_use]
    pub fn unheard() -> Self {
        Self::default()
    }

    fn step(&self, state: State, detail: &str, (done, total): (u64, u64)) -> Step {
        Step {
            number: self.number,
            title: self.title.clone(),
            state,
            detail: detail.to_owned(),
            done,
            total,
        }
    }

    async fn tell(&self, step: Step) {
        if let Some(to) = &self.to {
            // Whoever has gone, or does not read, misses it.
            drop(timeout(PATIENCE, to.send(step)).await);
        }
    }

    /// Begins the next step.
    pub async fn begin(&mut self, title: impl Into<String>) {
        self.number += 1;
        self.title = title.into();
        tracing::info!(step = self.number, "{}", self.title);
        self.tell(self.step(State::Running, "", (0, 0))).await;
    }

    /// So far it is. Never waits.
    pub fn progress(&self, done: u64, total: u64) {
        if let Some(to) = &self.to {
            // There will be another soon.
            drop(to.try_send(self.step(State::Running, "", (done, total))));
        }
    }

    /// The step is done; `detail` is what came of it.
    pub async fn done(&self, detail: impl AsRef<str>) {
        self.tell(self.step(State::Done, detail.as_ref(), (0, 0))).await;
    }

    /// The step failed, and with it everything.
    pub async fn failed(&self, detail: impl AsRef<str>) {
        if self.number > 0 {
            self.tell(self.step(State::Failed, detail.as_ref(), (0, 0))).await;
        }
    }
}
