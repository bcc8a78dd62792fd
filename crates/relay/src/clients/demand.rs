//! How fast clients come and ask, and whether they take what they have asked for.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::prefix::{Lengths, Prefix, Source};
use super::rate::{Buckets, Rate};
use super::report::{Share, Unserved};
use super::{Clients, Most};

/// For so long a client that does not read gets nothing more.
const FULL: Duration = Duration::from_secs(1);
/// So many such clients and networks are remembered.
const FULL_MOST: usize = 4096;

/// How fast a client and a network may do something; none: as fast as they like.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// A client.
    pub client: Option<Rate>,
    /// A network of clients.
    pub network: Option<Rate>,
}

impl Rates {
    /// Whether there is a bound at all.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        self.client.is_some() || self.network.is_some()
    }
}

/// A request that is not served now, and how long to wait before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Its client, or its network, asks too fast.
    TooFast(Duration),
    /// Too many connections wait for its client, or its network, to take what it has asked for.
    Full(Duration),
}

impl Clients {
    /// Takes one of each bucket; who is too fast, and how long it has to wait.
    fn pass(
        &self,
        buckets: &Buckets,
        source: &Source,
        rates: Rates,
        now: Duration,
    ) -> Result<(), (Prefix, Duration)> {
        let take = |who: Prefix, rate: Option<Rate>| match rate {
            Some(rate) => buckets.take(who, rate, now).map_err(|wait| (who, wait)),
            None => Ok(()),
        };
        take(source.client, rates.client)?;
        take(source.network, rates.network).inspect_err(|_| {
            if let Some(rate) = rates.client {
                buckets.give_back(source.client, rate);
            }
        })
    }

    /// Whether one more connection is not too soon.
    pub(crate) fn may_come(&self, source: &Source, rates: Rates, now: Duration) -> bool {
        let Err((who, _)) = self.pass(&self.arrivals, source, rates, now) else { return true };
        self.too_fast.fetch_add(1, Relaxed);
        self.noted(who, Share::Rate);
        false
    }

    /// Whether a client's request is served now. Costs next to nothing where no rate is set and
    /// everybody reads.
    ///
    /// # Errors
    /// Why not.
    pub fn may_ask(
        &self,
        address: IpAddr,
        lengths: Lengths,
        rates: Rates,
        now: Duration,
    ) -> Result<(), Limited> {
        let looks = self.full_until.load(Relaxed) > millis(now);
        if !looks && !rates.is_bound() {
            return Ok(());
        }
        let source = Source::of(address, lengths);
        if looks && let Some(until) = self.full_until(&source, now) {
            self.unserved[1].fetch_add(1, Relaxed);
            return Err(Limited::Full(until.saturating_sub(now)));
        }
        self.pass(&self.requests, &source, rates, now).map_err(|(who, wait)| {
            self.unserved[0].fetch_add(1, Relaxed);
            self.noted(who, Share::Rate);
            Limited::TooFast(wait)
        })
    }

    /// What would become of a client's request, for whoever wants to know.
    ///
    /// # Errors
    /// As [`may_ask`](Self::may_ask).
    pub fn would_be(
        &self,
        address: IpAddr,
        lengths: Lengths,
        rates: Rates,
        now: Duration,
    ) -> Result<(), Limited> {
        let source = Source::of(address, lengths);
        if let Some(until) = self.full_until(&source, now) {
            return Err(Limited::Full(until.saturating_sub(now)));
        }
        let wait = |who, rate: Option<Rate>| self.requests.wait(who, rate?, now);
        let waits = [wait(source.client, rates.client), wait(source.network, rates.network)];
        waits.into_iter().flatten().max().map_or(Ok(()), |wait| Err(Limited::TooFast(wait)))
    }

    /// What a client, and its network, have now: connections, and those that wait for it to read.
    #[must_use]
    pub fn usage(&self, address: IpAddr, lengths: Lengths) -> [(Prefix, u32, u32); 2] {
        Source::of(address, lengths).levels().map(|who| {
            let usage = self.shard(who).get(&who).copied().unwrap_or_default();
            (who, usage.connections, usage.waiting)
        })
    }

    fn full_until(&self, source: &Source, now: Duration) -> Option<Duration> {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        source.levels().iter().filter_map(|who| full.get(who)).max().copied().filter(|it| *it > now)
    }

    /// A connection waits for its client to take something, of which there may be so many.
    pub(crate) fn wait(&self, source: &Source, most: Most, now: Duration) -> bool {
        for (who, most) in source.levels().into_iter().zip([most.client, most.network]) {
            let mut shard = self.shard(who);
            let usage = shard.entry(who).or_default();
            if usage.waiting < most {
                usage.waiting += 1;
                continue;
            }
            drop(shard);
            if who.is_network() {
                self.wait_is_over(&[source.client]);
            }
            self.note_full(who, now);
            return false;
        }
        true
    }

    /// It does not any more.
    pub(crate) fn wait_is_over(&self, of: &[Prefix]) {
        for who in of {
            if let Some(usage) = self.shard(*who).get_mut(who) {
                usage.waiting = usage.waiting.saturating_sub(1);
            }
        }
    }

    fn note_full(&self, who: Prefix, now: Duration) {
        let until = now + FULL;
        {
            let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
            full.retain(|_, until| *until > now);
            if full.len() < FULL_MOST {
                full.insert(who, until);
            }
        }
        self.full_until.fetch_max(millis(until), Relaxed);
        self.noted(who, Share::Memory);
        // Who sees the count finds the rest done.
        self.unread.fetch_add(1, Relaxed);
    }

    /// How many requests were not served so far.
    #[must_use]
    pub fn unserved(&self) -> Unserved {
        let [too_fast, full] = &self.unserved;
        Unserved { too_fast: too_fast.load(Relaxed), full: full.load(Relaxed) }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
