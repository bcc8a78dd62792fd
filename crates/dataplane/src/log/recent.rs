//! The last lines of a log, for operators who look for a request.
//!
//! They are kept as they were written and read only when somebody asks: a record costs no more for
//! being kept. Bounded by bytes and by pieces.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::search::Record;

/// Bytes kept: some ten thousand records.
pub(super) const BYTES: usize = 4 << 20;
/// Pieces kept, however small: some minutes of an idle process's.
pub(super) const PIECES: usize = 8192;

/// Some of the records that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail<R> {
    /// Oldest first.
    pub records: Vec<R>,
    /// How many before them are gone already.
    pub missed: u64,
    /// Where to go on.
    pub next: u64,
}

/// What the log's thread keeps and others look at. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    pieces: VecDeque<Piece>,
    /// Their bytes.
    held: usize,
    /// Number of the next record; the first ever was 0.
    next: u64,
}

#[derive(Clone, Debug)]
struct Piece {
    /// Number of its first record.
    first: u64,
    count: u64,
    bytes: Bytes,
}

impl Piece {
    fn lines(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

impl Recent {
    /// Takes so many lines in.
    pub fn keep(&self, lines: &[u8], count: u64) {
        let bytes = Bytes::copy_from_slice(lines);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.next;
        kept.next += count;
        kept.held += bytes.len();
        kept.pieces.push_back(Piece { first, count, bytes });
        while kept.held > BYTES || kept.pieces.len() > PIECES {
            let Some(oldest) = kept.pieces.pop_front() else { break };
            kept.held -= oldest.bytes.len();
        }
    }

    /// The pieces from record `from` on, shared: reading them holds the log's thread up no longer
    /// than this.
    fn pieces(&self, from: u64) -> (Vec<Piece>, u64) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = kept.pieces.partition_point(|piece| piece.first + piece.count <= from);
        (kept.pieces.range(begin..).cloned().collect(), kept.next)
    }

    /// The last `count` records that are wanted, and when the oldest of all that are kept ended, in
    /// Unix milliseconds. Reads all that is kept at worst: for a thread that may take some
    /// milliseconds.
    pub fn last<R: Record>(
        &self,
        count: usize,
        wanted: impl Fn(&R) -> bool,
    ) -> (Tail<R>, Option<u64>) {
        let (pieces, next) = self.pieces(0);
        let newest_first =
            pieces.iter().rev().flat_map(|piece| piece.lines().rev()).filter_map(R::parse);
        let mut records: Vec<_> = newest_first.filter(wanted).take(count).collect();
        records.reverse();
        let oldest = pieces.first().and_then(|piece| piece.lines().find_map(R::parse));
        (Tail { records, missed: 0, next }, oldest.map(|record| record.ended_at()))
    }

    /// The wanted ones among the records from number `next` on; at most `limit` are looked at.
    pub fn after<R: Record>(
        &self,
        next: u64,
        limit: usize,
        wanted: impl Fn(&R) -> bool,
    ) -> Tail<R> {
        let (pieces, newest) = self.pieces(next);
        let oldest = pieces.first().map_or(newest, |piece| piece.first);
        let from = next.max(oldest);
        let skipped = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let looked_at: Vec<_> =
            pieces.iter().flat_map(Piece::lines).skip(skipped).take(limit).collect();
        let records = looked_at.iter().filter_map(|line| R::parse(line)).filter(wanted).collect();
        Tail { records, missed: from - next, next: from + looked_at.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its number is when it ended.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Number(u64);

    impl Record for Number {
        fn parse(line: &[u8]) -> Option<Self> {
            std::str::from_utf8(line).ok()?.parse().ok().map(Self)
        }

        fn ended_at(&self) -> u64 {
            self.0
        }
    }

    fn keep(recent: &Recent, numbers: &[u64]) {
        let lines: String = numbers.iter().map(|number| format!("{number}\n")).collect();
        recent.keep(lines.as_bytes(), numbers.len() as u64);
    }

    fn numbers(tail: &Tail<Number>) -> Vec<u64> {
        tail.records.iter().map(|record| record.0).collect()
    }

    fn all(_: &Number) -> bool {
        true
    }

    #[test]
    fn the_last_that_are_wanted() {
        let recent = Recent::default();
        let nothing = Tail { records: Vec::new(), missed: 0, next: 0 };
        assert_eq!(recent.last(9, all), (nothing, None));
        keep(&recent, &[11, 12]);
        keep(&recent, &[13, 14]);
        let (tail, since) = recent.last(3, all);
        assert_eq!((numbers(&tail), tail.next, since), (vec![12, 13, 14], 4, Some(11)));
        assert_eq!(numbers(&recent.last(9, |it: &Number| it.0 % 2 == 1).0), [11, 13]);
        assert_eq!(numbers(&recent.last(1, |it: &Number| it.0 < 13).0), [12]);
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_hears_what_it_missed() {
        let recent = Recent::default();
        keep(&recent, &[0, 1]);
        keep(&recent, &[2]);
        let some = recent.after(1, 1, all);
        assert_eq!((numbers(&some), some.missed, some.next), (vec![1], 0, 2));
        let rest = recent.after(some.next, 9, all);
        assert_eq!((numbers(&rest), rest.next), (vec![2], 3));
        let nothing = Tail { records: Vec::new(), missed: 0, next: 3 };
        assert_eq!(recent.after(3, 9, all), nothing);
        assert_eq!(
            recent.after(0, 9, |_: &Number| false),
            nothing,
            "what is not wanted is not looked at again"
        );
        for _ in 0..2 * PIECES {
            keep(&recent, &[9]);
        }
        let late = recent.after(3, 1, all);
        assert_eq!((late.missed, late.next), (PIECES as u64, PIECES as u64 + 4));
    }

    #[test]
    fn memory_is_bounded() {
        let recent = Recent::default();
        for _ in 0..200 {
            recent.keep(&[b'x'; 128 * 1024], 1);
        }
        let kept = recent.0.lock().expect("kept");
        assert!(kept.held <= BYTES && kept.pieces.len() == BYTES / (128 * 1024));
    }
}
