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

    /// A process that was to take over has not: this one's start with it counts as it did.
    #[must_use]
    pub fn goes_on(mut self) -> Self {
        if let Some(current) = &mut self.current
            && !current.confirmed
        {
            current.starts = 1;
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
mod tests;
