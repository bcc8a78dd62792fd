//! The last lines of the access log, for operators who look for a request.
//!
//! They are kept as they were written and read only when somebody asks: a record costs no more for
//! being kept. Bounded by bytes and by pieces.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use dataplane::search::Record as _;
use jiff::Timestamp;

use super::{
    Lines,
    line::{Line, Wanted},
};

/// Bytes kept: some ten thousand records.
const BYTES: usize = 4 << 20;
/// Pieces kept, however small: some minutes of an idle balancer's.
const PIECES: usize = 8192;

/// Some of the lines that are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Oldest first.
    pub lines: Vec<Line>,
    /// How many before them are gone already.
    pub missed: u64,
    /// Where to go on.
    pub next: u64,
}

/// What the writing task keeps and others look at. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    pieces: VecDeque<Piece>,
    /// Their bytes.
    held: usize,
    /// Number of the next line; the first ever was 0.
    next: u64,
}

#[derive(Clone, Debug)]
struct Piece {
    /// Number of its first line.
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
    /// Takes lines in.
    pub fn keep(&self, lines: Lines) {
        // A buffer that was made for a busy time is not kept for a few lines.
        let bytes = if lines.bytes.capacity() > 2 * lines.bytes.len() {
            Bytes::copy_from_slice(&lines.bytes)
        } else {
            lines.bytes.into()
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.next;
        kept.next += lines.count;
        kept.held += bytes.len();
        kept.pieces.push_back(Piece { first, count: lines.count, bytes });
        while kept.held > BYTES || kept.pieces.len() > PIECES {
            let Some(oldest) = kept.pieces.pop_front() else { break };
            kept.held -= oldest.bytes.len();
        }
    }

    /// The pieces from line `from` on, shared: reading them holds the writing task up no longer
    /// than this.
    fn pieces(&self, from: u64) -> (Vec<Piece>, u64) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = kept.pieces.partition_point(|piece| piece.first + piece.count <= from);
        (kept.pieces.range(begin..).cloned().collect(), kept.next)
    }

    /// The last `count` lines that are wanted, and when the oldest of all that are kept ended.
    /// Reads all that is kept at worst: for a thread that may take some milliseconds.
    #[must_use]
    pub fn last(&self, count: usize, wanted: &Wanted) -> (Tail, Option<Timestamp>) {
        let (pieces, next) = self.pieces(0);
        let newest_first =
            pieces.iter().rev().flat_map(|piece| piece.lines().rev()).filter_map(Line::parse);
        let mut lines: Vec<_> =
            newest_first.filter(|line| wanted.takes(line)).take(count).collect();
        lines.reverse();
        let oldest = pieces
            .first()
            .and_then(|piece| piece.lines().find_map(Line::parse))
            .map(|line| line.time);
        (Tail { lines, missed: 0, next }, oldest)
    }

    /// The wanted ones among the lines from number `next` on; at most `limit` are looked at.
    #[must_use]
    pub fn after(&self, next: u64, limit: usize, wanted: &Wanted) -> Tail {
        let (pieces, newest) = self.pieces(next);
        let oldest = pieces.first().map_or(newest, |piece| piece.first);
        let from = next.max(oldest);
        let skipped = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let looked_at: Vec<_> =
            pieces.iter().flat_map(Piece::lines).skip(skipped).take(limit).collect();
        let lines = looked_at
            .iter()
            .filter_map(|line| Line::parse(line))
            .filter(|line| wanted.takes(line))
            .collect();
        Tail { lines, missed: from - next, next: from + looked_at.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dataplane::filter::Filter;
    use relay::proxy_status::ErrorType;
    use uuid::Uuid;

    use super::{
        super::{Error, Record},
        *,
    };

    fn lines(records: &[(u128, u16, &str, Option<Error>)]) -> Lines {
        let mut bytes = Vec::new();
        for (id, status, server, error) in records {
            let record = Record {
                id: Uuid::from_u128(*id),
                client: "10.0.0.7",
                frontend: "f",
                method: "GET",
                target: "http://a.example/x",
                status: *status,
                bytes: 1,
                took: Duration::from_millis(1),
                server,
                attempts: 1,
                error: *error,
            };
            record.write(&mut bytes, "2026-01-02T03:04:05.5Z");
        }
        Lines { bytes, count: records.len() as u64 }
    }

    fn ids(tail: &Tail) -> Vec<u128> {
        tail.lines.iter().map(|line| line.id.as_u128()).collect()
    }

    #[test]
    fn what_is_kept_is_found_by_what_it_says() {
        let recent = Recent::default();
        assert_eq!(recent.last(9, &Wanted::default()), (Tail::default(), None));
        recent.keep(lines(&[
            (1, 200, "n", None),
            (2, 400, "", Some(Error::Answered(ErrorType::HttpRequestError))),
        ]));
        recent.keep(lines(&[(3, 502, "n", Some(Error::ResponseCut)), (4, 200, "n", None)]));
        let filtered = |request: &str, status: &str| Wanted {
            filter: Filter::parse(request, "", status, "").expect("good"),
            own: false,
        };
        let (tail, since) = recent.last(3, &Wanted::default());
        assert_eq!((ids(&tail), tail.next), (vec![2, 3, 4], 4));
        assert_eq!(since, "2026-01-02T03:04:05.5Z".parse().ok());
        assert_eq!(ids(&recent.last(9, &filtered("", "2xx")).0), [1, 4]);
        assert_eq!(ids(&recent.last(1, &filtered("", "2xx")).0), [4]);
        assert_eq!(ids(&recent.last(9, &filtered(&Uuid::from_u128(3).to_string(), "")).0), [3]);
        assert_eq!(ids(&recent.last(9, &Wanted { own: true, ..Wanted::default() }).0), [2, 3]);
        assert!(recent.last(9, &filtered("", "418")).0.lines.is_empty());
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_hears_what_it_missed() {
        let recent = Recent::default();
        recent.keep(lines(&[(0, 200, "n", None), (1, 404, "n", None)]));
        recent.keep(lines(&[(2, 200, "n", None)]));
        let all = Wanted::default();
        let some = recent.after(1, 1, &all);
        assert_eq!((ids(&some), some.missed, some.next), (vec![1], 0, 2));
        let rest = recent.after(some.next, 9, &all);
        assert_eq!((ids(&rest), rest.next), (vec![2], 3));
        assert_eq!(recent.after(3, 9, &all), Tail { next: 3, ..Tail::default() });
        let unwanted =
            Wanted { filter: Filter::parse("", "", "500", "").expect("good"), own: false };
        assert_eq!(
            recent.after(0, 9, &unwanted),
            Tail { next: 3, ..Tail::default() },
            "what is not wanted is not looked at again"
        );
        for _ in 0..2 * PIECES {
            recent.keep(lines(&[(9, 200, "n", None)]));
        }
        let late = recent.after(3, 1, &all);
        assert_eq!((late.missed, late.next), (PIECES as u64, PIECES as u64 + 4));
    }

    #[test]
    fn memory_is_bounded() {
        let recent = Recent::default();
        let mut bytes = Vec::with_capacity(1 << 20);
        bytes.extend_from_slice(&lines(&[(1, 200, "n", None)]).bytes);
        recent.keep(Lines { bytes, count: 1 });
        assert!(
            recent.0.lock().expect("kept").held < 1000,
            "a large buffer is not kept for one line"
        );
        for _ in 0..200 {
            recent.keep(Lines { bytes: vec![b'x'; 128 * 1024], count: 1 });
        }
        let kept = recent.0.lock().expect("kept");
        assert!(kept.held <= BYTES && kept.pieces.len() == BYTES / (128 * 1024));
    }
}
