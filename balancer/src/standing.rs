//! Who may get a request: one pure function over everything that is known about a server, and one over a whole backend.
//!
//! The order of authority: what operators asked for, over this balancer's own evidence, over the registry's verdict, over the lease.
//! Own evidence that is bad takes a server out of turn whatever the registry says. Own evidence that is good keeps it in use whatever the
//! registry says: a verdict against it may then only put it behind the others, and a lapsed lease says nothing about it at all.

use cluster::{AdminState, State};

/// The best a server may be used for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Takes its share.
    Usable,
    /// Picked when no usable server is left.
    Last,
    /// Named as backup: picked when neither a usable nor a doubtful server is left.
    Backup,
    /// Tried only when nothing else is left.
    Unwell,
    /// Somebody asked that it gets nothing.
    Excluded,
}

impl Standing {
    /// The standings that may get a request, in the order in which they are exhausted.
    pub const TIERS: [Self; 4] = [Self::Usable, Self::Last, Self::Backup, Self::Unwell];

    /// The word shown to people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Last => "last",
            Self::Backup => "backup",
            Self::Unwell => "unwell",
            Self::Excluded => "excluded",
        }
    }
}

/// What this balancer itself has seen of a server lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Opinion {
    /// It failed, in these words.
    Bad(String),
    /// It answered.
    Good,
    /// Nothing within 2 × inter.
    #[default]
    Unknown,
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
    /// This balancer's own evidence.
    pub own: Opinion,
    /// Absent for a server that is named in the bundle.
    pub verdict: Option<Verdict>,
}

/// What decided.
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
    /// What decided.
    pub cause: Cause,
    /// In words for people.
    pub reasons: Vec<Reason>,
}

/// One of the reasons for a standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Who says it.
    pub source: Source,
    /// In words for people.
    pub text: String,
}

/// Who says a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This balancer.
    Balancer,
    /// The registry.
    Registry,
}

impl Reason {
    fn own(text: impl Into<String>) -> Self {
        Self { source: Source::Balancer, text: text.into() }
    }

    fn of_registry(text: impl Into<String>) -> Self {
        Self { source: Source::Registry, text: text.into() }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.source {
            Source::Balancer => formatter.write_str(&self.text),
            Source::Registry => write!(formatter, "registry: {}", self.text),
        }
    }
}

/// Judges one server.
#[must_use]
pub fn judge(inputs: &Inputs) -> Judgement {
    if let Some(reason) = asked(inputs) {
        return Judgement { standing: Standing::Excluded, cause: Cause::Asked, reasons: with_registry(vec![Reason::own(reason)], inputs) };
    }
    if let Opinion::Bad(words) = &inputs.own {
        let reasons = with_registry(vec![Reason::own(format!("own evidence: {words}"))], inputs);
        return Judgement { standing: Standing::Unwell, cause: Cause::OwnEvidence, reasons };
    }
    let answers = inputs.own == Opinion::Good;
    let own = Reason::own(if answers { "own evidence: it answers" } else { "own evidence: none yet" });
    let (standing, cause) = match inputs.verdict.as_ref().map(|verdict| verdict.state) {
        Some(State::Critical) => (if answers { Standing::Last } else { Standing::Unwell }, Cause::Loss),
        Some(State::Lost) => (if answers { Standing::Usable } else { Standing::Unwell }, if answers { Cause::Fine } else { Cause::Loss }),
        Some(State::Starting) => {
            (if answers { Standing::Usable } else { Standing::Unwell }, if answers { Cause::Fine } else { Cause::Doubt })
        }
        Some(State::Suspect) => (Standing::Last, Cause::Doubt),
        _ => (Standing::Usable, Cause::Fine),
    };
    let reasons = if cause == Cause::Fine { with_registry(vec![own], inputs) } else { verdict_first(own, inputs) };
    if inputs.backup && standing < Standing::Backup {
        let mut named = vec![Reason::own("named as backup")];
        named.extend(reasons);
        return Judgement { standing: Standing::Backup, cause, reasons: named };
    }
    Judgement { standing, cause, reasons }
}

/// Why it gets nothing because somebody asked for that, if so.
fn asked(inputs: &Inputs) -> Option<String> {
    match inputs.admin {
        AdminState::Maintenance => return Some("operators took it out (maintenance)".to_owned()),
        AdminState::Drain => return Some("operators drain it".to_owned()),
        AdminState::Ready => {}
    }
    match inputs.verdict.as_ref().map(|verdict| verdict.state) {
        Some(State::Draining) => return Some("it is stopping (draining)".to_owned()),
        Some(State::Maintenance) => return Some("operators took it out (maintenance)".to_owned()),
        _ => {}
    }
    (inputs.weight == 0).then(|| "its weight is 0".to_owned())
}

fn with_registry(mut reasons: Vec<Reason>, inputs: &Inputs) -> Vec<Reason> {
    reasons.extend(registry_words(inputs));
    reasons
}

fn verdict_first(own: Reason, inputs: &Inputs) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = registry_words(inputs).collect();
    reasons.push(own);
    reasons
}

fn registry_words(inputs: &Inputs) -> impl Iterator<Item = Reason> {
    let verdict = inputs.verdict.as_ref();
    let head = verdict.map(|verdict| Reason::of_registry(state_word(verdict.state)));
    let details = verdict.into_iter().flat_map(|verdict| verdict.reasons.iter().map(Reason::of_registry));
    head.into_iter().chain(details)
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

/// Looks at a whole backend: losses by the registry's word that would leave less than `threshold` percent of the members standing are not
/// believed (invariant 4). Returns whether that is so ("panic"). Servers that this balancer itself saw failing stay where they are, because a
/// request sent to them is an attempt wasted; they are the last resort anyway.
pub fn settle(judgements: &mut [Judgement], threshold: u32) -> bool {
    let members = judgements.iter().filter(|it| it.cause != Cause::Asked && it.standing != Standing::Backup).count();
    let well = judgements
        .iter()
        .filter(|it| it.standing != Standing::Backup && !matches!(it.cause, Cause::Asked | Cause::OwnEvidence | Cause::Loss))
        .count();
    if members == 0 || well as u64 * 100 >= members as u64 * u64::from(threshold) {
        return false;
    }
    for judgement in judgements.iter_mut().filter(|it| it.cause == Cause::Loss && it.standing != Standing::Backup) {
        judgement.standing = Standing::Usable;
        let text = format!("panic: only {well} of {members} are well, so the registry's word against it is not acted on");
        judgement.reasons.insert(0, Reason::own(text));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(admin: AdminState, own: Opinion, state: Option<State>) -> Inputs {
        Inputs { admin, weight: 1, backup: false, own, verdict: state.map(|state| Verdict { state, reasons: vec![] }) }
    }

    fn bad() -> Opinion {
        Opinion::Bad("connection refused".to_owned())
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
    fn what_operators_asked_for_is_over_everything() {
        for admin in [AdminState::Drain, AdminState::Maintenance] {
            for own in [Opinion::Good, Opinion::Unknown, bad()] {
                for state in [None, Some(State::Usable), Some(State::Lost), Some(State::Critical)] {
                    assert_eq!(judge(&inputs(admin, own.clone(), state)).standing, Standing::Excluded);
                }
            }
        }
        let weightless = Inputs { weight: 0, ..inputs(AdminState::Ready, Opinion::Good, Some(State::Usable)) };
        assert_eq!(judge(&weightless).standing, Standing::Excluded);
    }

    #[test]
    fn a_backup_waits_behind_doubtful_servers() {
        let backup = |own| Inputs { backup: true, ..inputs(AdminState::Ready, own, None) };
        assert_eq!(judge(&backup(Opinion::Good)).standing, Standing::Backup);
        assert_eq!(judge(&backup(bad())).standing, Standing::Unwell);
        assert!(Standing::Last < Standing::Backup);
    }

    #[test]
    fn every_judgement_has_a_reason() {
        for own in [Opinion::Good, Opinion::Unknown, bad()] {
            for state in [None, Some(State::Usable), Some(State::Lost), Some(State::Critical), Some(State::Draining)] {
                assert!(!judge(&inputs(AdminState::Ready, own.clone(), state)).reasons.is_empty());
            }
        }
    }

    fn pool(rows: &[(Opinion, Option<State>)]) -> Vec<Judgement> {
        rows.iter().map(|(own, state)| judge(&inputs(AdminState::Ready, own.clone(), *state))).collect()
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
        assert_eq!(three.iter().map(|it| it.standing).collect::<Vec<_>>(), [Standing::Usable, Standing::Unwell, Standing::Unwell]);
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
