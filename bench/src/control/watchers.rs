//! Many watchers of the membership, each on a connection of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use proto::registry::{
    SetAdminStateRequest, WatchRequest, registry_client::RegistryClient, watch_response::Event,
};
use testkit::wait::PATIENCE;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{timeout, timeout_at},
};

use super::Caller;

/// Handshakes at the same time.
const AT_ONCE: usize = 32;

/// Connected watchers.
#[derive(Debug)]
pub struct Watchers {
    count: usize,
    heard: mpsc::Receiver<(u32, Instant)>,
    tasks: JoinSet<Result<()>>,
}

impl Watchers {
    /// Connects so many; each has its snapshot when this returns, and reports the weight that it
    /// sees of `name`.
    pub async fn connect(caller: &Caller, name: &str, count: usize) -> Result<Self> {
        let (tell, heard) = mpsc::channel(count * 2);
        let mut watchers = Self { count, heard, tasks: JoinSet::new() };
        let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        for _ in 0..count {
            let (caller, tell, room, name) =
                (caller.clone(), tell.clone(), Arc::clone(&room), name.to_owned());
            watchers.tasks.spawn(async move {
                let permit = room.acquire_owned().await?;
                let client = RegistryClient::new(caller.connect().await?);
                drop(permit);
                watch(client, &name, tell).await
            });
        }
        watchers.until_all(|_| true).await?;
        Ok(watchers)
    }

    async fn until_all(&mut self, wanted: impl Fn(u32) -> bool) -> Result<Instant> {
        let (mut left, mut last) = (self.count, Instant::now());
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while left > 0 {
            tokio::select! {
                heard = timeout_at(deadline, self.heard.recv()) => {
                    let Ok(heard) = heard else { bail!("{left} of {} watchers heard nothing within \
                        {PATIENCE:?}", self.count) };
                    let (weight, at) = heard.context("no watcher is left")?;
                    if wanted(weight) {
                        (left, last) = (left - 1, last.max(at));
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    ended?.context("a watcher lost its stream")?;
                    bail!("the registry ended a watcher's stream");
                }
            }
        }
        Ok(last)
    }

    /// Changes the weight of `name`; how long it took until the last watcher had heard of it.
    pub async fn change(
        &mut self,
        operator: &mut RegistryClient<chassis::ServiceChannel>,
        name: &str,
        weight: u32,
    ) -> Result<Duration> {
        let begun = Instant::now();
        let change = SetAdminStateRequest {
            name: name.to_owned(),
            weight: Some(weight),
            ..SetAdminStateRequest::default()
        };
        let asked = async { Ok(timeout(PATIENCE, operator.set_admin_state(change)).await??) };
        let (_, last) = tokio::try_join!(asked, self.until_all(|heard| heard == weight))?;
        Ok(last.duration_since(begun))
    }
}

async fn watch(
    mut client: RegistryClient<chassis::ServiceChannel>,
    name: &str,
    tell: mpsc::Sender<(u32, Instant)>,
) -> Result<()> {
    let mut stream = client.watch(WatchRequest::default()).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let at = Instant::now();
        let statuses = match message.event {
            Some(Event::Snapshot(snapshot)) => snapshot.instances,
            Some(Event::Delta(delta)) => delta.upserted,
            None => continue,
        };
        let seen = statuses
            .iter()
            .find(|status| status.instance.as_ref().is_some_and(|instance| instance.name == name));
        if let Some(status) = seen {
            tell.send((status.effective_weight, at)).await?;
        }
    }
    Ok(())
}
