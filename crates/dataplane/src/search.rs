//! Looking for access records in a log's files, the newest first: what memory no longer holds is
//! found there.
//!
//! Bounded by bytes, by results, and by whoever is told how far it is: reading goes on for as long
//! as it is told to. For a thread of its own, which [`aside`] starts: what it does stalls no
//! worker.

pub mod aside;
mod backwards;
mod files;

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use crate::search::{backwards::Backwards, files::Files};

/// Records are nearly in the order of their times: as far apart, in milliseconds, as one may lie
/// behind another that ended later.
const DISORDER: u64 = 5_000;
/// Read at once where a place in a file is looked for by time.
const SAMPLE: usize = 128 * 1024;

/// A record that can be read from its line.
pub trait Record: Sized {
    /// None: it is no line of ours.
    fn parse(line: &[u8]) -> Option<Self>;
    /// When it ended, in Unix milliseconds.
    fn ended_at(&self) -> u64;
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// So many of the last records.
    pub results: usize,
    /// So many bytes of the files are read.
    pub bytes: u64,
    /// Records that ended at this time or later, in Unix milliseconds.
    pub since: Option<u64>,
    /// Records that ended at this time or earlier.
    pub until: Option<u64>,
}

/// Why a search ended before everything was looked at that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// So many bytes were read.
    Bytes,
    /// It took so long, or nobody waits any more.
    Time,
    /// Others are searching.
    Busy,
    /// The files cannot be read.
    Unreadable,
}

/// How far a search has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Whatever ended after this was looked at, in Unix milliseconds; none: no record was.
    pub back_to: Option<u64>,
    /// Bytes read.
    pub bytes: u64,
    /// Files that were begun.
    pub files: u32,
    /// Records that carry no request id, so that none of them could be the one that is looked for.
    pub without_id: u64,
    /// Files that were left out, and why.
    pub skipped: Vec<String>,
    /// None: everything that was asked for was looked at.
    pub stopped: Option<Stopped>,
}

/// What a quick look at a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It has to be read.
    Perhaps,
    /// It is not wanted.
    No,
    /// It has no request id, and one is looked for.
    NoId,
}

/// What is looked for.
pub trait Wanted<R> {
    /// A quick look at a line.
    fn look(&self, line: &[u8]) -> Look;
    /// Whether it is.
    fn takes(&self, record: &R) -> bool;
}

/// What a search has found.
#[derive(Debug)]
pub struct Found<R> {
    /// Newest first.
    pub records: Vec<R>,
    /// How far it went.
    pub searched: Searched,
}

/// Searches the log at `path` and those beside it. `go_on` is asked after every piece that was
/// read.
pub fn search<R: Record>(
    path: &Path,
    wanted: &impl Wanted<R>,
    bounds: &Bounds,
    mut go_on: impl FnMut(&Searched) -> bool,
) -> Found<R> {
    let mut found = Found { records: Vec::new(), searched: Searched::default() };
    match Files::of(path) {
        Ok(files) => {
            found.searched.skipped = files.skipped;
            for file in &files.open {
                match found.read(file, wanted, bounds, &mut go_on) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => found
                        .searched
                        .skipped
                        .push(format!("a part of {} ({error})", path.display())),
                }
            }
        }
        Err(error) => {
            found.searched.skipped.push(format!("{} ({error})", path.display()));
            found.searched.stopped = Some(Stopped::Unreadable);
        }
    }
    found
}

impl<R: Record> Found<R> {
    /// Reads one file; false: what is older is not wanted any more.
    fn read(
        &mut self,
        file: &File,
        wanted: &impl Wanted<R>,
        bounds: &Bounds,
        go_on: &mut impl FnMut(&Searched) -> bool,
    ) -> io::Result<bool> {
        let length = file.metadata()?.len();
        // What grows meanwhile is in memory.
        let end = bounds.until.map_or(Ok(length), |until| {
            end_of::<R>(file, length, until.saturating_add(DISORDER))
        })?;
        let mut backwards = Backwards::from(file, end);
        self.searched.files += 1;
        while let Some((piece, bytes)) = backwards.next()? {
            self.searched.bytes += bytes as u64;
            let oldest = piece.oldest_first().find_map(R::parse).map(|record| record.ended_at());
            for line in piece.newest_first() {
                let look = wanted.look(line);
                self.searched.without_id += u64::from(look == Look::NoId);
                let Some(record) = (look == Look::Perhaps).then(|| R::parse(line)).flatten() else {
                    continue;
                };
                let at = record.ended_at();
                let within = bounds.since.is_none_or(|since| at >= since)
                    && bounds.until.is_none_or(|until| at <= until);
                if !within || !wanted.takes(&record) {
                    continue;
                }
                self.records.push(record);
                if self.records.len() >= bounds.results {
                    self.searched.back_to = Some(at);
                    return Ok(false);
                }
            }
            self.searched.back_to = oldest.or(self.searched.back_to);
            if bounds.since.is_some_and(|since| {
                oldest.is_some_and(|oldest| oldest.saturating_add(DISORDER) < since)
            }) {
                return Ok(false);
            }
            if self.searched.bytes >= bounds.bytes {
                self.searched.stopped = Some(Stopped::Bytes);
                return Ok(false);
            }
            if !go_on(&self.searched) {
                self.searched.stopped = Some(Stopped::Time);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Where the records end, at the latest, that ended by `until`: found by halves, as a day's file is
/// not to be read for those of its morning.
fn end_of<R: Record>(file: &File, length: u64, until: u64) -> io::Result<u64> {
    let (mut low, mut high) = (0, length);
    let mut sample = vec![0; SAMPLE];
    while high - low > 2 * SAMPLE as u64 {
        let middle = low + (high - low) / 2;
        let read = file.read_at(&mut sample, middle)?;
        let mut lines = sample[..read].split(|byte| *byte == b'\n');
        // It begins in the middle of a line.
        lines.next();
        match lines.find_map(R::parse) {
            Some(record) if record.ended_at() > until => high = middle + SAMPLE as u64,
            Some(_) => low = middle,
            // Nothing can be told by this place.
            None => break,
        }
    }
    Ok(high.min(length))
}

#[cfg(test)]
mod tests;
