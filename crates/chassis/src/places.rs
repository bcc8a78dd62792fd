//! Who has how many connections of a port, so that no one address has all: of the admin port, the
//! gRPC port, the console's.
//!
//! Whoever comes is let in, if need be in the place of the oldest connection that does nothing: of
//! its own address where that has its share, of the address that has the most where the port is
//! full. Pure but for the lock; what a connection does, its [`Place`] is told.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// How many connections one address may have.
#[derive(Clone, Copy, Debug)]
pub enum Each {
    /// So many.
    Most(usize),
    /// Twice as many as are left for others, and at least so many.
    TwiceLeft(usize),
}

/// The connections of one port.
#[derive(Clone, Debug)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    each: Each,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By age: the oldest first.
    connections: BTreeMap<u64, Connection>,
    by_address: BTreeMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Things that it is busy with.
    busy: AtomicUsize,
    displaced: Notify,
}

/// One connection's place. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    places: Places,
    key: u64,
    state: Arc<State>,
}

/// A connection is busy while this lives.
#[derive(Debug)]
pub struct Busy(Arc<State>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Addresses that count as one: an IPv6 /64 is one host's.
fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl Places {
    /// For a port that takes `most` connections.
    #[must_use]
    pub fn new(most: usize, each: Each) -> Self {
        Self(Arc::new(Inner { most, each, taken: Mutex::default() }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address. `None`: it has its share, or the port is full,
    /// and everybody is busy.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = one_client(address);
        let mut taken = self.taken();
        let own = taken.by_address.get(&address).copied().unwrap_or(0);
        let left = self.0.most.saturating_sub(taken.connections.len());
        let share = match self.0.each {
            Each::Most(most) => most,
            Each::TwiceLeft(least) => least.max(left.saturating_mul(2)),
        };
        if own >= share {
            taken.displace_idle(Some(address))?;
        } else if left == 0 {
            taken.displace_for(own)?;
        }
        taken.next += 1;
        let (key, state) = (taken.next, Arc::<State>::default());
        taken.connections.insert(key, Connection { address, state: Arc::clone(&state) });
        *taken.by_address.entry(address).or_default() += 1;
        drop(taken);
        Some(Place { places: self.clone(), key, state })
    }
}

impl Taken {
    fn heaviest(&self) -> Option<(IpAddr, usize)> {
        self.by_address
            .iter()
            .map(|(address, count)| (*address, *count))
            .max_by_key(|(_, count)| *count)
    }

    /// Ends the oldest connection that does nothing, of one address or of all.
    fn displace_idle(&mut self, of: Option<IpAddr>) -> Option<()> {
        let idle = |connection: &Connection| {
            of.is_none_or(|address| connection.address == address)
                && connection.state.busy.load(Ordering::Acquire) == 0
        };
        let key = self
            .connections
            .iter()
            .find(|(_, connection)| idle(connection))
            .map(|(key, _)| *key)?;
        self.displace(key);
        Some(())
    }

    /// The port is full: whoever has the most gives one up, idle ones first, and a busy one only if
    /// that is more than the newcomer has.
    fn displace_for(&mut self, own: usize) -> Option<()> {
        let (heaviest, count) = self.heaviest()?;
        if self.displace_idle(Some(heaviest)).is_some() || self.displace_idle(None).is_some() {
            return Some(());
        }
        let key = self
            .connections
            .iter()
            .find(|(_, connection)| connection.address == heaviest && count > own + 1)
            .map(|(key, _)| *key)?;
        self.displace(key);
        Some(())
    }

    fn displace(&mut self, key: u64) {
        if let Some(connection) = self.remove(key) {
            connection.state.displaced.notify_one();
        }
    }

    fn remove(&mut self, key: u64) -> Option<Connection> {
        let connection = self.connections.remove(&key)?;
        if let Some(count) = self.by_address.get_mut(&connection.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&connection.address);
            }
        }
        Some(connection)
    }
}

impl Place {
    /// Returns when the place is somebody else's: the connection has to end.
    pub async fn displaced(&self) {
        self.state.displaced.notified().await;
    }

    /// It is busy while what this returns lives.
    #[must_use]
    pub fn busy(&self) -> Busy {
        Doing(Arc::clone(&self.state)).busy()
    }

    /// Tells that the connection is busy, from wherever its requests are answered.
    #[must_use]
    pub fn doing(&self) -> Doing {
        Doing(Arc::clone(&self.state))
    }
}

/// See [`Place::doing`].
#[derive(Clone, Debug)]
pub struct Doing(Arc<State>);

impl Doing {
    /// As [`Place::busy`].
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(&self.0))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().remove(self.key);
    }
}

/// Lets every request of a connection count as its being busy, until its answer's last byte is
/// handed over.
pub fn counting(router: axum::Router, doing: Doing) -> axum::Router {
    router.layer(axum::middleware::from_fn(
        move |request: axum::extract::Request, next: axum::middleware::Next| {
            let busy = doing.busy();
            async move {
                next.run(request)
                    .await
                    .map(|body| axum::body::Body::new(Answering { body, _busy: busy }))
            }
        },
    ))
}

/// A body during which its connection is busy.
struct Answering {
    body: axum::body::Body,
    _busy: Busy,
}

impl hyper::body::Body for Answering {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_displaced(place: &Place) -> bool {
        place.displaced().now_or_never().is_some()
    }

    #[test]
    fn the_newest_is_served_in_the_place_of_the_oldest_that_does_nothing() {
        let places = Places::new(8, Each::Most(3));
        let own: Vec<_> = (0..3).map(|_| places.enter(from(1)).unwrap()).collect();
        let busy = own[0].busy();
        let newest = places.enter(from(1)).unwrap();
        assert_eq!([0, 1, 2].map(|index| is_displaced(&own[index])), [false, true, false]);
        let all: Vec<_> = [&own[2], &newest].map(Place::busy).into();
        assert!(places.enter(from(1)).is_none(), "everything of it is busy");
        let other = places.enter(from(2)).unwrap();
        drop((busy, all));
        assert!(places.enter(from(1)).is_some() && is_displaced(&own[0]) && !is_displaced(&other));
        drop((own, newest, other));
        assert!(places.taken().connections.is_empty() && places.taken().by_address.is_empty());
    }

    #[test]
    fn a_full_port_takes_from_whoever_has_the_most() {
        let places = Places::new(4, Each::Most(4));
        let heavy: Vec<_> = (0..3).map(|_| places.enter(from(1)).unwrap()).collect();
        let light = places.enter(from(2)).unwrap();
        let third = places.enter(from(3)).unwrap();
        assert!(is_displaced(&heavy[0]) && !is_displaced(&light));
        // Nobody idles: a busy one of the heaviest goes, as long as that is fair.
        let busy: Vec<_> = heavy[1..].iter().chain([&light, &third]).map(Place::busy).collect();
        let fourth = places.enter(from(4)).unwrap();
        let _busy = fourth.busy();
        assert!(is_displaced(&heavy[1]) && !is_displaced(&heavy[2]));
        assert!(places.enter(from(5)).is_none());
        drop(busy);
    }

    #[test]
    fn a_share_of_what_is_left() {
        let places = Places::new(100, Each::TwiceLeft(10));
        let enter = |last: u8, busy: &mut Vec<(Place, Busy)>| {
            places.enter(from(last)).map(|place| {
                let doing = place.busy();
                busy.push((place, doing));
            })
        };
        let mut kept = Vec::new();
        let counts = [1, 2, 3]
            .map(|last| (0..1000).take_while(|_| enter(last, &mut kept).is_some()).count());
        assert!(counts[0] == 67 && counts[1] > 15 && counts[2] >= 10, "{counts:?}");
        let v6 = |text: &str| one_client(text.parse().unwrap());
        assert!(
            v6("2001:db8::1") == v6("2001:db8::2")
                && v6("2001:db8::1") != v6("2001:db8:0:1::1")
                && v6("::ffff:192.0.2.1") == from(1)
        );
    }
}
