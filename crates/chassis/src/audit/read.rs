//! Finding records: newest first, bounded, whatever is in the files.

use std::io::{self, Read, Seek, SeekFrom};

use jiff::Timestamp;

use super::Record;

/// No more than this is read of one file: its end. Only one that was written before files were
/// moved aside is larger.
const LARGEST: u64 = 16 << 20;

/// Which records are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this moment and later.
    pub since: Option<Timestamp>,
    /// Of whom: a role and name, or a name; empty: of everybody.
    pub who: String,
    /// At most so many.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Newest first.
    pub records: Vec<Record>,
    /// There are more that match.
    pub more: bool,
    /// When the oldest record of all was written.
    pub oldest: Option<Timestamp>,
    /// Lines that are no records.
    pub unreadable: u64,
    /// Older records were moved out of existence, or may have been.
    pub rotated: bool,
}

impl Wanted {
    fn is_met_by(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.when >= since) && self.is_by(&record.who)
    }

    /// `ann` and `operator ann` are both `operator ann via console console-1`; `an` is not.
    fn is_by(&self, who: &str) -> bool {
        let begins = who
            .strip_prefix(self.who.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        self.who.is_empty() || begins || who.split(' ').any(|word| word == self.who)
    }
}

/// Looks through files (newest first, each with the size to which it is read).
pub(super) fn find<F: Read + Seek>(
    files: impl IntoIterator<Item = (F, u64)>,
    wanted: &Wanted,
) -> io::Result<Found> {
    let mut found = Found::default();
    for (mut file, size) in files {
        let skipped = size.saturating_sub(LARGEST);
        file.seek(SeekFrom::Start(skipped))?;
        let mut text = Vec::new();
        file.take(size - skipped).read_to_end(&mut text)?;
        // The line in the middle of which reading began.
        let begun =
            if skipped > 0 { text.iter().position(|byte| *byte == b'\n').unwrap_or(0) } else { 0 };
        for line in text[begun..].rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(record) = serde_json::from_slice::<Record>(line) else {
                found.unreadable += 1;
                continue;
            };
            found.oldest = Some(record.when);
            if !wanted.is_met_by(&record) {
                continue;
            }
            if found.records.len() < wanted.limit {
                found.records.push(record);
            } else {
                found.more = true;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn line(second: i64, who: &str) -> String {
        let when = Timestamp::from_second(second).unwrap();
        let text = |text: &str| text.to_owned();
        let record = Record {
            when,
            who: text(who),
            from: text("f"),
            what: text("w"),
            detail: text("d"),
            result: text("ok"),
        };
        serde_json::to_string(&record).unwrap() + "\n"
    }

    fn seconds(files: &[String], since: Option<i64>, who: &str, limit: usize) -> (Vec<i64>, bool) {
        let wanted = Wanted {
            since: since.map(|second| Timestamp::from_second(second).unwrap()),
            who: who.to_owned(),
            limit,
        };
        let found =
            find(files.iter().map(|text| (Cursor::new(text), text.len() as u64)), &wanted).unwrap();
        (found.records.iter().map(|record| record.when.as_second()).collect(), found.more)
    }

    #[test]
    fn newest_first_over_files_and_no_more_than_asked_for() {
        let files = [
            line(5, "operator ann") + &line(6, "operator bob"),
            line(3, "operator ann") + "{half\n" + &line(4, "balancer b-1"),
        ];
        assert_eq!(seconds(&files, None, "", 9), (vec![6, 5, 4, 3], false));
        assert_eq!(seconds(&files, None, "", 3), (vec![6, 5, 4], true));
        assert_eq!(seconds(&files, Some(4), "", 9), (vec![6, 5, 4], false));
        assert_eq!(seconds(&files, None, "ann", 9), (vec![5, 3], false));
        assert_eq!(seconds(&files, None, "ann", 1), (vec![5], true));
        assert_eq!(seconds(&files, Some(6), "ann", 9), (vec![], false));
        let all = find(
            files.iter().map(|text| (Cursor::new(text), text.len() as u64)),
            &Wanted { limit: 1, ..Wanted::default() },
        )
        .unwrap();
        assert_eq!((all.unreadable, all.oldest.map(Timestamp::as_second)), (1, Some(3)));
    }

    #[test]
    fn what_is_being_written_is_not_read() {
        let text = line(1, "a") + &line(2, "a")[..9];
        let found = find(
            [(Cursor::new(&text), line(1, "a").len() as u64)],
            &Wanted { limit: 9, ..Wanted::default() },
        )
        .unwrap();
        assert_eq!((found.records.len(), found.unreadable), (1, 0));
    }

    #[test]
    fn people_are_meant_by_their_names() {
        let is_by = |wanted: &str, who: &str| {
            Wanted { who: wanted.to_owned(), ..Wanted::default() }.is_by(who)
        };
        for (wanted, who, expected) in [
            ("", "operator ann", true),
            ("ann", "operator ann", true),
            ("operator ann", "operator ann", true),
            ("operator ann", "operator ann via console c-1", true),
            ("c-1", "operator ann via console c-1", true),
            ("operator", "operator ann", true),
            ("an", "operator ann", false),
            ("operator an", "operator ann", false),
            ("bob", "operator ann", false),
        ] {
            assert_eq!(is_by(wanted, who), expected, "{wanted:?} {who:?}");
        }
    }
}
