//! The log of purges: what caches are to forget, in order and bounded. Pure; who follows it is in
//! [`followers`].
//!
//! A proxy-node is somewhere in it: everything up to its position is done. The log belongs to one
//! epoch of one cluster. Who comes from another one, or from further back than the log reaches,
//! cannot be told what it missed, and validates everything that it has stored.

pub mod followers;

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;
use proto::purge::{self as pb, purge::Scope};
use serde::{Deserialize, Serialize};

pub use followers::Purges;

/// Purges that the log keeps.
pub const MOST: usize = 4096;
/// Bytes of what a purge names.
const MOST_TEXT: usize = 2048;

/// What is purged. Whether a text makes sense is for those to say who know URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Url(String),
    Prefix(String),
    Host(String),
    Tag(String),
    Regex(String),
    #[default]
    Everything,
}

/// A purge in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Its place; 0: it has none yet.
    pub position: u64,
    pub at: Timestamp,
    pub what: What,
    /// It stays, and is validated before it is used again.
    pub soft: bool,
    /// Who asked for it.
    pub by: String,
    pub reason: String,
}

impl Logged {
    /// A purge that somebody asks for.
    ///
    /// # Errors
    /// It names nothing, or too much.
    pub fn asked(message: Option<&pb::Purge>, by: String, reason: String) -> Result<Self, String> {
        let scope = message.and_then(|purge| purge.scope.clone());
        let what = match scope.ok_or("nothing is named that could be purged")? {
            Scope::Url(text) => What::Url(text),
            Scope::Prefix(text) => What::Prefix(text),
            Scope::Host(text) => What::Host(text),
            Scope::Tag(text) => What::Tag(text),
            Scope::Regex(text) => What::Regex(text),
            Scope::Everything(true) => What::Everything,
            Scope::Everything(false) => return Err("everything is false".to_owned()),
        };
        let soft = message.is_some_and(|purge| purge.soft);
        let logged = Self { position: 0, at: Timestamp::UNIX_EPOCH, what, soft, by, reason };
        logged.check().map(|()| logged)
    }

    /// Whether it may be kept.
    ///
    /// # Errors
    /// It names nothing, or too much.
    pub fn check(&self) -> Result<(), String> {
        let text = self.what.text();
        if text.is_some_and(str::is_empty) {
            Err("nothing is named that could be purged".to_owned())
        } else if text.is_some_and(|text| text.len() > MOST_TEXT) {
            Err(format!("has more than {MOST_TEXT} bytes"))
        } else {
            Ok(())
        }
    }

    /// The name of its slot in the store: they sort as their positions do.
    #[must_use]
    pub fn slot(&self) -> String {
        format!("{:020}", self.position)
    }

    /// As a message.
    #[must_use]
    pub fn message(&self) -> pb::Purge {
        let scope = match self.what.clone() {
            What::Url(text) => Scope::Url(text),
            What::Prefix(text) => Scope::Prefix(text),
            What::Host(text) => Scope::Host(text),
            What::Tag(text) => Scope::Tag(text),
            What::Regex(text) => Scope::Regex(text),
            What::Everything => Scope::Everything(true),
        };
        pb::Purge { scope: Some(scope), soft: self.soft }
    }

    /// For the audit record.
    #[must_use]
    pub fn describe(&self) -> String {
        let soft = if self.soft { "soft, " } else { "" };
        let what = match &self.what {
            What::Url(text) => text.clone(),
            What::Prefix(text) => format!("{text}*"),
            What::Host(text) => format!("host {text}"),
            What::Tag(text) => format!("tag {text}"),
            What::Regex(text) => format!("regex {text}"),
            What::Everything => "everything".to_owned(),
        };
        let because = if self.reason.is_empty() {
            String::new()
        } else {
            format!(", because {}", self.reason)
        };
        format!("{soft}{what}{because}")
    }
}

impl What {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Url(text)
            | Self::Prefix(text)
            | Self::Host(text)
            | Self::Tag(text)
            | Self::Regex(text) => Some(text),
            Self::Everything => None,
        }
    }
}

/// The last purges, the oldest first; their positions follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log(VecDeque<Arc<Logged>>);

impl Log {
    /// Takes one in, and answers it with its place, and the one that goes for it. `None`: it is
    /// older than the newest.
    pub fn take(
        &mut self,
        mut new: Logged,
        now: Timestamp,
    ) -> Option<(Logged, Option<Arc<Logged>>)> {
        if new.position == 0 {
            (new.position, new.at) = (self.newest() + 1, now);
        }
        if new.position <= self.newest() {
            return None;
        }
        if new.position != self.newest() + 1 {
            // Of what was between nobody knows.
            self.0.clear();
        }
        self.0.push_back(Arc::new(new.clone()));
        let gone = if self.0.len() > MOST { self.0.pop_front() } else { None };
        Some((new, gone))
    }

    /// The position of the newest; 0: there has been none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.back().map_or(0, |newest| newest.position)
    }

    /// It has everything behind this position.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.0.front().map_or(0, |oldest| oldest.position - 1)
    }

    /// Those behind a position, in order, so many at the most. `None`: it does not reach back to
    /// there, or not yet so far.
    #[must_use]
    pub fn after(&self, position: u64, most: usize) -> Option<Vec<Arc<Logged>>> {
        if position < self.floor() || position > self.newest() {
            return None;
        }
        let skipped = usize::try_from(position - self.floor()).ok()?;
        Some(self.0.iter().skip(skipped).take(most).cloned().collect())
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Logged>> + ExactSizeIterator {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Logged {
        Logged { what: What::Tag(text.to_owned()), ..Logged::default() }
    }

    fn positions(log: &Log, after: u64, most: usize) -> Option<Vec<u64>> {
        Some(log.after(after, most)?.iter().map(|logged| logged.position).collect())
    }

    #[test]
    fn who_is_in_it_hears_what_is_behind_and_who_is_not_hears_so() {
        let mut log = Log::default();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!((positions(&log, 0, 9), positions(&log, 1, 9)), (Some(vec![]), None));
        for number in 1..=MOST as u64 + 3 {
            let (logged, gone) = log.take(tag("t"), now).unwrap();
            assert_eq!(logged.position, number);
            assert_eq!(
                gone.map(|gone| gone.position),
                number.checked_sub(MOST as u64).filter(|it| *it > 0)
            );
        }
        let newest = MOST as u64 + 3;
        assert_eq!((log.floor(), log.newest()), (3, newest));
        assert_eq!(positions(&log, 2, 9), None, "further back than it reaches");
        assert_eq!(positions(&log, 3, 2), Some(vec![4, 5]));
        assert_eq!(positions(&log, newest - 1, 9), Some(vec![newest]));
        assert_eq!(positions(&log, newest, 9), Some(vec![]));
        assert_eq!(positions(&log, newest + 1, 9), None, "of another log");
    }

    #[test]
    fn what_is_restored_goes_behind_what_there_is() {
        let mut log = Log::default();
        let now = Timestamp::UNIX_EPOCH;
        let at = |position| Logged { position, ..tag("t") };
        for position in [5, 6, 3] {
            log.take(at(position), now);
        }
        assert_eq!((log.floor(), log.newest()), (4, 6));
        log.take(at(9), now);
        assert_eq!((log.floor(), log.newest(), positions(&log, 6, 9)), (8, 9, None));
        assert_eq!(log.take(tag("u"), now).map(|(logged, _)| logged.position), Some(10));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let asked = |scope| {
            let message = pb::Purge { scope, soft: false };
            Logged::asked(Some(&message), String::new(), String::new())
        };
        for scope in [
            None,
            Some(Scope::Everything(false)),
            Some(Scope::Tag(String::new())),
            Some(Scope::Url("x".repeat(MOST_TEXT + 1))),
        ] {
            assert!(asked(scope.clone()).is_err(), "{scope:?}");
        }
        let fine = asked(Some(Scope::Host("a.example".into()))).unwrap();
        assert_eq!(fine.message().scope, Some(Scope::Host("a.example".into())));
        assert!(Logged::asked(None, String::new(), String::new()).is_err());
    }

    /// What earlier versions stored is replayed by this one.
    #[test]
    fn the_names_in_the_store_stay() {
        let stored = "{\"position\":3,\"at\":\"1970-01-01T00:00:00Z\",\"what\":{\"tag\":\"t\"},\
            \"soft\":true,\"by\":\"operator alice\",\"reason\":\"\"}";
        let logged =
            Logged { position: 3, soft: true, by: "operator alice".to_owned(), ..tag("t") };
        assert_eq!(serde_json::to_string(&logged).ok().as_deref(), Some(stored));
        assert_eq!(serde_json::from_str(stored).ok(), Some(logged));
    }
}
