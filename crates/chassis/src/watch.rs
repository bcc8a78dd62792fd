//! Watches the registry, publishes what it says, and remembers it on disk at most twice a second.

use std::{path::PathBuf, sync::Arc, time::Duration};

use proto::registry::{WatchRequest, registry_client::RegistryClient};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::membership::{Event, Membership, Watch};
use crate::{
    connect::{ServiceChannel, explain},
    data_dir::write_atomically,
    lifecycle::StopSignal,
    metrics,
    retry::Retry,
};

/// The registry sends something at least every ten seconds; after so long it is taken for gone.
const SILENCE: Duration = Duration::from_secs(25);
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Changes within this time are written together.
const COALESCE: Duration = Duration::from_millis(500);

/// Loads what was remembered, and answers what publishes it. An unreadable file is no reason not to
/// start: the registry has it all.
pub(crate) fn load(path: &PathBuf) -> (watch::Sender<Arc<Membership>>, Watch) {
    let remembered = match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .inspect_err(|error| {
                tracing::warn!(
                    "the remembered membership {} is unreadable and ignored: {error}",
                    path.display()
                )
            })
            .unwrap_or_default(),
        Err(_) => Membership::default(),
    };
    Watch::manual(remembered)
}

/// Follows the registry until `stop`.
pub(crate) async fn follow(
    channel: ServiceChannel,
    sender: watch::Sender<Arc<Membership>>,
    stop: StopSignal,
) {
    let mut retry = Retry::new(Duration::from_millis(100), Duration::from_secs(3));
    loop {
        let ended = tokio::select! {
            () = stop.wait() => return,
            ended = once(channel.clone(), &sender, &mut retry) => ended,
        };
        metrics::flag(metrics::MEMBERSHIP_LIVE, false);
        sender.send_if_modified(|membership| {
            std::mem::replace(&mut Arc::make_mut(membership).live, false)
        });
        let pause =
            retry.failed("membership is not followed now, the last one known stays in use", &ended);
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One stream, to its end.
async fn once(
    channel: ServiceChannel,
    sender: &watch::Sender<Arc<Membership>>,
    retry: &mut Retry,
) -> String {
    let request =
        WatchRequest { services: Vec::new(), resume_token: sender.borrow().resume_token.clone() };
    let mut client = RegistryClient::new(channel).max_decoding_message_size(64 << 20);
    let mut stream = match timeout(CALL_WITHIN, client.watch(request)).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return explain(&status),
        Err(_) => return "the registry does not answer".to_owned(),
    };
    loop {
        let message = match timeout(SILENCE, stream.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return "the registry ended the stream".to_owned(),
            Ok(Err(status)) => return explain(&status),
            Err(_) => return "the registry has gone silent".to_owned(),
        };
        if retry.well() {
            tracing::info!("membership is followed again");
        }
        metrics::flag(metrics::MEMBERSHIP_LIVE, true);
        publish(sender, Event::from(message));
    }
}

/// Wakes readers only when something changed; the token is kept all the same.
fn publish(sender: &watch::Sender<Arc<Membership>>, event: Event) {
    sender.send_if_modified(|current| {
        let membership = Arc::make_mut(current);
        let was_live = std::mem::replace(&mut membership.live, true);
        membership.apply(event) || !was_live
    });
}

/// Writes every change to disk, those that come together once.
pub(crate) async fn remember(path: PathBuf, mut watch: Watch, stop: StopSignal) {
    loop {
        tokio::select! {
            () = stop.wait() => return,
            () = watch.changed() => {}
        }
        let due = Instant::now() + COALESCE;
        tokio::select! {
            () = stop.wait() => {}
            () = tokio::time::sleep_until(due) => {}
        }
        let (membership, path) = (watch.borrow(), path.clone());
        let written = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec(&*membership).map_err(std::io::Error::from)?;
            write_atomically(&path, &text)
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("cannot remember the membership: {error}"),
            Err(error) => tracing::error!("cannot remember the membership: {error}"),
        }
    }
}
