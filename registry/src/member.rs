//! One member: the facts about it, and what follows from them.

use std::{collections::BTreeMap, time::Duration};

use cluster::{
    AdminState, Health, Instance, InstanceStatus, Opinion, State, Verdict,
    health::{self, Finding},
};
use jiff::Timestamp;

use crate::{
    command::{Certified, Desired, LossRecord},
    lease::{LISTED_FOR, after},
};

/// The most opinions kept about one member; more than that many checks times checkers are not
/// listened to.
pub const MAX_OPINIONS: usize = 512;

/// Whose opinion by which check.
pub type Source = (String, String);

/// Evidence that a member is gone or unwell, and what was decided about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Since when there is evidence.
    pub since: Timestamp,
    /// When its lease lapsed; `None` when the loss is a verdict alone.
    pub lapsed_at: Option<Timestamp>,
    /// When it was acted on; `None` while the guard holds it back.
    pub believed_at: Option<Timestamp>,
}

/// What follows from the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    /// What it would be without the guard.
    pub withheld: Option<State>,
    pub reasons: Vec<String>,
}

/// What the guard counts: whether it belongs to the pool, its loss, and whether that is believed.
pub type Counted = (bool, Option<(Timestamp, bool)>);

#[derive(Clone, Debug)]
pub struct Member {
    /// What it says of itself.
    pub instance: Instance,
    pub ttl: Duration,
    /// Whether it says that it may serve.
    pub ready: bool,
    /// With which certificate it registered.
    pub by: Option<Certified>,
    /// When this process registered first.
    pub registered_at: Timestamp,
    /// When the lease lapses.
    pub lease_expires_at: Timestamp,
    /// Set by Deregister: when it goes from the list.
    pub drain_until: Option<Timestamp>,
    /// The freshest by source.
    pub opinions: BTreeMap<Source, Opinion>,
    /// Evidence against it.
    pub loss: Option<Loss>,
    /// What it was before the loss that is held back: usable or suspect.
    pub settled: State,
    /// What followed when last looked at.
    pub standing: Standing,
    /// When `standing.state` last changed.
    pub changed_at: Timestamp,
    /// When it has to be looked at again although nothing happens.
    pub due: Timestamp,
    /// Something that watchers see has changed since they were told.
    pub news: bool,
    /// What the guard last counted.
    pub counted: Counted,
    /// What the store knows of the loss.
    pub stored_loss: Option<LossRecord>,
    /// What the store knows of the opinions.
    pub stored_case: Vec<(Source, Verdict)>,
    /// When the store last heard of a renewal.
    pub stored_renewal_at: Timestamp,
}

impl Member {
    /// A process that has just registered.
    #[must_use]
    pub fn new(instance: Instance, ttl: Duration, ready: bool, now: Timestamp) -> Self {
        Self {
            instance,
            ttl,
            ready,
            by: None,
            registered_at: now,
            lease_expires_at: after(now, ttl),
            drain_until: None,
            opinions: BTreeMap::new(),
            loss: None,
            settled: State::Usable,
            standing: Standing { state: State::Starting, withheld: None, reasons: Vec::new() },
            changed_at: now,
            due: now,
            news: true,
            counted: (false, None),
            stored_loss: None,
            stored_case: Vec::new(),
            stored_renewal_at: now,
        }
    }

    /// Whether another process may have the name although it is older: this one is not there any
    /// more.
    #[must_use]
    pub fn is_gone(&self, now: Timestamp) -> bool {
        self.drain_until.is_some() || self.lease_expires_at <= now
    }

    /// Whether its loss would be a loss of capacity: it is or was ready, and nobody asked it to
    /// leave.
    #[must_use]
    pub fn in_pool(&self, desired: &Desired) -> bool {
        self.ready && self.drain_until.is_none() && desired.admin_state == AdminState::Ready
    }

    /// What the guard counts.
    #[must_use]
    pub fn count(&self, desired: &Desired) -> Counted {
        (self.in_pool(desired), self.loss.map(|loss| (loss.since, loss.believed_at.is_some())))
    }

    /// Takes an opinion unless a fresher one is there. A checker whose clock is ahead cannot make
    /// its opinion last longer.
    pub fn hear(&mut self, mut opinion: Opinion, now: Timestamp) {
        opinion.observed_at = opinion.observed_at.min(now);
        opinion.ttl = opinion.ttl.min(crate::lease::MAX_OPINION_TTL);
        let source = (opinion.checker.clone(), opinion.check.clone());
        let full = self.opinions.len() >= MAX_OPINIONS;
        match self.opinions.get_mut(&source) {
            Some(known) if known.observed_at > opinion.observed_at => {}
            Some(known) => {
                self.news |= known.verdict != opinion.verdict;
                *known = opinion;
            }
            None if full => {}
            None => {
                self.news = true;
                self.opinions.insert(source, opinion);
            }
        }
    }

    /// Weighs lease and opinions, and keeps the evidence against it up to date. Evidence that
    /// changes its kind goes on.
    pub fn weigh(&mut self, now: Timestamp) -> Finding {
        let before = self.opinions.len();
        self.opinions.retain(|_, opinion| opinion.is_fresh(now));
        self.news |= self.opinions.len() != before;
        let finding = health::fold(self.opinions.values(), now);
        let lapsed_at = (self.lease_expires_at <= now).then_some(self.lease_expires_at);
        self.loss = match (self.loss, lapsed_at, finding.health) {
            (Some(loss), Some(_), _) => Some(Loss { lapsed_at, ..loss }),
            (Some(loss), None, Health::Critical) => Some(Loss { lapsed_at: None, ..loss }),
            (None, Some(since), _) => Some(Loss { since, lapsed_at, believed_at: None }),
            (None, None, Health::Critical) => {
                Some(Loss { since: now, lapsed_at: None, believed_at: None })
            }
            (_, None, Health::Well | Health::Suspect) => None,
        };
        match finding.health {
            Health::Well => self.settled = State::Usable,
            Health::Suspect => self.settled = State::Suspect,
            Health::Critical => {}
        }
        finding
    }

    /// When a lost member goes from the list, if its pool lets it.
    #[must_use]
    pub fn forgotten_at(&self) -> Option<Timestamp> {
        let loss = self.loss?;
        Some(after(loss.believed_at?.max(loss.lapsed_at?), LISTED_FOR))
    }

    /// Sets when it has to be looked at again.
    pub fn schedule(&mut self, now: Timestamp) {
        let lapse = (self.lease_expires_at > now).then_some(self.lease_expires_at);
        let opinions = self.opinions.values().map(Opinion::expires_at).min();
        self.due = [lapse, opinions, self.drain_until, self.forgotten_at()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Timestamp::MAX);
    }

    /// What follows from everything. What somebody asked for comes first, then the lease, then what
    /// it says of itself, then the verdict.
    #[must_use]
    pub fn stand(&self, desired: &Desired, finding: &Finding) -> Standing {
        let mut reasons = Vec::new();
        let asked = self.asked_for(desired, &mut reasons);
        let loss = self
            .loss
            .map(|loss| if loss.lapsed_at.is_some() { State::Lost } else { State::Critical });
        let believed = self.loss.is_some_and(|loss| loss.believed_at.is_some());
        let (state, withheld) = match (asked, loss) {
            (Some(state), _) => (state, None),
            (None, Some(loss)) if self.ready && !believed => (self.settled, Some(loss)),
            (None, Some(State::Lost)) => (State::Lost, None),
            (None, _) if !self.ready => (State::Starting, None),
            (None, Some(loss)) => (loss, None),
            (None, None) => (self.settled, None),
        };
        if let Some(withheld) = withheld {
            let evidence = if withheld == State::Lost {
                "its lease lapsed"
            } else {
                "its checkers find it unwell"
            };
            reasons.push(format!(
                "kept in use although {evidence}: so many losses at once are \
                implausible (panic threshold)"
            ));
        }
        if self.drain_until.is_some() {
            // Whatever else is against it: it has been stopped, and nobody looks at it any more.
            return Standing { state, withheld, reasons };
        }
        if let Some(at) = self.loss.and_then(|loss| loss.lapsed_at) {
            reasons.push(format!("its lease lapsed at {at:.0}"));
        }
        if !self.ready {
            reasons.push("it says that it is not ready".to_owned());
        }
        reasons.extend(finding.reasons.iter().cloned());
        Standing { state, withheld, reasons }
    }

    fn asked_for(&self, desired: &Desired, reasons: &mut Vec<String>) -> Option<State> {
        if let Some(at) = self.drain_until {
            reasons.push(format!(
                "its process was stopped (deregistered); it is listed until {at:.0} at the latest"
            ));
            return Some(State::Draining);
        }
        let (state, word) = match desired.admin_state {
            AdminState::Ready => return None,
            AdminState::Drain => (State::Draining, "drain"),
            AdminState::Maintenance => (State::Maintenance, "maintenance"),
        };
        let because =
            if desired.reason.is_empty() { String::new() } else { format!(": {}", desired.reason) };
        reasons.push(format!("operators set it to {word}{because}"));
        Some(state)
    }

    /// The case against it, as far as a restart has to find it again: who says what, when anybody
    /// is against it.
    #[must_use]
    pub fn case(&self) -> Vec<(Source, Verdict)> {
        if self.opinions.values().all(|opinion| opinion.verdict == Verdict::Passing) {
            return Vec::new();
        }
        self.opinions.iter().map(|(source, opinion)| (source.clone(), opinion.verdict)).collect()
    }

    /// What the store has to know of the loss.
    #[must_use]
    pub fn loss_record(&self) -> Option<LossRecord> {
        let Loss { since, lapsed_at, believed_at } = self.loss?;
        let (name, id, settled) = (self.instance.name.clone(), self.instance.id, self.settled);
        Some(LossRecord { name, id, since, lapsed_at, believed_at, settled })
    }

    /// As others see it.
    #[must_use]
    pub fn status(&self, desired: &Desired) -> InstanceStatus {
        InstanceStatus {
            instance: self.instance.clone(),
            admin_state: desired.admin_state,
            state: self.standing.state,
            reasons: self.standing.reasons.clone(),
            registered_at: self.registered_at,
            changed_at: self.changed_at,
            lease_expires_at: self.lease_expires_at,
            effective_weight: desired.weight.unwrap_or(self.instance.weight),
            opinions: self.opinions.values().cloned().collect(),
            withheld_state: self.standing.withheld,
        }
    }
}
