//! What was answered lately, kept for those who ask: an hour of counts by client, URL, status and
//! domain.
//!
//! Bounded in every direction. The log's own thread feeds it, so that a worker pays nothing for it.
//! Time is passed in, in seconds of a clock that nobody sets.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use dataplane::domain::domain;

use super::{
    Record,
    heavy::{Counter, Summary},
};

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

#[derive(Debug)]
pub struct Lately {
    open: Open,
    /// Oldest first, each [`SHORT`] long.
    short: VecDeque<Arc<Window>>,
    /// Oldest first, each [`LONG`] long.
    long: VecDeque<Arc<Window>>,
}

impl Lately {
    /// An empty one that begins now.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { open: Open::new(now), short: VecDeque::new(), long: VecDeque::new() }
    }

    /// Takes one record in.
    pub fn note(&mut self, record: &Record, now: u64) {
        self.turn(now);
        self.open.count(record);
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
}

/// The beginning of a text, whole characters only.
fn cut(text: &str, at: usize) -> &str {
    &text[..text.floor_char_boundary(at)]
}

#[cfg(test)]
mod tests;
