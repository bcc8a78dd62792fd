//! One stream of purges, to its end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chassis::{backoff::Backoff, connect::explain};
use proto::{
    purge::Purge as Asked,
    registry::{
        FollowPurgesRequest, FollowPurgesResponse, LoggedPurge, PurgeOutcome, PurgePlace,
        registry_client::RegistryClient,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Follower,
    place::{Memory, Place},
    wire,
};
use crate::cache::purge::{Mode, Purge, Scope};

const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How often the registry is asked whether everything was heard.
const QUESTIONS: Duration = Duration::from_secs(1);
/// A registry that does not answer for so long is taken for gone.
const SILENCE: Duration = Duration::from_secs(5);

/// Questions without an answer whose time is remembered.
const MOST_ASKED: usize = 64;

/// A stream.
pub(super) struct Stream<'a> {
    follower: &'a Follower,
    memory: &'a mut Memory,
    /// The number of the last question.
    question: u64,
    /// The last questions without an answer, and when they were asked, in steady milliseconds.
    asked: VecDeque<(u64, u64)>,
}

impl<'a> Stream<'a> {
    pub(super) const fn new(follower: &'a Follower, memory: &'a mut Memory) -> Self {
        Self { follower, memory, question: 0, asked: VecDeque::new() }
    }

    /// Follows, and answers why it ended.
    pub(super) async fn run(mut self, backoff: &mut Backoff) -> String {
        match self.follow(backoff).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn follow(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, String> {
        let (sender, requests) = mpsc::channel(8);
        // The first goes in before the call: the registry answers nothing before it has heard
        // something.
        self.ask(&sender, Vec::new()).await?;
        let mut client =
            RegistryClient::new(self.follower.channel.clone()).max_decoding_message_size(16 << 20);
        let opening = client.follow_purges(ReceiverStream::new(requests));
        let opened = timeout(CALL_WITHIN, opening).await.map_err(|_| silent())?;
        let mut stream = opened.map_err(|status| explain(&status))?.into_inner();
        let mut questions = tokio::time::interval(QUESTIONS);
        questions.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        questions.reset();
        let mut heard = tokio::time::Instant::now();
        loop {
            tokio::select! {
                message = stream.message() => {
                    let message = message.map_err(|status| explain(&status))?;
                    let message = message.ok_or("the registry ended the stream")?;
                    heard = tokio::time::Instant::now();
                    backoff.reset();
                    self.follower.node.metrics.purges_followed.set(1);
                    if let Some(outcomes) = self.take(message).await {
                        self.ask(&sender, outcomes).await?;
                    }
                }
                _ = questions.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(silent());
                    }
                    self.ask(&sender, Vec::new()).await?;
                }
            }
        }
    }

    /// Says how far this node is, what came of the last purges, and asks whether there are more.
    async fn ask(
        &mut self,
        sender: &mpsc::Sender<FollowPurgesRequest>,
        outcomes: Vec<PurgeOutcome>,
    ) -> Result<(), String> {
        self.question += 1;
        if self.asked.len() == MOST_ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back((self.question, self.follower.node.steady.millis()));
        let request = FollowPurgesRequest {
            name: self.follower.name.clone(),
            id: self.follower.id.clone(),
            place: self.memory.place().cloned().map(PurgePlace::from),
            question: self.question,
            outcomes,
        };
        let sent = timeout(CALL_WITHIN, sender.send(request)).await;
        sent.map_err(|_| silent())?.map_err(|_| "the registry ended the stream".to_owned())
    }

    /// Does what a message says. `Some`: the registry has to hear what came of it, and where this
    /// node is now.
    async fn take(&mut self, message: FollowPurgesResponse) -> Option<Vec<PurgeOutcome>> {
        let FollowPurgesResponse { purges, place, gap, answers } = message;
        let (mut outcomes, mut lasting) = (Vec::new(), true);
        if gap {
            tracing::warn!(
                "the log of purges does not say what this node missed: everything that it has \
                 stored is validated before it is used"
            );
            let everything = Purge { scope: Scope::Everything, mode: Mode::Soft };
            let node = Arc::clone(&self.follower.node);
            // Nobody purged it: to others it says nothing.
            let purged =
                tokio::task::spawn_blocking(move || node.store.purge(&Arc::new(everything), 0));
            lasting = match purged.await {
                Ok(purged) => purged.lasting().await.is_ok(),
                Err(_) => false,
            };
        }
        for logged in &purges {
            let (outcome, lasts) = self.one(logged).await;
            lasting &= lasts;
            outcomes.push(outcome);
        }
        if let Some(place) = place {
            self.memory.advance(Place::from(place), lasting).await;
        }
        while let Some((question, asked)) = self.asked.front().copied()
            && question <= answers
        {
            self.asked.pop_front();
            self.follower.node.confirmation.confirm(asked);
        }
        (gap || !outcomes.is_empty()).then_some(outcomes)
    }

    /// What came of a purge, and whether a restart changes nothing of that.
    async fn one(&self, logged: &LoggedPurge) -> (PurgeOutcome, bool) {
        let (position, by) = (logged.position, &logged.by);
        let outcome = |concerned, problem| PurgeOutcome { position, concerned, problem };
        let purge = match wire::read(logged.purge.as_ref().unwrap_or(&Asked::default())) {
            Ok(purge) => purge,
            Err(problem) => {
                tracing::warn!(
                    position,
                    by,
                    "a purge makes no sense and is passed over: {problem}"
                );
                return (outcome(0, problem.to_string()), true);
            }
        };
        let said = purge.to_string();
        match self.purge(purge).await {
            Ok(concerned) => {
                self.record(by, format!("purge {said}: {concerned} concerned"), "ok").await;
                (outcome(concerned, String::new()), true)
            }
            Err(problem) => {
                tracing::error!(position, by, "purged, but not for good: {said}: {problem}");
                self.record(by, format!("purge {said}: {problem}"), "failed").await;
                (outcome(0, problem), false)
            }
        }
    }

    /// Writes it into the audit journal, which is a log too.
    async fn record(&self, by: &str, what: String, result: &'static str) {
        let (journal, by) = (self.follower.journal.clone(), by.to_owned());
        let written = tokio::task::spawn_blocking(move || journal.record(&by, &what, result));
        drop(written.await);
    }

    async fn purge(&self, purge: Purge) -> Result<u64, String> {
        let node = Arc::clone(&self.follower.node);
        let purged = tokio::task::spawn_blocking(move || node.purge(&Arc::new(purge)));
        let purged = purged.await.map_err(|_| "the purge panicked".to_owned())?;
        purged.lasting().await.map_err(|reason| {
            format!(
                "it could not be written to the disk cache ({reason}): it is done again after a \
                restart"
            )
        })
    }
}

fn silent() -> String {
    "the registry does not answer".to_owned()
}
