//! Does what clients ask for with PURGE, and writes it into the audit journal.

use std::{sync::Arc, time::Duration};

use chassis::{ServiceChannel, StopSignal, audit::Journal, connect::explain};
use proto::{
    purge::{Purge as Message, purge::Scope as Asked},
    registry::{PurgeRequest, registry_client::RegistryClient},
};
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    time::timeout,
};

use crate::{
    cache::purge::{Mode, Purge, Scope},
    node::Node,
    petitions::Petition,
};

/// How many are done at the same time.
const AT_ONCE: usize = 32;
const REGISTRY_WITHIN: Duration = Duration::from_secs(5);

/// Who does them. Cheap to clone.
#[derive(Clone)]
pub struct Clerk {
    pub node: Arc<Node>,
    pub channel: ServiceChannel,
    pub journal: Journal,
    pub petitions: Arc<Mutex<mpsc::Receiver<Petition>>>,
    pub stop: StopSignal,
}

impl Clerk {
    /// Does them until the process stops.
    pub async fn run(self) {
        let mut petitions = self.petitions.lock().await;
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let petition = tokio::select! {
                () = self.stop.wait() => return,
                petition = petitions.recv() => petition,
            };
            let (Some(petition), Ok(turn)) = (petition, turns.clone().acquire_owned().await) else {
                return;
            };
            let this = self.clone();
            // A panic in it ends it alone: whoever waits hears that nothing is known.
            tokio::spawn(async move {
                let _turn = turn;
                this.answer(petition).await;
            });
        }
    }

    async fn answer(&self, petition: Petition) {
        let Petition { url, client, everywhere, answer } = petition;
        let text = url.to_string();
        let mut done = self.here(Purge { scope: Scope::Url(url), mode: Mode::Hard }).await;
        if everywhere && let Err(problem) = self.everywhere(&text, client).await {
            done = Err(problem);
        }
        let (of, result) = match &done {
            Ok(found) => (format!("{text}: {found} removed"), "ok"),
            Err(problem) => (format!("{text}: {problem}"), "failed"),
        };
        let journal = self.journal.clone();
        let written = tokio::task::spawn_blocking(move || {
            journal.record(&format!("client {client}"), &format!("PURGE {of}"), result);
        });
        drop(written.await);
        // It may have left.
        drop(answer.send(done));
    }

    async fn here(&self, purge: Purge) -> Result<u64, String> {
        self.node.purge(&Arc::new(purge)).lasting().await
    }

    async fn everywhere(&self, url: &str, client: std::net::IpAddr) -> Result<(), String> {
        let purge = Some(Message { scope: Some(Asked::Url(url.to_owned())), soft: false });
        let request = PurgeRequest { purge, reason: format!("PURGE of {client}") };
        let mut registry = RegistryClient::new(self.channel.clone());
        match timeout(REGISTRY_WITHIN, registry.purge(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(format!("here alone, the registry: {}", explain(&status))),
            Err(_) => Err("here alone: the registry does not answer".to_owned()),
        }
    }
}
