//! Follows the log of purges that the registry keeps, does what it says, and says what came of it.
//!
//! [`place`] is how far this node has come, remembered beside its disk cache; [`follow`] is the
//! stream; [`wire`] reads what a purge is; [`petition`] does what clients ask for with PURGE. What
//! is believed meanwhile is in [`crate::confirmation`].

pub mod follow;
pub mod petition;
pub mod place;
pub mod wire;

use std::{path::PathBuf, sync::Arc, time::Duration};

use chassis::{ServiceChannel, StopSignal, audit::Journal, backoff::Backoff};

use crate::node::Node;
use follow::Stream;
use place::Memory;

/// How often it is noted that this process is awake.
const TICK: Duration = Duration::from_millis(250);

/// What a follower has to know.
#[derive(Clone)]
pub struct Follower {
    pub node: Arc<Node>,
    pub channel: ServiceChannel,
    /// Where it is written what was done.
    pub journal: Journal,
    /// Of this process, as it registers.
    pub name: String,
    pub id: String,
    /// Where the place is remembered.
    pub memory: PathBuf,
    pub stop: StopSignal,
}

impl Follower {
    /// What is stored is in doubt from now on until the registry has confirmed it.
    pub fn begin(&self) {
        self.node.confirmation.begin(self.node.steady.millis());
    }

    /// Follows until the process stops.
    pub async fn run(self) {
        let mut memory = Memory::open(self.memory.clone());
        let mut backoff = Backoff::seeded(Duration::from_millis(100), Duration::from_secs(3));
        let mut said = String::new();
        loop {
            let stream = Stream::new(&self, &mut memory);
            let ended = tokio::select! {
                () = self.stop.wait() => return,
                ended = stream.run(&mut backoff) => ended,
            };
            self.node.metrics.purges_followed.set(0);
            if ended == said {
                tracing::debug!("still, purges are not followed: {ended}");
            } else {
                tracing::warn!(
                    "purges are not followed now, what is stored is served for a while: {ended}"
                );
                said = ended;
            }
            tokio::select! {
                () = self.stop.wait() => return,
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }
}

/// Notes that this process is awake, for as long as it lives.
pub async fn stay_awake(node: Arc<Node>) {
    loop {
        if node.confirmation.note_awake(node.steady.millis()) {
            tracing::info!(
                "this node was away: what it has stored is validated until it has heard \
                of every purge"
            );
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Waits until the registry has confirmed what is stored, for so long at the most.
pub async fn caught_up(node: &Node, within: Duration) -> bool {
    let confirmed = async {
        while !node.confirmation.is_confirmed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(within, confirmed).await.is_ok()
}
