//! A line of the access log, read again, and which ones somebody wants.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use dataplane::{
    filter::{Facts, Filter},
    log::tail::{self, Wanted as _},
    search::{self, Look},
};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

/// A line, read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// When it ended, exact to 50 ms.
    pub time: Timestamp,
    /// Its request's id.
    pub id: Uuid,
    pub client: String,
    pub frontend: String,
    /// Empty: none could be read.
    pub method: String,
    /// Empty: none could be read.
    pub target: String,
    /// What the client got; 0: nothing.
    pub status: u16,
    /// Bytes to the client.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// Who answered; empty: the balancer itself.
    pub server: String,
    /// How many servers were asked.
    pub attempts: u32,
    /// What went wrong, if anything.
    pub error: String,
}

impl Line {
    fn facts(&self) -> Facts<'_> {
        let ended_at = search::Record::ended_at(self);
        Facts {
            request: self.id,
            client: self.client.parse::<IpAddr>().ok(),
            status: self.status,
            target: &self.target,
            ended_at,
        }
    }
}

impl search::Record for Line {
    fn parse(bytes: &[u8]) -> Option<Self> {
        // Lines of our own: one that cannot be read is none.
        serde_json::from_slice(bytes).ok()
    }

    fn ended_at(&self) -> u64 {
        u64::try_from(self.time.as_millisecond()).unwrap_or(0)
    }
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// By what they say.
    pub filter: Filter,
    /// Only those of which no server has a whole record.
    pub own: bool,
}

impl tail::Wanted<Line> for Wanted {
    type Older = Older;

    fn filter(&self) -> &Filter {
        &self.filter
    }

    fn takes(&self, line: &Line) -> bool {
        let own = line.server.is_empty() || !line.error.is_empty();
        (own || !self.own) && self.filter.matches(&line.facts())
    }

    fn older(self, told: &[Line]) -> Older {
        Older::new(self, told)
    }
}

/// Where the id ends at the latest that a line begins with, behind the time.
const HEAD: usize = 96;

/// Those that memory has not told of: of the same lines as there, in their files.
#[derive(Debug)]
pub struct Older {
    wanted: Wanted,
    /// As a line has it.
    request: Option<String>,
    /// How often each was told.
    told: RefCell<HashMap<(Uuid, Timestamp, u64), u32>>,
}

impl Older {
    /// Those that are wanted, without those that were told already.
    #[must_use]
    pub fn new(wanted: Wanted, told: &[Line]) -> Self {
        let mut counts = HashMap::new();
        for line in told {
            *counts.entry((line.id, line.time, line.ms)).or_default() += 1;
        }
        let request = wanted.filter.request().map(|id| format!("\"id\":\"{id}\""));
        Self { wanted, request, told: RefCell::new(counts) }
    }
}

impl search::Wanted<Line> for Older {
    fn look(&self, line: &[u8]) -> Look {
        let Some(request) = self.request.as_deref().map(str::as_bytes) else {
            return Look::Perhaps;
        };
        let head = &line[..line.len().min(HEAD)];
        if head.windows(request.len()).any(|part| part == request) {
            Look::Perhaps
        } else {
            Look::No
        }
    }

    fn takes(&self, line: &Line) -> bool {
        let mut told = self.told.borrow_mut();
        let seen = told.get_mut(&(line.id, line.time, line.ms)).filter(|left| **left > 0);
        self.wanted.takes(line) && seen.map(|left| *left -= 1).is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dataplane::search::{Record as _, Wanted as _};

    use super::{
        super::{Details, Record},
        *,
    };

    fn line(id: u128, ms: u64, server: &str) -> Vec<u8> {
        let record = Record {
            id: Uuid::from_u128(id),
            client: "10.0.0.7",
            frontend: "f",
            method: "GET",
            target: "http://a.example/\"id\":\"00000000-0000-0000-0000-000000000009\"",
            status: 200,
            bytes: 1,
            took: Duration::from_millis(ms),
            server,
            attempts: 1,
            error: None,
            details: Details::default(),
        };
        let mut line = Vec::new();
        record.write(&mut line, "2026-01-02T03:04:05.5Z");
        line.pop();
        line
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let read = |id, ms| Line::parse(&line(id, ms, "n")).expect("a line");
        let older = Older::new(Wanted::default(), &[read(1, 5), read(2, 5), read(2, 5)]);
        let taken = [(1, 5), (1, 6), (2, 5), (2, 5), (2, 5), (3, 5)]
            .map(|(id, ms)| older.takes(&read(id, ms)));
        assert_eq!(taken, [false, true, false, false, true, true]);
        let own = Older::new(Wanted { own: true, ..Wanted::default() }, &[]);
        assert!(
            !own.takes(&read(1, 5)) && own.takes(&Line::parse(&line(1, 5, "")).expect("a line"))
        );
        assert_eq!(search::Record::ended_at(&read(1, 5)), 1_767_323_045_500);
    }

    #[test]
    fn a_quick_look_is_at_the_id() {
        let wanted = |id: u128| Wanted {
            filter: Filter::parse(&Uuid::from_u128(id).to_string(), "", "", "").expect("an id"),
            own: false,
        };
        let line = line(7, 5, "n");
        assert_eq!(
            [7, 8, 9].map(|id| Older::new(wanted(id), &[]).look(&line)),
            [Look::Perhaps, Look::No, Look::No]
        );
        assert_eq!(Older::new(Wanted::default(), &[]).look(b""), Look::Perhaps);
    }
}
