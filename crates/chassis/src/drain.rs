//! A stop is a drain (invariant 9).
//!
//! SIGTERM or SIGINT begins it; then, in this order: not ready any more, deregistered, accepting
//! for one propagation period, the service's own closing step (bounded by `--drain-timeout`),
//! servers closed. A second signal ends the process at once.
//!
//! A process that was taken over from drains in the same order and does not deregister: its
//! successor goes on with its registration.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    configuration::owner::Owner,
    error::Error,
    lifecycle::{Lifecycle, StopSignal},
    options::Options,
    status::StatusHandle,
};

/// How long Deregister may take before the drain goes on without it.
const DEREGISTER_WITHIN: Duration = Duration::from_secs(2);
/// How long open gRPC and admin connections have to end after the closing step.
const SERVERS_WITHIN: Duration = Duration::from_secs(1);

/// Drains a process that was asked to stop.
pub(crate) async fn drain(
    lifecycle: &Lifecycle,
    status: &StatusHandle,
    options: &Options,
    owner: Option<Arc<Owner>>,
    closing: impl Future<Output = ()>,
) -> Result<(), Error> {
    tracing::info!(propagation_ms = options.drain_propagation.as_millis(), "draining");
    let handed_over = lifecycle.is_handed_over();
    if !handed_over {
        status.set_ready(false);
        if let Some(owner) = owner {
            owner.stopped_cleanly();
        }
    }
    if tokio::time::timeout(DEREGISTER_WITHIN, lifecycle.deregistered()).await.is_err() {
        tracing::warn!(
            "the registry did not answer the deregistration; the lease will lapse instead"
        );
    }
    if handed_over {
        // The successor's registration says that it is ready, and this one's has ended.
        status.set_ready(false);
    }
    tokio::time::sleep(options.drain_propagation).await;
    lifecycle.closing().raise();
    if tokio::time::timeout(options.drain_timeout, closing).await.is_err() {
        tracing::warn!(
            timeout_ms = options.drain_timeout.as_millis(),
            "what is under way takes too long and is cut"
        );
    }
    lifecycle.close_servers(SERVERS_WITHIN).await;
    tracing::info!("drained");
    lifecycle.stop_reason().map_or(Ok(()), Err)
}

/// Raises `stop` at the first SIGTERM or SIGINT; returns at the second.
pub(crate) async fn signals(stop: StopSignal) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    next(&mut terminate, &mut interrupt).await;
    tracing::info!("asked to stop; a second signal stops at once");
    stop.raise();
    next(&mut terminate, &mut interrupt).await;
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
