//! Who may get a request: one pure function over everything that is known about a server, and one
//! over a whole backend.
//!
//! The order of authority: what operators asked for, over this balancer's own evidence, over the
//! registry's verdict, over the lease. Own evidence that is bad takes a server out of turn whatever
//! the registry says. Own evidence that is good keeps it in use whatever the registry says: a
//! verdict against it may then only put it behind the others, and a lapsed lease says nothing about
//! it at all.

pub mod agent;
pub mod locality;
pub mod outlier;
pub mod shedding;
pub mod slow_start;

use std::{borrow::Cow, fmt};

use cluster::{AdminState, State};

use crate::evidence::{Fault, Opinion};
use agent::Agent;

/// The best a server may be used for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Takes its share.
    Usable,
    /// Picked when no usable server is left.
    Last,
    /// Named as backup: picked when neither a usable nor a doubtful server is left.
    Backup,
    /// Named as the last resort: picked when no backup is left either.
    LastResort,
    /// Tried only when nothing else is left.
    Unwell,
    /// Somebody asked that it gets nothing.
    Excluded,
}

impl Standing {
    /// Whether it is kept for when the others are not usable.
    #[must_use]
    pub const fn is_reserve(self) -> bool {
        matches!(self, Self::Backup | Self::LastResort)
    }

    /// The standings that may get a request, in the order in which they are exhausted.
    pub const TIERS: [Self; 5] =
        [Self::Usable, Self::Last, Self::Backup, Self::LastResort, Self::Unwell];

    /// What is used together where servers have bounds: one that is picked last takes what finds
    /// the usable ones full, and backups and unwell ones take nothing as long as somebody better
    /// is there, full or not.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Usable | Self::Last => 0,
            Self::Backup => 1,
            Self::LastResort => 2,
            Self::Unwell => 3,
            Self::Excluded => 4,
        }
    }

    /// The word shown to people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Last => "last",
            Self::Backup => "backup",
            Self::LastResort => "last_resort",
            Self::Unwell => "unwell",
            Self::Excluded => "excluded",
        }
    }
}

/// What the registry says of a discovered server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The derived state.
    pub state: State,
    /// The registry's own words for it.
    pub reasons: Vec<String>,
}

/// Everything that decides on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// What operators want of it.
    pub admin: AdminState,
    /// Its share; 0 takes nothing new.
    pub weight: u32,
    /// Named as backup in the bundle.
    pub backup: bool,
    /// Named as the last resort in the bundle.
    pub last_resort: bool,
    /// This balancer's own evidence.
    pub own: Opinion,
    /// What an agent beside it says, if there is one.
    pub agent: Agent,
    /// Absent for a server that is named in the bundle.
    pub verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Somebody asked for it: admin state, weight 0, a node that is stopping.
    Asked,
    /// This balancer's own evidence against it.
    OwnEvidence,
    /// An involuntary loss by the registry's word: a critical verdict or a lapsed lease.
    Loss,
    /// A doubt: one checker alone, or not ready yet.
    Doubt,
    /// Nothing against it.
    Fine,
}

/// A server's standing with the reasons, most important first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it may be used for.
    pub standing: Standing,
    pub cause: Cause,
    pub reasons: Vec<Reason>,
}

impl Judgement {
    /// Whether it gets requests while it is not the only one.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.standing < Standing::Unwell
    }
}

/// What counts for a standing, or against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too few are well for the registry's word against it to be believed.
    Panic {
        /// How many are well.
        well: usize,
        /// Of how many.
        members: usize,
    },
    /// The bundle names it as backup.
    Backup,
    /// The bundle names it as the last resort.
    LastResort,
    /// Operators took it out.
    Maintenance,
    /// Operators drain it.
    Drain,
    /// It is stopping itself.
    Stopping,
    /// Its weight is 0.
    Weightless,
    /// It has come back, and gets so many percent of its weight for now.
    SlowStart(u8),
    /// It is so full, and gets so many percent of its weight.
    Full { load: u8, percent: u8 },
    /// Its agent gives it so many percent of its weight.
    AgentShare(u8),
    /// Its agent has taken it out, in this word.
    Agent(&'static str),
    /// This balancer saw it fail.
    Failed(Fault),
    /// This balancer saw it answer.
    Answers,
    /// This balancer has seen nothing of it lately.
    Unseen,
    /// The state that the registry derived.
    Registry(State),
    /// The registry's own words for that.
    Told(String),
}

/// Who says a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Balancer,
    Registry,
}

impl Reason {
    /// Who says it.
    #[must_use]
    pub const fn source(&self) -> Source {
        match self {
            Self::Registry(_) | Self::Told(_) => Source::Registry,
            _ => Source::Balancer,
        }
    }

    /// In words for people, without who says it.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Panic { well, members } => format!(
                "panic: only {well} of {members} are well, so the registry's word against \
                    it is not acted on"
            )
            .into(),
            Self::Backup => "named as backup".into(),
            Self::LastResort => "named as the last resort".into(),
            Self::Maintenance => "operators took it out (maintenance)".into(),
            Self::Drain => "operators drain it".into(),
            Self::Stopping => "it is stopping (draining)".into(),
            Self::Weightless => "its weight is 0".into(),
            Self::Full { load, percent } => {
                format!("it says that it is {load} % full: {percent} % of its weight").into()
            }
            Self::AgentShare(percent) => {
                format!("its agent gives it {percent} % of its weight").into()
            }
            Self::Agent(word) => format!("its agent says {word}").into(),
            Self::SlowStart(percent) => {
                format!("slow start: {percent} % of its weight for now").into()
            }
            Self::Failed(fault) => format!("own evidence: {fault}").into(),
            Self::Answers => "own evidence: it answers".into(),
            Self::Unseen => "own evidence: none yet".into(),
            Self::Registry(state) => state_word(*state).into(),
            Self::Told(words) => words.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            Source::Balancer => formatter.write_str(&self.text()),
            Source::Registry => write!(formatter, "registry: {}", self.text()),
        }
    }
}

/// Judges one server.
#[must_use]
pub fn judge(inputs: &Inputs) -> Judgement {
    if let Some(reason) = asked(inputs) {
        return Judgement {
            standing: Standing::Excluded,
            cause: Cause::Asked,
            reasons: with_registry(vec![reason], inputs),
        };
    }
    if let Opinion::Bad(fault) = &inputs.own {
        let reasons = with_registry(vec![Reason::Failed(fault.clone())], inputs);
        return Judgement { standing: Standing::Unwell, cause: Cause::OwnEvidence, reasons };
    }
    if let Some(words) = &inputs.agent.down {
        let reasons = with_registry(vec![Reason::Failed(Fault::Agent(words.clone()))], inputs);
        return Judgement { standing: Standing::Unwell, cause: Cause::OwnEvidence, reasons };
    }
    let answers = inputs.own == Opinion::Good;
    let own = if answers { Reason::Answers } else { Reason::Unseen };
    let (standing, cause) = match inputs.verdict.as_ref().map(|verdict| verdict.state) {
        Some(State::Critical) => {
            (if answers { Standing::Last } else { Standing::Unwell }, Cause::Loss)
        }
        Some(State::Lost) => (
            if answers { Standing::Usable } else { Standing::Unwell },
            if answers { Cause::Fine } else { Cause::Loss },
        ),
        Some(State::Starting) => (
            if answers { Standing::Usable } else { Standing::Unwell },
            if answers { Cause::Fine } else { Cause::Doubt },
        ),
        Some(State::Suspect) => (Standing::Last, Cause::Doubt),
        _ => (Standing::Usable, Cause::Fine),
    };
    let reasons = if cause == Cause::Fine {
        with_registry(vec![own], inputs)
    } else {
        verdict_first(own, inputs)
    };
    let reserve = match (inputs.last_resort, inputs.backup) {
        (true, _) => Some((Standing::LastResort, Reason::LastResort)),
        (false, true) => Some((Standing::Backup, Reason::Backup)),
        (false, false) => None,
    };
    match reserve.filter(|(reserve, _)| standing < *reserve) {
        Some((standing, reason)) => {
            let reasons = [reason].into_iter().chain(reasons).collect();
            Judgement { standing, cause, reasons }
        }
        None => Judgement { standing, cause, reasons },
    }
}

/// Why it gets nothing because somebody asked for that, if so.
fn asked(inputs: &Inputs) -> Option<Reason> {
    match inputs.admin {
        AdminState::Maintenance => return Some(Reason::Maintenance),
        AdminState::Drain => return Some(Reason::Drain),
        AdminState::Ready => {}
    }
    match inputs.verdict.as_ref().map(|verdict| verdict.state) {
        Some(State::Draining) => return Some(Reason::Stopping),
        Some(State::Maintenance) => return Some(Reason::Maintenance),
        _ => {}
    }
    match inputs.agent.admin {
        AdminState::Maintenance => return Some(Reason::Agent("maint")),
        AdminState::Drain => return Some(Reason::Agent("drain")),
        AdminState::Ready if inputs.agent.percent == 0 => return Some(Reason::Agent("0%")),
        AdminState::Ready => {}
    }
    (inputs.weight == 0).then_some(Reason::Weightless)
}

fn with_registry(mut reasons: Vec<Reason>, inputs: &Inputs) -> Vec<Reason> {
    reasons.extend(of_registry(inputs));
    reasons
}

fn verdict_first(own: Reason, inputs: &Inputs) -> Vec<Reason> {
    of_registry(inputs).chain([own]).collect()
}

fn of_registry(inputs: &Inputs) -> impl Iterator<Item = Reason> {
    let verdict = inputs.verdict.as_ref();
    let head = verdict.map(|verdict| Reason::Registry(verdict.state));
    head.into_iter().chain(
        verdict.into_iter().flat_map(|verdict| verdict.reasons.iter().cloned().map(Reason::Told)),
    )
}

const fn state_word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Usable => "usable",
        State::Suspect => "suspect",
        State::Critical => "critical",
        State::Lost => "lost (its lease lapsed)",
        State::Draining => "draining",
        State::Maintenance => "maintenance",
    }
}

/// Looks at a whole backend: losses by the registry's word that would leave less than `threshold`
/// percent of the members standing are not believed (invariant 4). Returns whether that is so
/// ("panic"). Servers that this balancer itself saw failing stay where they are, because a request
/// sent to them is an attempt wasted; they are the last resort anyway.
pub fn settle(judgements: &mut [Judgement], threshold: u32) -> bool {
    let members = judgements
        .iter()
        .filter(|it| it.cause != Cause::Asked && !it.standing.is_reserve())
        .count();
    let well = judgements
        .iter()
        .filter(|it| {
            !it.standing.is_reserve()
                && !matches!(it.cause, Cause::Asked | Cause::OwnEvidence | Cause::Loss)
        })
        .count();
    if members == 0 || well as u64 * 100 >= members as u64 * u64::from(threshold) {
        return false;
    }
    for judgement in
        judgements.iter_mut().filter(|it| it.cause == Cause::Loss && !it.standing.is_reserve())
    {
        judgement.standing = Standing::Usable;
        judgement.reasons.insert(0, Reason::Panic { well, members });
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(admin: AdminState, own: Opinion, state: Option<State>) -> Inputs {
        Inputs {
            admin,
            weight: 1,
            backup: false,
            last_resort: false,
            own,
            agent: Agent::default(),
            verdict: state.map(|state| Verdict { state, reasons: vec![] }),
        }
    }

    fn bad() -> Opinion {
        Opinion::Bad(Fault::Refused)
    }

    #[test]
    fn every_row() {
        use Opinion::{Good, Unknown};
        use Standing::{Excluded, Last, Unwell, Usable};
        let ready = |own, state| inputs(AdminState::Ready, own, state);
        for (inputs, standing) in [
            // registry's state:           good            none yet          bad
            (ready(Good, None), Usable),
            (ready(Unknown, None), Usable),
            (ready(bad(), None), Unwell),
            (ready(Good, Some(State::Usable)), Usable),
            (ready(Unknown, Some(State::Usable)), Usable),
            (ready(bad(), Some(State::Usable)), Unwell),
            (ready(Good, Some(State::Starting)), Usable),
            (ready(Unknown, Some(State::Starting)), Unwell),
            (ready(bad(), Some(State::Starting)), Unwell),
            (ready(Good, Some(State::Suspect)), Last),
            (ready(Unknown, Some(State::Suspect)), Last),
            (ready(bad(), Some(State::Suspect)), Unwell),
            (ready(Good, Some(State::Critical)), Last),
            (ready(Unknown, Some(State::Critical)), Unwell),
            (ready(bad(), Some(State::Critical)), Unwell),
            (ready(Good, Some(State::Lost)), Usable),
            (ready(Unknown, Some(State::Lost)), Unwell),
            (ready(bad(), Some(State::Lost)), Unwell),
            (ready(Good, Some(State::Draining)), Excluded),
            (ready(Unknown, Some(State::Draining)), Excluded),
            (ready(bad(), Some(State::Draining)), Excluded),
            (ready(Good, Some(State::Maintenance)), Excluded),
        ] {
            assert_eq!(judge(&inputs).standing, standing, "{inputs:?}");
        }
    }

    #[test]
    fn reasons_in_words_and_in_order() {
        let verdict = Verdict { state: State::Lost, reasons: vec!["no heartbeat".to_owned()] };
        let words = |inputs: &Inputs| {
            judge(inputs).reasons.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let lost =
            Inputs { verdict: Some(verdict), ..inputs(AdminState::Ready, Opinion::Unknown, None) };
        let registry = ["registry: lost (its lease lapsed)", "registry: no heartbeat"];
        assert_eq!(words(&lost), [registry[0], registry[1], "own evidence: none yet"]);
        assert_eq!(
            words(&Inputs { own: bad(), ..lost.clone() }),
            ["own evidence: connection refused", registry[0], registry[1]]
        );
        assert_eq!(
            words(&Inputs { own: Opinion::Good, ..lost.clone() }),
            ["own evidence: it answers", registry[0], registry[1]]
        );
        assert_eq!(
            words(&Inputs { admin: AdminState::Drain, ..lost }),
            ["operators drain it", registry[0], registry[1]]
        );
        let backup = Inputs { backup: true, ..inputs(AdminState::Ready, Opinion::Good, None) };
        assert_eq!(words(&backup), ["named as backup", "own evidence: it answers"]);
        assert_eq!(words(&Inputs { weight: 0, ..backup }), ["its weight is 0"]);
    }

    #[test]
    fn what_operators_asked_for_is_over_everything() {
        for admin in [AdminState::Drain, AdminState::Maintenance] {
            for own in [Opinion::Good, Opinion::Unknown, bad()] {
                for state in [None, Some(State::Usable), Some(State::Lost), Some(State::Critical)] {
                    assert_eq!(
                        judge(&inputs(admin, own.clone(), state)).standing,
                        Standing::Excluded
                    );
                }
            }
        }
        let weightless =
            Inputs { weight: 0, ..inputs(AdminState::Ready, Opinion::Good, Some(State::Usable)) };
        assert_eq!(judge(&weightless).standing, Standing::Excluded);
    }

    #[test]
    fn a_backup_waits_behind_doubtful_servers() {
        let backup = |own| Inputs { backup: true, ..inputs(AdminState::Ready, own, None) };
        assert_eq!(judge(&backup(Opinion::Good)).standing, Standing::Backup);
        assert_eq!(judge(&backup(bad())).standing, Standing::Unwell);
        assert!(Standing::Last < Standing::Backup);
        let last = |own| Inputs { last_resort: true, ..inputs(AdminState::Ready, own, None) };
        assert_eq!(judge(&last(Opinion::Unknown)).standing, Standing::LastResort);
        assert_eq!(judge(&last(bad())).standing, Standing::Unwell);
        assert!(Standing::TIERS.is_sorted() && Standing::TIERS.map(Standing::rank).is_sorted());
    }

    #[test]
    fn every_judgement_has_a_reason() {
        for own in [Opinion::Good, Opinion::Unknown, bad()] {
            for state in [
                None,
                Some(State::Usable),
                Some(State::Lost),
                Some(State::Critical),
                Some(State::Draining),
            ] {
                assert!(!judge(&inputs(AdminState::Ready, own.clone(), state)).reasons.is_empty());
            }
        }
    }

    fn pool(rows: &[(Opinion, Option<State>)]) -> Vec<Judgement> {
        rows.iter()
            .map(|(own, state)| judge(&inputs(AdminState::Ready, own.clone(), *state)))
            .collect()
    }

    #[test]
    fn implausible_losses_are_not_acted_on() {
        let lost = (Opinion::Unknown, Some(State::Lost));
        let well = (Opinion::Good, Some(State::Usable));
        let mut one_of_three = pool(&[well.clone(), lost.clone(), well.clone()]);
        assert!(!settle(&mut one_of_three, 50));
        assert_eq!(one_of_three[1].standing, Standing::Unwell);
        let mut two_of_three = pool(&[well, lost.clone(), lost.clone()]);
        assert!(settle(&mut two_of_three, 50));
        assert!(two_of_three.iter().all(|it| it.standing == Standing::Usable));
        let mut all = pool(&[lost.clone(), lost]);
        assert!(settle(&mut all, 50));
        assert!(all.iter().all(|it| it.standing == Standing::Usable));
    }

    #[test]
    fn panic_does_not_send_requests_to_servers_seen_failing() {
        let mut three = pool(&[(Opinion::Good, None), (bad(), None), (bad(), None)]);
        assert!(settle(&mut three, 50));
        assert_eq!(
            three.iter().map(|it| it.standing).collect::<Vec<_>>(),
            [Standing::Usable, Standing::Unwell, Standing::Unwell]
        );
    }

    #[test]
    fn drained_members_do_not_make_a_panic() {
        let mut three = vec![
            judge(&inputs(AdminState::Ready, Opinion::Good, Some(State::Usable))),
            judge(&inputs(AdminState::Drain, Opinion::Good, Some(State::Usable))),
            judge(&inputs(AdminState::Drain, Opinion::Good, Some(State::Usable))),
        ];
        assert!(!settle(&mut three, 50));
        assert_eq!(three[1].standing, Standing::Excluded);
        assert!(!settle(&mut [], 50));
    }
}
