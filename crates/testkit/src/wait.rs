//! Waiting for a state, never for a time.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::Instant;
/// How long a state may take before the test fails. Generous: machines are shared, and this is no
/// measurement.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until `state` is some, and fails the test with `what` when patience ends.
///
/// # Panics
/// When the state is not reached within [`PATIENCE`].
pub async fn until<T, F>(what: impl Display, state: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(PATIENCE, what, state).await
}

/// The same with a patience of its own.
///
/// # Panics
/// When the state is not reached within it.
pub async fn within<T, F>(patience: Duration, what: impl Display, mut state: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(reached) = state().await {
            return reached;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
