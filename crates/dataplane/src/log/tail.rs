//! What is told of a log to whoever asks: the last records out of memory, older ones out of the
//! files where that is asked for, or new ones as they come.

use std::time::Duration;

use cluster::wire;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use proto::access::{SearchStopped, Searched};
use tokio::task::{JoinError, spawn_blocking};

use super::recent::{Recent, Tail};
use crate::{
    filter::Filter,
    search::{
        self, Bounds, Record, Stopped,
        aside::{Report, Searcher},
    },
};

/// Nobody gets more of what is kept than this in one answer.
pub const MOST: usize = 10_000;
/// Records told at once: well under what a message may have.
const AT_ONCE: usize = 256;
/// How often a follower is told of new records.
const EVERY: Duration = Duration::from_millis(250);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// So many of the last records; at most [`MOST`].
    pub last: u32,
    /// And every new one.
    pub follow: bool,
    /// Where memory does not reach back far enough, the files are searched; not with `follow`.
    pub files: bool,
}

/// Which records are wanted.
pub trait Wanted<R>: Clone + Send + Sync + 'static {
    /// Looks for those that were not told of yet.
    type Older: search::Wanted<R> + Send + 'static;

    /// The conditions.
    fn filter(&self) -> &Filter;

    /// Whether this one is.
    fn takes(&self, record: &R) -> bool;

    /// Those in the files, without those that memory has told of.
    fn older(self, told: &[R]) -> Self::Older;
}

/// A part of the answer.
#[derive(Debug)]
pub struct Told<R> {
    /// Oldest first.
    pub records: Vec<R>,
    /// Missed since the part before, because the reader was slow.
    pub missed: u64,
    /// When the oldest record in memory ended, in Unix milliseconds; in the first part only.
    pub kept_since: Option<u64>,
    /// How far the files were searched.
    pub searched: Option<Searched>,
}

impl<R> Told<R> {
    fn of(records: Vec<R>) -> Self {
        Self { records, missed: 0, kept_since: None, searched: None }
    }
}

/// Answers, until the caller ends it.
///
/// # Errors
/// Reading what is kept has failed.
pub async fn tail<R, W>(
    recent: &Recent,
    searcher: &Searcher,
    wanted: W,
    question: Question,
) -> Result<BoxStream<'static, Told<R>>, JoinError>
where
    R: Record + Send + 'static,
    W: Wanted<R>,
{
    let count = usize::try_from(question.last).unwrap_or(MOST).min(MOST);
    let (looked_in, asked) = (recent.clone(), wanted.clone());
    let looking = spawn_blocking(move || looked_in.last(count, |record| asked.takes(record)));
    let (Tail { records, next, .. }, since) = looking.await?;
    let then = if question.follow {
        following(recent.clone(), wanted, next).boxed()
    } else {
        let bounds = wanted.filter().beyond(count, records.len(), since);
        let bounds = bounds.filter(|_| question.files);
        let older = bounds.map(|bounds| older(searcher.clone(), wanted.older(&records), bounds));
        stream::iter(older).flatten().boxed()
    };
    let mut kept = oldest_first(records);
    kept[0].kept_since = since;
    Ok(stream::iter(kept).chain(then).boxed())
}

/// In parts, of which there is one at least.
fn oldest_first<R>(mut records: Vec<R>) -> Vec<Told<R>> {
    let mut parts = Vec::new();
    while records.len() > AT_ONCE {
        let rest = records.split_off(AT_ONCE);
        parts.push(Told::of(std::mem::replace(&mut records, rest)));
    }
    parts.push(Told::of(records));
    parts
}

fn following<R, W>(recent: Recent, wanted: W, next: u64) -> impl Stream<Item = Told<R>>
where
    R: Record,
    W: Wanted<R>,
{
    stream::unfold((recent, wanted, next), |(recent, wanted, mut next)| async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let tail = recent.after(next, AT_ONCE, |record| wanted.takes(record));
            next = tail.next;
            if !tail.records.is_empty() || tail.missed > 0 {
                let told = Told { missed: tail.missed, ..Told::of(tail.records) };
                return Some((told, (recent, wanted, next)));
            }
        }
    })
}

/// Older records, and how far the search for them is.
fn older<R, O>(searcher: Searcher, wanted: O, bounds: Bounds) -> impl Stream<Item = Told<R>>
where
    R: Record + Send + 'static,
    O: search::Wanted<R> + Send + 'static,
{
    let begun = async move { searcher.begin(wanted, bounds).await };
    let reports = stream::once(begun).flat_map(|reports| {
        stream::unfold(reports, |mut reports| async move {
            reports.recv().await.map(|report| (report, reports))
        })
    });
    reports.flat_map(|report| stream::iter(newest_first(report)))
}

/// In parts, the newer ones first, each in itself the oldest first. The last one says that the
/// search is over, if it is.
fn newest_first<R>(Report { mut records, searched, last }: Report<R>) -> Vec<Told<R>> {
    let mut parts = Vec::new();
    loop {
        let rest = records.split_off(records.len().min(AT_ONCE));
        records.reverse();
        let more = !rest.is_empty();
        let searched = Some(message(&searched, !last || more));
        parts.push(Told { searched, ..Told::of(std::mem::replace(&mut records, rest)) });
        if !more {
            return parts;
        }
    }
}

fn message(searched: &search::Searched, under_way: bool) -> Searched {
    let stopped = match searched.stopped {
        None => SearchStopped::Unspecified,
        Some(Stopped::Bytes) => SearchStopped::Bytes,
        Some(Stopped::Time) => SearchStopped::Time,
        Some(Stopped::Busy) => SearchStopped::Busy,
        Some(Stopped::Unreadable) => SearchStopped::Unreadable,
    };
    Searched {
        back_to: searched.back_to.map(wire::at_unix_millis),
        bytes: searched.bytes,
        files: searched.files,
        stopped: stopped.into(),
        skipped: searched.skipped.clone(),
        without_id: searched.without_id,
        under_way,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_small_and_in_order() {
        let parts = |told: Vec<Told<usize>>| -> Vec<Vec<usize>> {
            told.into_iter().map(|part| part.records).collect()
        };
        let kept = parts(oldest_first((0..600).collect()));
        assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, 88]);
        assert!(kept.concat().iter().copied().eq(0..600));
        assert_eq!(parts(oldest_first(Vec::new())), [Vec::<usize>::new()], "one at least");
        let report =
            |records, last| Report { records, searched: search::Searched::default(), last };
        let found = newest_first(report((0..300).rev().collect(), true));
        let over: Vec<_> =
            found.iter().filter_map(|it| Some(it.searched.as_ref()?.under_way)).collect();
        assert_eq!(over, [true, false], "only the last one says that it is over");
        let found = parts(found);
        assert!(found[0].iter().copied().eq(44..300) && found[1].iter().copied().eq(0..44));
        let under_way = newest_first(report(Vec::new(), false));
        assert_eq!(under_way.len(), 1);
        assert!(under_way[0].searched.as_ref().is_some_and(|it| it.under_way));
    }
}
