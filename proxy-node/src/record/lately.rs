//! What was answered lately, kept for those who ask: the last records themselves, and an hour of
//! counts by client, URL, status and domain.
//!
//! Bounded in every direction. The log's own thread feeds it, so that a worker pays nothing for it.
//! Time is passed in, in seconds of a clock that nobody sets.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use dataplane::{domain::domain, filter::Filter};

use super::{
    Record,
    heavy::{Counter, Summary},
};

/// Records kept.
pub const RECORDS: usize = 2048;
/// Bytes of text in them; a URL may be long.
const RECORD_BYTES: usize = 2 << 20;
/// What is kept of a URL in a record, and of a media type.
pub const RECORD_URL: usize = 2048;
const RECORD_MEDIA_TYPE: usize = 256;
/// Keys of one kind in one window.
const KEYS: usize = 256;
/// What is kept of a URL as a key.
const KEY_BYTES: usize = 256;
/// Length of a window, in seconds, and how many are kept.
const SHORT: u64 = 10;
const SHORTS: usize = 36;
/// Older ones are put together into windows of this length.
const LONG: u64 = 60;
const LONGS: usize = 60;

/// Counts of one stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// When it begins.
    pub begins: u64,
    /// All requests in it.
    pub requests: u64,
    /// All bytes sent to clients.
    pub bytes: u64,
    /// By client; none: the client could not be known.
    pub clients: Summary<Option<IpAddr>>,
    /// By target, cut after 256 bytes.
    pub urls: Summary<Arc<str>>,
    /// By host.
    pub domains: Summary<Arc<str>>,
    /// By status: requests and bytes, always exact.
    pub statuses: BTreeMap<u16, (u64, u64)>,
}

impl Window {
    /// Several as one, which begins when the first does.
    #[must_use]
    pub fn merged<'a>(windows: impl IntoIterator<Item = &'a Self> + Clone) -> Self {
        let all = || windows.clone().into_iter();
        let mut statuses = BTreeMap::<u16, (u64, u64)>::new();
        for (status, (requests, bytes)) in all().flat_map(|window| &window.statuses) {
            let sum = statuses.entry(*status).or_default();
            *sum = (sum.0 + requests, sum.1 + bytes);
        }
        Self {
            begins: all().map(|window| window.begins).min().unwrap_or(0),
            requests: all().map(|window| window.requests).sum(),
            bytes: all().map(|window| window.bytes).sum(),
            clients: Summary::merged(all().map(|window| &window.clients)),
            urls: Summary::merged(all().map(|window| &window.urls)),
            domains: Summary::merged(all().map(|window| &window.domains)),
            statuses,
        }
    }

    /// No more keys than one window has room for.
    fn bounded(mut self) -> Self {
        self.clients = self.clients.top(KEYS);
        self.urls = self.urls.top(KEYS);
        self.domains = self.domains.top(KEYS);
        self
    }
}

/// The window that is being counted.
#[derive(Debug)]
struct Open {
    begins: u64,
    requests: u64,
    bytes: u64,
    clients: Counter<Option<IpAddr>>,
    urls: Counter<Arc<str>>,
    domains: Counter<Arc<str>>,
    statuses: BTreeMap<u16, (u64, u64)>,
}

impl Open {
    fn new(begins: u64) -> Self {
        let (clients, urls, domains) = (Counter::new(KEYS), Counter::new(KEYS), Counter::new(KEYS));
        Self { begins, requests: 0, bytes: 0, clients, urls, domains, statuses: BTreeMap::new() }
    }

    fn count(&mut self, record: &Record) {
        self.requests += 1;
        self.bytes += record.bytes;
        self.clients.count(&record.client, record.bytes, |client| *client);
        self.urls.count(cut(&record.url, KEY_BYTES), record.bytes, |url| Arc::from(url));
        self.domains.count(domain(&record.url).as_ref(), record.bytes, |domain| Arc::from(domain));
        let sum = self.statuses.entry(record.status).or_default();
        *sum = (sum.0 + 1, sum.1 + record.bytes);
    }

    fn window(&self) -> Window {
        Window {
            begins: self.begins,
            requests: self.requests,
            bytes: self.bytes,
            clients: self.clients.summary(),
            urls: self.urls.summary(),
            domains: self.domains.summary(),
            statuses: self.statuses.clone(),
        }
    }
}

/// The memory.
#[derive(Debug)]
pub struct Lately {
    open: Open,
    /// Oldest first, each [`SHORT`] long.
    short: VecDeque<Arc<Window>>,
    /// Oldest first, each [`LONG`] long.
    long: VecDeque<Arc<Window>>,
    records: VecDeque<Record>,
    /// Bytes of text in `records`.
    held: usize,
    /// Number of the next record; the first ever was 0.
    next: u64,
}

/// Some of the last records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Oldest first.
    pub records: Vec<Record>,
    /// How many before them are gone already.
    pub missed: u64,
    /// Where to go on.
    pub next: u64,
}

impl Lately {
    /// An empty one that begins now.
    #[must_use]
    pub fn new(now: u64) -> Self {
        let (short, long, records) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { open: Open::new(now), short, long, records, held: 0, next: 0 }
    }

    /// Takes one record in.
    pub fn note(&mut self, record: Record, now: u64) {
        self.turn(now);
        self.open.count(&record);
        self.keep(record);
    }

    /// Closes the window when it is over, and puts old ones together.
    fn turn(&mut self, now: u64) {
        if now < self.open.begins + SHORT {
            return;
        }
        // Windows of nothing are not kept.
        let closed = std::mem::replace(&mut self.open, Open::new(now - now % SHORT));
        if closed.requests > 0 {
            self.short.push_back(Arc::new(closed.window()));
        }
        while self.short.len() > SHORTS
            || self
                .short
                .front()
                .is_some_and(|oldest| oldest.begins + SHORT * (SHORTS as u64) < now)
        {
            let Some(oldest) = self.short.pop_front() else { break };
            match self.long.back_mut().filter(|last| last.begins / LONG == oldest.begins / LONG) {
                Some(last) => *last = Arc::new(Window::merged([&**last, &*oldest]).bounded()),
                None => self.long.push_back(oldest),
            }
        }
        while self.long.len() > LONGS {
            self.long.pop_front();
        }
    }

    fn keep(&mut self, mut record: Record) {
        if record.url.len() > RECORD_URL {
            record.url = cut(&record.url, RECORD_URL).into();
        }
        if record.media_type.len() > RECORD_MEDIA_TYPE {
            record.media_type = cut(&record.media_type, RECORD_MEDIA_TYPE).into();
        }
        self.held += text_bytes(&record);
        self.records.push_back(record);
        self.next += 1;
        while self.records.len() > RECORDS || self.held > RECORD_BYTES {
            let Some(oldest) = self.records.pop_front() else { break };
            self.held -= text_bytes(&oldest);
        }
    }

    /// The windows that touch the last `since` seconds, oldest first: shared, so that merging them
    /// holds nobody up.
    #[must_use]
    pub fn windows(&self, now: u64, since: u64) -> Vec<Arc<Window>> {
        let from = now.saturating_sub(since);
        let long = self.long.iter().filter(|window| window.begins + LONG > from);
        let short = self.short.iter().filter(|window| window.begins + SHORT > from);
        let open = (self.open.begins + SHORT > from).then(|| Arc::new(self.open.window()));
        long.chain(short).cloned().chain(open).collect()
    }

    /// The last `count` records that are wanted.
    #[must_use]
    pub fn last(&self, count: usize, wanted: &Filter) -> Tail {
        let newest_first =
            self.records.iter().rev().filter(|record| wanted.matches(&record.facts()));
        let mut records: Vec<_> = newest_first.take(count).cloned().collect();
        records.reverse();
        Tail { records, missed: 0, next: self.next }
    }

    /// The wanted ones among the records from number `next` on; at most `limit` are looked at.
    #[must_use]
    pub fn after(&self, next: u64, limit: usize, wanted: &Filter) -> Tail {
        let oldest = self.next - self.records.len() as u64;
        let missed = oldest.saturating_sub(next);
        let skipped = usize::try_from(next.max(oldest) - oldest)
            .unwrap_or(usize::MAX)
            .min(self.records.len());
        let looked_at = (self.records.len() - skipped).min(limit);
        let records = self
            .records
            .range(skipped..skipped + looked_at)
            .filter(|record| wanted.matches(&record.facts()));
        Tail {
            records: records.cloned().collect(),
            missed,
            next: oldest + (skipped + looked_at) as u64,
        }
    }

    /// The oldest record that is kept.
    #[must_use]
    pub fn oldest(&self) -> Option<&Record> {
        self.records.front()
    }
}

fn text_bytes(record: &Record) -> usize {
    record.url.len() + record.method.len() + record.media_type.len()
}

/// The beginning of a text, whole characters only.
fn cut(text: &str, at: usize) -> &str {
    &text[..text.floor_char_boundary(at)]
}

#[cfg(test)]
mod tests;
