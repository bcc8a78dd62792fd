//! Opinions of checkers. No single checker kills a node.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::instance::InstanceId;

/// What a checker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does its job.
    Passing,
    /// It does not.
    Critical,
}

/// What one checker thinks of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinion {
    /// Name of the checker's instance.
    pub checker: String,
    /// Name of the check in the bundle.
    pub check: String,
    /// Whom it is about.
    pub target_id: InstanceId,
    /// The same by name, for people.
    pub target_name: String,
    /// What it found.
    pub verdict: Verdict,
    /// When it found it.
    pub observed_at: Timestamp,
    /// How long after `observed_at` it counts.
    pub ttl: Duration,
    /// In words for people.
    pub detail: String,
    /// How many checkers are assigned to this target, as the reporting checker knows it.
    pub assigned: u32,
}

impl Opinion {
    /// The first moment at which it no longer counts.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        let ttl = SignedDuration::try_from(self.ttl).unwrap_or(SignedDuration::MAX);
        self.observed_at.saturating_add(ttl).unwrap_or(Timestamp::MAX)
    }

    /// Whether it still counts.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.expires_at()
    }
}

/// What the opinions about one instance come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nobody finds it unwell; also when nobody knows anything.
    Well,
    /// Somebody finds it unwell, but too few to act on it.
    Suspect,
    /// The majority of its checkers finds it unwell.
    Critical,
}

/// [`Health`] and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What the opinions come to.
    pub health: Health,
    /// Checkers that find the instance unwell, each counted once.
    pub against: u32,
    /// How many of them `critical` needs.
    pub needed: u32,
    /// In words for people, the count first; empty when nobody finds it unwell.
    pub reasons: Vec<String>,
}

/// How many checkers must agree before an instance is critical: the majority of those assigned, and
/// never fewer than two.
#[must_use]
pub fn needed(assigned: u32) -> u32 {
    (assigned / 2 + 1).max(2)
}

/// Folds what checkers say about one instance. Only fresh opinions count, a checker counts once
/// however many of its checks fail, and the number of checkers is the largest that any of them
/// knows of: a checker with an outdated, smaller view cannot make a verdict easier.
pub fn fold<'a>(opinions: impl IntoIterator<Item = &'a Opinion>, now: Timestamp) -> Finding {
    let mut checkers = BTreeSet::new();
    let mut against: BTreeMap<&str, &Opinion> = BTreeMap::new();
    let mut assigned = 0;
    for opinion in opinions.into_iter().filter(|opinion| opinion.is_fresh(now)) {
        checkers.insert(opinion.checker.as_str());
        assigned = assigned.max(opinion.assigned);
        if opinion.verdict == Verdict::Critical {
            against
                .entry(&opinion.checker)
                .and_modify(|known| *known = newer(known, opinion))
                .or_insert(opinion);
        }
    }
    let assigned = assigned.max(count(checkers.len()));
    let (needed, against_count) = (needed(assigned), count(against.len()));
    let health = match against_count {
        0 => Health::Well,
        some if some < needed => Health::Suspect,
        _ => Health::Critical,
    };
    Finding { health, against: against_count, needed, reasons: reasons(&against, needed, assigned) }
}

fn newer<'a>(one: &'a Opinion, other: &'a Opinion) -> &'a Opinion {
    if (other.observed_at, &other.check) > (one.observed_at, &one.check) { other } else { one }
}

fn reasons(against: &BTreeMap<&str, &Opinion>, needed: u32, assigned: u32) -> Vec<String> {
    if against.is_empty() {
        return Vec::new();
    }
    let found = if against.len() == 1 { "checker finds" } else { "checkers find" };
    let total = format!(
        "{} {found} it unwell (of {assigned} assigned; {needed} make it critical)",
        against.len()
    );
    // What several checkers say alike is said once.
    let mut alike: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (checker, opinion) in against {
        alike.entry((&opinion.check, &opinion.detail)).or_default().push(checker);
    }
    let each = alike
        .into_iter()
        .map(|((check, detail), checkers)| format!("{check} by {}: {detail}", checkers.join(", ")));
    std::iter::once(total).chain(each).collect()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn opinion(checker: &str, check: &str, verdict: Verdict, assigned: u32) -> Opinion {
        Opinion {
            checker: checker.to_owned(),
            check: check.to_owned(),
            target_id: InstanceId(uuid::Uuid::nil()),
            target_name: "node-1".to_owned(),
            verdict,
            observed_at: NOW,
            ttl: Duration::from_secs(10),
            detail: "refused".to_owned(),
            assigned,
        }
    }

    #[test]
    fn no_single_checker_kills_a_node() {
        use Health::{Critical, Suspect, Well};
        // (checkers against, checkers for, assigned, what follows)
        for (against, passing, assigned, expected) in [
            (0, 0, 0, Well),
            (0, 3, 3, Well),
            (1, 0, 0, Suspect),
            (1, 0, 1, Suspect),
            (1, 2, 3, Suspect),
            (2, 0, 0, Critical),
            (2, 0, 1, Critical),
            (2, 1, 3, Critical),
            (2, 0, 4, Suspect),
            (2, 3, 5, Suspect),
            (3, 2, 5, Critical),
            (2, 3, 3, Suspect), // five checkers spoke, whatever they believe to be assigned
        ] {
            let against =
                (0..against).map(|n| opinion(&format!("a{n}"), "tcp", Verdict::Critical, assigned));
            let passing =
                (0..passing).map(|n| opinion(&format!("p{n}"), "tcp", Verdict::Passing, assigned));
            let opinions: Vec<_> = against.chain(passing).collect();
            assert_eq!(fold(&opinions, NOW).health, expected, "{opinions:?}");
        }
    }

    #[test]
    fn a_checker_counts_once() {
        let opinions =
            [opinion("a", "tcp", Verdict::Critical, 3), opinion("a", "http", Verdict::Critical, 3)];
        let finding = fold(&opinions, NOW);
        assert_eq!((finding.health, finding.against, finding.needed), (Health::Suspect, 1, 2));
        let mixed = [
            opinion("a", "tcp", Verdict::Critical, 3),
            opinion("b", "http", Verdict::Critical, 3),
            opinion("b", "tcp", Verdict::Passing, 3),
        ];
        assert_eq!(fold(&mixed, NOW).health, Health::Critical);
    }

    #[test]
    fn what_checkers_say_alike_is_said_once() {
        let different = Opinion {
            detail: "no answer within 1s".to_owned(),
            ..opinion("c", "tcp", Verdict::Critical, 3)
        };
        let opinions = [
            opinion("a", "tcp", Verdict::Critical, 3),
            opinion("b", "tcp", Verdict::Critical, 3),
            different,
        ];
        let reasons = fold(&opinions, NOW).reasons;
        assert_eq!(
            reasons[1..],
            ["tcp by c: no answer within 1s", "tcp by a, b: refused"],
            "{reasons:?}"
        );
        assert!(reasons[0].starts_with("3 checkers find it unwell"), "{reasons:?}");
    }

    #[test]
    fn old_opinions_do_not_count() {
        let opinions =
            [opinion("a", "tcp", Verdict::Critical, 3), opinion("b", "tcp", Verdict::Critical, 3)];
        let at = |seconds| Timestamp::from_second(seconds).expect("in range");
        assert_eq!(fold(&opinions, at(9)).health, Health::Critical);
        assert_eq!(
            fold(&opinions, at(10)),
            Finding { health: Health::Well, against: 0, needed: 2, reasons: vec![] }
        );
    }

    #[test]
    fn the_smallest_view_of_the_assignment_does_not_decide() {
        let opinions =
            [opinion("a", "tcp", Verdict::Critical, 1), opinion("b", "tcp", Verdict::Critical, 5)];
        assert_eq!(fold(&opinions, NOW).health, Health::Suspect);
    }
}
