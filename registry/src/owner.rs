//! The one task that owns the membership.
//!
//! It takes what has queued up as one batch: applies every command, draws the conclusions once,
//! writes what has to survive in one transaction, publishes what follows, and only then answers. An
//! answer therefore means that it is on the disk and that a reader sees it. Readers read the
//! [`Feed`] and never wait for the owner.
//!
//! There is one active owner: that of the process that has the store open ([`crate::store`], 4).
//! One that panicked is followed by another, which replays the store.

mod reply;
mod tell;

use std::{collections::HashMap, sync::Arc, time::Duration};

use cluster::guard::Threshold;
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::Instant,
};

use crate::{
    command::{self, Command, Outcome},
    feed::Feed,
    handle::{self, Change, Handle, Message},
    membership::{Holding, Membership, Writes},
    metrics,
    recollection::{Recollection, Restored},
    store::Store,
    time::{Reading, Time},
};
use reply::Reply;

/// How often it reads the clock when nothing else happens.
const TICK: Duration = Duration::from_millis(250);
/// How many messages make a batch.
const BATCH: usize = 1024;
/// How many messages wait.
const QUEUE: usize = 16_384;
/// What survives a panic of the owner. What was not written then was not acknowledged either.
#[derive(Debug)]
struct Lasting {
    queue: mpsc::Receiver<Message>,
    store: Box<dyn Store>,
    time: Time,
}

/// The owner. [`Owner::run`] is a supervised task: when it is started again, it replays the store.
#[derive(Clone)]
pub struct Owner {
    lasting: Arc<Mutex<Lasting>>,
    feed: Arc<Feed>,
    threshold: Threshold,
}

impl Owner {
    /// An owner of what `store` holds, and the handle to it.
    #[must_use]
    pub fn new(
        store: Box<dyn Store>,
        time: Time,
        feed: Arc<Feed>,
        threshold: Threshold,
    ) -> (Self, Handle) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let handle = Handle { queue: sender, feed: Arc::clone(&feed) };
        (
            Self { lasting: Arc::new(Mutex::new(Lasting { queue, store, time })), feed, threshold },
            handle,
        )
    }

    /// Owns the membership until nobody has a handle any more.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn run(self) -> database::Result<()> {
        let mut lasting = self.lasting.lock().await;
        let Lasting { queue, store, time } = &mut *lasting;
        let records = store.load().await?;
        let membership = Membership::replay(self.threshold, records, time.read().now);
        let mut owned = Owned {
            membership,
            feed: &self.feed,
            unwritten: Writes::new(),
            followers: HashMap::new(),
            refreshed_at: None,
        };
        let statuses: Vec<_> = owned.membership.statuses().collect();
        tracing::info!(instances = statuses.len(), "membership replayed, leases forgiven");
        // Before anybody takes what there is for everything.
        self.feed.purges().publish(owned.membership.purges());
        self.feed.reset(statuses, owned.membership.guards().values().cloned().collect());
        let mut batch = Vec::with_capacity(BATCH);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ticked = tokio::select! {
                received = queue.recv_many(&mut batch, BATCH) => {
                    if received == 0 { break } else { false }
                }
                _ = ticks.tick() => true,
            };
            // Renewals that wait are heard before anybody is called silent.
            while batch.len() < BATCH
                && let Ok(message) = queue.try_recv()
            {
                batch.push(message);
            }
            owned.work(batch.drain(..), ticked, time.read(), store.as_mut()).await;
        }
        if let Err(error) = owned.write(store.as_mut()).await {
            tracing::error!("the last renewals are not written: {error}");
        }
        Ok(())
    }
}

/// What the owner changes.
struct Owned<'a> {
    membership: Membership,
    feed: &'a Feed,
    unwritten: Writes,
    followers: HashMap<String, watch::Sender<Holding>>,
    refreshed_at: Option<Instant>,
}

impl Owned<'_> {
    async fn work(
        &mut self,
        batch: impl Iterator<Item = Message>,
        ticked: bool,
        reading: Reading,
        store: &mut dyn Store,
    ) {
        if reading.was_away {
            tracing::warn!(
                "the registry stood still or the clock was set: every lease that had not lapsed \
                 before is forgiven"
            );
            metrics::forgiven();
            if let Err(error) = self.apply(Command::Forgive, reading) {
                tracing::error!("leases are not forgiven: {error}");
            }
        }
        let mut urgent = false;
        let mut replies = Vec::new();
        for message in batch {
            replies.push(match message {
                Message::Restore { restored, answer } => {
                    Reply::Restored(answer, self.restore(&restored, reading, store).await)
                }
                message => self.take(message, reading, &mut urgent),
            });
        }
        if ticked {
            self.membership.elapse(reading.now);
        }
        let changes = self.membership.settle(reading.now);
        self.unwritten.append(&mut self.membership.take_writes());
        let written = if urgent || ticked { self.write(store).await } else { Ok(()) };
        if self.unwritten.is_empty() {
            // What is not on the disk might not be there after a crash: nobody does it before.
            self.feed.purges().publish(self.membership.purges());
        }
        self.tell(&changes);
        for reply in replies {
            self.reply(reply, &written);
        }
        if ticked {
            self.refresh();
        }
    }

    fn take(&mut self, message: Message, reading: Reading, urgent: &mut bool) -> Reply {
        match message {
            Message::Apply { command, answer } => {
                *urgent |= command.must_survive();
                let name = command.of_process().map(str::to_owned);
                Reply::Applied(answer, self.apply(command, reading), name)
            }
            Message::Change { name, change, answer } => {
                *urgent = true;
                Reply::Changed(answer, self.change(name, change, reading))
            }
            Message::Follow { name, answer } => Reply::Followed(answer, name),
            Message::Recollect { answer } => Reply::Recollected(answer),
            Message::Restore { answer, .. } => Reply::Restored(answer, Err(handle::Error::Busy)),
        }
    }

    /// On the disk first and in one transaction, then in memory, then in a later epoch to
    /// everybody.
    async fn restore(
        &mut self,
        restored: &Restored,
        reading: Reading,
        store: &mut dyn Store,
    ) -> Result<(), handle::Error> {
        self.unwritten.append(&mut self.membership.take_writes());
        self.write(store).await?;
        if !restored.replaces(&Recollection::of(&self.membership, self.feed.identity())) {
            return Err(handle::Error::Changed);
        }
        let commands = restored.commands(&self.membership);
        let mut after = self.membership.clone();
        for command in commands {
            after.apply(command, reading.now)?;
        }
        after.settle(reading.now);
        let identity = restored.identity(&self.feed.identity());
        if let Err(error) = store.restore(&after.take_writes(), &identity).await {
            metrics::store_failed();
            return Err(handle::Error::of_store(&error));
        }
        tracing::warn!(cluster_id = %identity.cluster_id, epoch = identity.epoch, "restored from a \
            backup: everybody hears everything anew");
        self.membership = after;
        let statuses: Vec<_> = self.membership.statuses().collect();
        for status in &statuses {
            self.tell_follower(&status.instance.name);
        }
        self.feed.reset_as(
            identity,
            statuses,
            self.membership.guards().values().cloned().collect(),
        );
        self.feed.purges().restored(self.membership.purges());
        Ok(())
    }

    fn apply(&mut self, command: Command, reading: Reading) -> Result<Outcome, command::Error> {
        let kind = command.kind();
        let result = self.membership.apply(command, reading.now);
        metrics::command(kind, result.is_ok());
        result
    }

    fn change(
        &mut self,
        name: String,
        change: Change,
        reading: Reading,
    ) -> Result<String, command::Error> {
        if self.membership.holding(&name).is_none() {
            metrics::command("desired", false);
            return Err(command::Error::Unknown { name });
        }
        let mut desired = self.membership.desired(&name).clone();
        if let Some(admin_state) = change.admin_state {
            (desired.admin_state, desired.reason) = (admin_state, change.reason);
        }
        if let Some(weight) = change.weight {
            desired.weight = weight;
        }
        if !change.force
            && let Some(service) = self.membership.would_be_last(&name, &desired)
        {
            metrics::command("desired", false);
            return Err(command::Error::LastUsable { name, service });
        }
        self.apply(Command::Desired { name: name.clone(), desired }, reading)?;
        Ok(name)
    }

    /// What cannot be written is kept and written with the next transaction; nobody is told that it
    /// is safe before.
    async fn write(&mut self, store: &mut dyn Store) -> Result<(), handle::Error> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        match store.write(&self.unwritten).await {
            Ok(()) => {
                self.unwritten.clear();
                metrics::written(begun.elapsed());
                Ok(())
            }
            Err(error) => {
                metrics::store_failed();
                tracing::error!(
                    "the database cannot be written, nothing is acknowledged meanwhile: {error}"
                );
                Err(handle::Error::of_store(&error))
            }
        }
    }
}
