//! Who does worse than the others of its backend: more of its requests fail, or it takes longer.
//! Pure: counters and `now` come in.
//!
//! Servers are compared at the end of each interval, by what came in it; whoever had few requests
//! is not judged. The worst goes first, and nobody goes whose ejection would put aside more than
//! may be, or leave fewer than the panic threshold. One that is put aside comes back when its time
//! is over, which is longer the oftener it happened; it comes back before that when others fail,
//! so that ejections never are what makes a panic.

use std::time::{Duration, Instant};

use cluster_config::document::balancer::OutlierEjection;

use super::{Cause, Judgement, Reason, Standing};
use crate::evidence::{Change, Fault};

/// What has been counted of a server, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub requests: u64,
    /// Those that failed through its own fault.
    pub failures: u64,
    /// Answers that were timed, and their time without an origin's, in microseconds.
    pub answers: u64,
    pub micros: u64,
}

impl Sample {
    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failures: self.failures.saturating_sub(before.failures),
            answers: self.answers.saturating_sub(before.answers),
            micros: self.micros.saturating_sub(before.micros),
        }
    }
}

/// What is remembered of one server.
#[derive(Clone, Debug, Default)]
pub struct Outlier {
    /// At the beginning of the interval.
    before: Option<Sample>,
    out: Option<Out>,
    /// How often it was put aside, less the intervals in which it did well.
    times: u32,
    /// It came back in this interval, which says little of it.
    is_back: bool,
}

#[derive(Clone, Debug)]
struct Out {
    fault: Fault,
    until: Instant,
}

/// A server of the backend that is looked at.
pub struct Member<'a> {
    pub outlier: &'a mut Outlier,
    pub sample: Sample,
    pub judgement: &'a mut Judgement,
}

impl Member<'_> {
    /// Whether it belongs to those that carry the load, well or not.
    fn counts(&self) -> bool {
        self.judgement.cause != Cause::Asked && !self.judgement.standing.is_reserve()
    }

    /// Whether it takes requests in turn.
    fn serves(&self) -> bool {
        self.judgement.standing <= Standing::Last
    }

    fn is_out(&self) -> bool {
        self.outlier.out.is_some()
    }
}

/// One backend's comparison.
#[derive(Clone, Copy, Debug, Default)]
pub struct Comparison {
    /// When the interval began.
    began: Option<Instant>,
}

impl Comparison {
    /// Whether an interval ends now: samples are looked at then, and only then.
    #[must_use]
    pub fn is_due(&self, rules: &OutlierEjection, now: Instant) -> bool {
        let ends = |began: Instant| now.saturating_duration_since(began) >= rules.interval;
        self.began.is_none_or(ends)
    }

    /// Looks at the servers of a backend, and takes those out of turn that are put aside. Returns
    /// who goes and who comes back, by index.
    pub fn look(
        &mut self,
        members: &mut [Member<'_>],
        rules: &OutlierEjection,
        threshold: u8,
        now: Instant,
    ) -> Vec<(usize, Change)> {
        let mut changes = Vec::new();
        for (index, member) in members.iter_mut().enumerate() {
            if member.outlier.out.as_ref().is_some_and(|out| out.until <= now) {
                (member.outlier.out, member.outlier.is_back) = (None, true);
                changes.push((index, Change::Returned));
            }
        }
        if self.is_due(rules, now) {
            self.began = Some(now);
            let gone = eject(members, rules, threshold, now);
            changes.extend(gone.into_iter().map(|index| (index, Change::Ejected)));
        }
        let back = release(members, threshold);
        changes.extend(back.into_iter().map(|index| (index, Change::Returned)));
        for member in members {
            if let Some(out) = member.outlier.out.as_ref().filter(|_| member.judgement.is_used()) {
                member.judgement.standing = Standing::Unwell;
                member.judgement.cause = Cause::OwnEvidence;
                member.judgement.reasons.insert(0, Reason::Failed(out.fault.clone()));
            }
        }
        changes
    }
}

/// At the end of an interval.
fn eject(
    members: &mut [Member<'_>],
    rules: &OutlierEjection,
    threshold: u8,
    now: Instant,
) -> Vec<usize> {
    let seen: Vec<Option<Sample>> = members
        .iter_mut()
        .map(|member| {
            let before = member.outlier.before.replace(member.sample)?;
            let seen = member.sample.since(before);
            (member.serves() && !member.is_out()).then_some(seen)
        })
        .collect();
    let mut worst: Vec<(u64, usize, Fault)> = seen
        .iter()
        .enumerate()
        .filter_map(|(index, it)| {
            let (badness, fault) = fault((*it)?, index, &seen, rules)?;
            Some((badness, index, fault))
        })
        .collect();
    worst.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut gone = Vec::new();
    for (_, index, fault) in worst {
        if !may_go(members, rules, threshold) {
            break;
        }
        let outlier = &mut members[index].outlier;
        outlier.times = outlier.times.saturating_add(1);
        let time = rules.base_ejection_time.saturating_mul(outlier.times);
        let until = now + time.min(rules.max_ejection_time);
        outlier.out = Some(Out { fault, until });
        gone.push(index);
    }
    for (index, member) in members.iter_mut().enumerate() {
        let is_back = std::mem::take(&mut member.outlier.is_back);
        if !member.is_out() && !is_back && seen[index].is_some() {
            member.outlier.times = member.outlier.times.saturating_sub(1);
        }
    }
    gone
}

/// What is wrong with a server, and how much worse than allowed it is, in per mille.
fn fault(
    seen: Sample,
    index: usize,
    all: &[Option<Sample>],
    rules: &OutlierEjection,
) -> Option<(u64, Fault)> {
    let enough = u64::from(rules.minimum_requests);
    let allowed = u64::from(rules.failure_percent);
    if allowed > 0 && seen.requests >= enough {
        let failures = seen.failures.min(seen.requests);
        if failures.saturating_mul(100) >= allowed.saturating_mul(seen.requests) {
            let badness = failures.saturating_mul(100_000) / seen.requests / allowed;
            return Some((badness, Fault::Fails { failures, requests: seen.requests }));
        }
    }
    let mean = |it: &Sample| (it.answers >= enough).then(|| it.micros / it.answers.max(1));
    let own = mean(&seen).filter(|_| rules.latency_factor > 0)?;
    let others = all.iter().enumerate().filter(|(other, _)| *other != index);
    let usual = median(others.filter_map(|(_, it)| mean(it.as_ref()?)).collect())?;
    let most = usual.saturating_mul(u64::from(rules.latency_factor)).max(micros(rules));
    (own > most).then(|| {
        let fault =
            Fault::Slow { own: Duration::from_micros(own), usual: Duration::from_micros(usual) };
        (own.saturating_mul(1000) / most.max(1), fault)
    })
}

fn micros(rules: &OutlierEjection) -> u64 {
    u64::try_from(rules.latency_floor.as_micros()).unwrap_or(u64::MAX)
}

/// Of two at least: what one other does is no measure.
fn median(mut of: Vec<u64>) -> Option<u64> {
    of.sort_unstable();
    (of.len() >= 2).then(|| of[(of.len() - 1) / 2])
}

/// Whether one more may be put aside.
fn may_go(members: &[Member<'_>], rules: &OutlierEjection, threshold: u8) -> bool {
    let all = members.iter().filter(|it| it.counts()).count();
    let out = members.iter().filter(|it| it.counts() && it.is_out()).count();
    let most = (all * usize::from(rules.max_ejection_percent) / 100).max(1);
    let left = well(members).saturating_sub(1);
    out < most && left > 0 && left * 100 >= all * usize::from(threshold)
}

/// How many serve and are not put aside.
fn well(members: &[Member<'_>]) -> usize {
    members.iter().filter(|it| it.counts() && it.serves() && !it.is_out()).count()
}

/// Others have failed since: whoever would be back first comes back now, as long as too few are
/// left.
fn release(members: &mut [Member<'_>], threshold: u8) -> Vec<usize> {
    let all = members.iter().filter(|it| it.counts()).count();
    let mut back = Vec::new();
    while well(members) * 100 < all * usize::from(threshold) || well(members) == 0 {
        let out = members.iter().enumerate().filter(|(_, it)| it.counts() && it.serves());
        let out = out.filter_map(|(index, it)| Some((it.outlier.out.as_ref()?.until, index)));
        let Some((_, index)) = out.min() else { break };
        members[index].outlier.out = None;
        back.push(index);
    }
    back
}

#[cfg(test)]
mod tests;
