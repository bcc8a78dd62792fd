//! Servers that do worse than the others of their backend, as the book has them.

use std::{mem, sync::atomic::Ordering::Relaxed, time::Instant};

use super::{Book, Page};
use crate::{
    evidence::Change,
    server::Server,
    standing::{
        Judgement,
        outlier::{Member, Outlier, Sample},
    },
    stats::ServerTotals,
};

/// A server that has gone out of turn, or come back, because it was compared with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    pub change: Change,
    pub server: String,
    /// Why, in words.
    pub reason: String,
}

impl Book {
    /// Who has gone out of turn, or come back, since this was asked last.
    pub fn changes(&mut self) -> Vec<Compared> {
        mem::take(&mut self.changes)
    }
}

impl Page {
    /// Compares the servers, where the bundle wants that.
    pub(super) fn compare(&mut self, judgements: &mut [Judgement], now: Instant) -> Vec<Compared> {
        let Some(rules) = &self.settings.outlier_ejection else {
            for entry in &mut self.entries {
                entry.outlier = Outlier::default();
            }
            return Vec::new();
        };
        let due = self.comparison.is_due(rules, now);
        let servers: Vec<_> = self.entries.iter().map(|entry| &entry.server).cloned().collect();
        let mut members: Vec<_> = self
            .entries
            .iter_mut()
            .zip(&mut *judgements)
            .map(|(entry, judgement)| Member {
                // Worked out where it is compared, not for every judgement in between.
                sample: if due { sample(&entry.server) } else { Sample::default() },
                outlier: &mut entry.outlier,
                judgement,
            })
            .collect();
        let threshold = self.settings.panic_threshold;
        let changes = self.comparison.look(&mut members, rules, threshold, now);
        let told = changes.into_iter().map(|(index, change)| {
            let (server, judgement) = (&servers[index], &judgements[index]);
            if change == Change::Ejected {
                server.tally.checks.ejections.fetch_add(1, Relaxed);
                server.tally.checks.outliers.fetch_add(1, Relaxed);
            }
            let reason = judgement.reasons.first().map(|it| it.text().into_owned());
            let (server, reason) = (server.name.clone(), reason.unwrap_or_default());
            Compared { change, server, reason }
        });
        told.collect()
    }
}

fn sample(server: &Server) -> Sample {
    let totals = ServerTotals::of(&server.tally.counts);
    Sample {
        requests: totals.requests,
        failures: totals.failures,
        answers: totals.answers,
        micros: totals.own_microseconds,
    }
}
