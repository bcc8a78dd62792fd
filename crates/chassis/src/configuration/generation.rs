//! Which generation a process runs (invariant 1). Pure: the state and an event in, a decision and
//! the next state out.
//!
//! Two generations are kept. A new one is unconfirmed until it has served for a while. Every
//! process start with an unconfirmed generation is counted before it is applied; the second such
//! start boots the one before and reports the newer as rejected. A clean stop proves that the
//! generation did not crash, so its starts are forgotten. When there is none before, the
//! unconfirmed one is booted again: trying is better than serving nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A configuration on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Id of the revision.
    pub revision: String,
    /// SHA-256 (hex) of the document.
    pub hash: String,
    /// Path in the bundle to SHA-256 (hex).
    pub files: BTreeMap<String, String>,
    /// It has served long enough to be believed.
    pub confirmed: bool,
    /// Process starts with it while it was unconfirmed.
    pub starts: u32,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// In force, or to be tried first.
    pub current: Option<Generation>,
    /// What to go back to.
    pub previous: Option<Generation>,
    /// What this process will not take again, newest last.
    pub rejected: Vec<Rejection>,
    /// What is being applied: still here at a start, it took the process along.
    pub trying: Option<Trying>,
    /// Version of the program that rejected them: another version may do better.
    pub version: String,
}

/// A configuration that this process will not take again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// SHA-256 (hex) of the document.
    pub hash: String,
    /// Why, for people.
    pub reason: String,
}

/// A configuration between its arrival and its being in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trying {
    /// SHA-256 (hex) of the document.
    pub hash: String,
    /// How often it was begun without coming to an end.
    pub attempts: u32,
}

/// What to do with an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Complete its files and apply it.
    Take,
    /// It is in force already: acknowledge it.
    InForce,
    /// It crashed this process: refuse it for that reason.
    Refuse(String),
}

/// More rejections than this are not remembered; the oldest go first.
const REJECTIONS: usize = 16;

impl Generations {
    /// At the start of the process, before anything is applied: settles which generation is current
    /// and counts the start. The result has to be on disk before the current one is applied.
    #[must_use]
    pub fn booted(mut self, version: &str) -> Self {
        if self.version != version {
            self.rejected.clear();
            self.version = version.to_owned();
        }
        if let Some(trying) = self.trying.take_if(|trying| trying.attempts >= 2) {
            self.reject(trying.hash, "the process did not survive being given it, twice");
        }
        let crashed =
            self.current.as_ref().is_some_and(|current| !current.confirmed && current.starts >= 1);
        if crashed && self.previous.is_some() {
            self = self.fallen_back(
                "the process did not survive it: it was started with it and \
                did not serve long enough",
            );
        }
        if let Some(current) = &mut self.current
            && !current.confirmed
        {
            current.starts += 1;
        }
        self
    }

    /// The current one cannot be run: the one before takes its place, and it is not taken again.
    #[must_use]
    pub fn fallen_back(mut self, reason: &str) -> Self {
        if let Some(bad) = self.current.take() {
            self.reject(bad.hash, reason);
        }
        self.current = self.previous.take();
        self
    }

    /// An operator wants what was rejected to be tried again. A crash counts anew from here: two
    /// more, and it is rejected again.
    #[must_use]
    pub fn forgiven(mut self) -> Self {
        self.rejected.clear();
        self.trying = None;
        self
    }

    fn reject(&mut self, hash: String, reason: &str) {
        self.rejected.retain(|rejection| rejection.hash != hash);
        self.rejected.push(Rejection { hash, reason: reason.to_owned() });
        let surplus = self.rejected.len().saturating_sub(REJECTIONS);
        self.rejected.drain(..surplus);
    }

    /// An assignment is about to be applied. The result has to be on disk before it is.
    #[must_use]
    pub fn begun(mut self, hash: &str) -> Self {
        let attempts = self
            .trying
            .take()
            .filter(|trying| trying.hash == hash)
            .map_or(0, |trying| trying.attempts);
        self.trying = Some(Trying { hash: hash.to_owned(), attempts: attempts + 1 });
        self
    }

    /// The assignment was refused, with reasons, and the process lives.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.trying = None;
        self
    }

    /// The current one is not whole on disk: the one before takes its place. Nothing is rejected;
    /// it may be assigned again.
    #[must_use]
    pub fn lost(mut self) -> Self {
        self.current = self.previous.take();
        self
    }

    /// What to do with an assignment of `hash`; `in_force` is what the process runs now.
    #[must_use]
    pub fn assigned(&self, hash: &str, in_force: Option<&str>) -> Assigned {
        if let Some(rejection) = self.rejected.iter().find(|rejection| rejection.hash == hash) {
            Assigned::Refuse(rejection.reason.clone())
        } else if in_force == Some(hash) {
            Assigned::InForce
        } else {
            Assigned::Take
        }
    }

    /// A new one was applied. What it goes back to is the newest confirmed one, or else the one it
    /// replaced.
    #[must_use]
    pub fn applied(mut self, generation: Generation) -> Self {
        let replaced = self.current.take().filter(|current| current.hash != generation.hash);
        let keep = |previous: &Generation| previous.confirmed && previous.hash != generation.hash;
        self.previous = match (replaced, self.previous.take()) {
            (Some(replaced), previous) if replaced.confirmed => {
                drop(previous);
                Some(replaced)
            }
            (_, Some(previous)) if keep(&previous) => Some(previous),
            (replaced, previous) => {
                replaced.or(previous).filter(|previous| previous.hash != generation.hash)
            }
        };
        self.trying = None;
        self.current = Some(Generation { starts: 0, ..generation });
        self
    }

    /// The one in force has served long enough.
    #[must_use]
    pub fn confirmed(mut self, hash: &str) -> Self {
        if let Some(current) = self.current.as_mut().filter(|current| current.hash == hash) {
            current.confirmed = true;
            current.starts = 0;
        }
        self
    }

    /// The revision in force got another id without a change of content.
    #[must_use]
    pub fn renamed(mut self, revision: &str) -> Self {
        if let Some(current) = &mut self.current {
            revision.clone_into(&mut current.revision);
        }
        self
    }

    /// The process ends because it was asked to.
    #[must_use]
    pub fn stopped_cleanly(mut self) -> Self {
        if let Some(current) = &mut self.current {
            current.starts = 0;
        }
        self
    }

    /// The files that have to stay on disk, by hash.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .flat_map(|generation| generation.files.values().map(String::as_str))
    }

    /// The documents that have to stay on disk, by hash.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .map(|generation| generation.hash.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(hash: &str, confirmed: bool) -> Generation {
        let (revision, files) = (format!("r-{hash}"), BTreeMap::new());
        Generation { revision, hash: hash.to_owned(), files, confirmed, starts: 0 }
    }

    /// Current (hash, confirmed, starts), previous, rejected.
    type Shape<'a> = (Option<(&'a str, bool, u32)>, Option<&'a str>, Vec<&'a str>);

    fn shape(state: &Generations) -> Shape<'_> {
        let current = state.current.as_ref().map(|g| (g.hash.as_str(), g.confirmed, g.starts));
        (
            current,
            state.previous.as_ref().map(|g| g.hash.as_str()),
            state.rejected.iter().map(|r| r.hash.as_str()).collect(),
        )
    }

    fn with_a_confirmed() -> Generations {
        Generations::default().booted("1").applied(generation("a", false)).confirmed("a")
    }

    #[test]
    fn a_revision_that_crashes_the_process_is_left_at_its_second_start() {
        let state = with_a_confirmed().applied(generation("b", false));
        assert_eq!(shape(&state), (Some(("b", false, 0)), Some("a"), vec![]));
        let state = state.booted("1");
        assert_eq!(
            shape(&state),
            (Some(("b", false, 1)), Some("a"), vec![]),
            "the first start tries it"
        );
        let state = state.booted("1");
        assert_eq!(shape(&state), (Some(("a", true, 0)), None, vec!["b"]), "the second does not");
        assert!(matches!(state.assigned("b", Some("a")), Assigned::Refuse(_)));
        assert_eq!(state.assigned("a", Some("a")), Assigned::InForce);
        assert_eq!(state.assigned("c", Some("a")), Assigned::Take);
        let state = state.booted("1").booted("1").booted("1");
        assert_eq!(
            shape(&state),
            (Some(("a", true, 0)), None, vec!["b"]),
            "a confirmed one boots for ever"
        );
        let state = state.booted("2");
        assert_eq!(
            state.assigned("b", Some("a")),
            Assigned::Take,
            "another version of the program may try again"
        );
    }

    #[test]
    fn confirmation_and_clean_stops_forget_starts() {
        let state = with_a_confirmed()
            .applied(generation("b", false))
            .booted("1")
            .confirmed("b")
            .booted("1")
            .booted("1");
        assert_eq!(shape(&state), (Some(("b", true, 0)), Some("a"), vec![]));
        let state = with_a_confirmed()
            .applied(generation("b", false))
            .booted("1")
            .stopped_cleanly()
            .booted("1")
            .stopped_cleanly()
            .booted("1");
        assert_eq!(shape(&state), (Some(("b", false, 1)), Some("a"), vec![]));
        let state = with_a_confirmed().applied(generation("b", false)).confirmed("a");
        assert_eq!(
            shape(&state).0,
            Some(("b", false, 0)),
            "a late confirmation of another one counts for nothing"
        );
    }

    #[test]
    fn with_nothing_to_go_back_to_it_is_tried_again() {
        let state = Generations::default()
            .booted("1")
            .applied(generation("a", false))
            .booted("1")
            .booted("1")
            .booted("1");
        assert_eq!(shape(&state), (Some(("a", false, 3)), None, vec![]));
        assert_eq!(shape(&Generations::default().booted("1")), (None, None, vec![]));
    }

    #[test]
    fn what_an_unconfirmed_one_goes_back_to_is_a_confirmed_one() {
        let state =
            with_a_confirmed().applied(generation("b", false)).applied(generation("c", false));
        assert_eq!(shape(&state), (Some(("c", false, 0)), Some("a"), vec![]));
        let state = Generations::default()
            .booted("1")
            .applied(generation("b", false))
            .applied(generation("c", false));
        assert_eq!(shape(&state), (Some(("c", false, 0)), Some("b"), vec![]));
        let state =
            with_a_confirmed().applied(generation("b", false)).applied(generation("a", false));
        assert_eq!(
            shape(&state),
            (Some(("a", false, 0)), Some("b"), vec![]),
            "back to the same content"
        );
    }

    #[test]
    fn what_cannot_be_applied_at_the_start_is_rejected_and_what_is_broken_is_not() {
        let state = with_a_confirmed().applied(generation("b", false)).booted("1");
        assert_eq!(
            shape(&state.clone().fallen_back("no")),
            (Some(("a", true, 0)), None, vec!["b"])
        );
        assert_eq!(shape(&state.lost()), (Some(("a", true, 0)), None, vec![]));
    }

    #[test]
    fn what_is_forgiven_is_tried_again_and_no_oftener_than_the_first_time() {
        let rejected = with_a_confirmed().applied(generation("b", false)).booted("1").booted("1");
        assert_eq!(shape(&rejected), (Some(("a", true, 0)), None, vec!["b"]));
        let state = rejected.forgiven();
        assert_eq!(state.assigned("b", Some("a")), Assigned::Take);
        let state = state.begun("b").applied(generation("b", false)).booted("1");
        assert_eq!(shape(&state), (Some(("b", false, 1)), Some("a"), vec![]), "one start tries it");
        let state = state.booted("1");
        assert_eq!(shape(&state), (Some(("a", true, 0)), None, vec!["b"]), "the second does not");
        let state = state.booted("1").booted("1");
        assert!(
            matches!(state.assigned("b", Some("a")), Assigned::Refuse(_)),
            "and no start forgives it"
        );
        let state = with_a_confirmed().begun("b").booted("1").begun("b").forgiven().booted("1");
        assert_eq!(
            state.assigned("b", Some("a")),
            Assigned::Take,
            "attempts to apply it count anew, too"
        );
    }

    #[test]
    fn rejections_are_bounded() {
        let mut state = with_a_confirmed();
        for n in 0..100 {
            state = state
                .applied(generation(&format!("x{n}"), false))
                .fallen_back("no")
                .applied(generation("a", true));
        }
        assert_eq!(state.rejected.len(), REJECTIONS);
        assert_eq!(state.rejected.last().unwrap().hash, "x99");
    }

    #[test]
    fn what_kills_the_process_while_it_is_applied_is_refused_after_two_attempts() {
        let state = with_a_confirmed().begun("b").booted("1");
        assert_eq!(state.assigned("b", Some("a")), Assigned::Take);
        let state = state.begun("b").booted("1");
        assert!(matches!(state.assigned("b", Some("a")), Assigned::Refuse(_)));
        let state = with_a_confirmed().begun("b").refused().begun("b").refused().booted("1");
        assert_eq!(state.assigned("b", Some("a")), Assigned::Take, "a refusal is no crash");
        let state =
            with_a_confirmed().begun("b").applied(generation("b", false)).begun("b").booted("1");
        assert_eq!(state.trying.unwrap().attempts, 1);
    }
}
