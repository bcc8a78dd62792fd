//! What every loop that keeps a connection does between two attempts: waits with jitter, and says
//! each reason once.

use std::time::Duration;

use crate::backoff::Backoff;

/// Different reasons remembered; with several candidates they alternate.
const REASONS: usize = 8;

/// The state between attempts.
#[derive(Debug)]
pub(crate) struct Retry {
    backoff: Backoff,
    said: Vec<String>,
}

impl Retry {
    pub(crate) fn new(base: Duration, limit: Duration) -> Self {
        Self { backoff: Backoff::seeded(base, limit), said: Vec::new() }
    }

    /// It works (again): the next failure is news, and is followed by a short pause. Answers
    /// whether it had not worked before.
    pub(crate) fn well(&mut self) -> bool {
        self.backoff.reset();
        let before = !self.said.is_empty();
        self.said.clear();
        before
    }

    /// It failed. Logs a reason that was not given since it last worked, and answers how long to
    /// wait.
    pub(crate) fn failed(&mut self, consequence: &str, why: &str) -> Duration {
        if self.said.iter().any(|said| said == why) {
            tracing::debug!("still, {consequence}: {why}");
        } else {
            tracing::warn!("{consequence}: {why}");
            self.said.truncate(REASONS - 1);
            self.said.push(why.to_owned());
        }
        self.backoff.pause()
    }
}
