//! What is looked for in the log's files: what memory did not tell of already.

use std::{cell::RefCell, collections::HashMap};

use dataplane::{
    filter::Filter,
    log::tail,
    search::{self, Look},
};
use uuid::Uuid;

use super::{Record, parse};

/// What is told of a record from memory, and read of the same one from its file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mark {
    ended_at: u64,
    elapsed: u64,
    status: u16,
    bytes: u64,
    /// Nil where lines have none.
    id: Uuid,
}

impl Mark {
    const fn of(record: &Record, id: Uuid) -> Self {
        Self {
            ended_at: record.ended_at,
            elapsed: record.elapsed,
            status: record.status,
            bytes: record.bytes,
            id,
        }
    }
}

/// The wanted records that memory has not told of.
#[derive(Debug)]
pub struct Older {
    filter: Filter,
    request: Option<String>,
    /// How often each was told; a line may have an id or none.
    told: RefCell<HashMap<Mark, u32>>,
}

impl Older {
    /// Those that `filter` takes, without those that were told already.
    #[must_use]
    pub fn new(filter: Filter, told: &[Record]) -> Self {
        let mut counts = HashMap::new();
        for record in told {
            *counts.entry(Mark::of(record, record.id)).or_default() += 1;
        }
        Self {
            request: filter.request().map(|id| id.to_string()),
            filter,
            told: RefCell::new(counts),
        }
    }

    /// Whether it was told already; then it has been seen now.
    fn was_told(&self, record: &Record) -> bool {
        let mut told = self.told.borrow_mut();
        let seen = |(mark, left): (&Mark, &mut u32)| {
            let same =
                *mark == Mark::of(record, if record.id.is_nil() { mark.id } else { record.id });
            let first = same && *left > 0;
            *left -= u32::from(first);
            first
        };
        match told.get_mut(&Mark::of(record, record.id)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => record.id.is_nil() && told.iter_mut().any(seen),
        }
    }
}

impl tail::Wanted<Record> for Filter {
    type Older = Older;

    fn filter(&self) -> &Filter {
        self
    }

    fn takes(&self, record: &Record) -> bool {
        self.matches(&record.facts())
    }

    fn older(self, told: &[Record]) -> Older {
        Older::new(self, told)
    }
}

impl search::Wanted<Record> for Older {
    fn look(&self, line: &[u8]) -> Look {
        parse::look(line, self.request.as_deref())
    }

    fn takes(&self, record: &Record) -> bool {
        self.filter.matches(&record.facts()) && !self.was_told(record)
    }
}

#[cfg(test)]
mod tests {
    use dataplane::search::Wanted;

    use super::*;

    #[test]
    fn what_was_told_is_not_told_again() {
        let record = |id: u128, ended_at| Record {
            id: Uuid::from_u128(id),
            ended_at,
            status: 200,
            ..Record::default()
        };
        let line = |record: &Record| Record { id: Uuid::nil(), ..record.clone() };
        let told = [record(1, 5), record(2, 5), record(2, 5)];
        let all = || Older::new(Filter::default(), &told);
        // With ids: exactly those, as often as they were told.
        let older = all();
        assert_eq!(
            [1, 2, 2, 2, 3].map(|id| older.takes(&record(id, 5))),
            [false, false, false, true, true]
        );
        assert!(all().takes(&record(1, 6)), "the same request on its second way");
        // Lines without ids: as many of the same moment as were told.
        let older = all();
        assert_eq!([(); 4].map(|()| older.takes(&line(&told[0]))), [false, false, false, true]);
        assert!(older.takes(&line(&record(1, 6))));
        let not_found = Older::new(Filter::parse("", "", "404", "").unwrap(), &[]);
        assert!(!not_found.takes(&record(1, 5)));
    }
}
