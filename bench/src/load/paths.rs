//! What is asked for: one thing again and again, something new each time, or what people ask for in
//! the course of a day.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
};

use super::client::{get, get_for};

/// Where requests go, in order. Clients that share it share the order.
#[derive(Clone, Debug)]
pub struct Paths {
    kind: Kind,
    /// Under what the origin has what can be stored.
    below: char,
    next: Rc<Cell<u64>>,
}

#[derive(Clone, Debug)]
enum Kind {
    One { path: Rc<str>, body: usize },
    New { prefix: Rc<str>, body: usize },
    Random { prefix: Rc<str>, body: usize, objects: u32, random: Rc<RefCell<fastrand::Rng>> },
    Day { prefix: Rc<str>, day: Rc<Day> },
    Various { body: usize },
}

/// Of what is always another thing, so many are asked for in turn.
const VARIOUS: u64 = 8192;

impl Paths {
    /// The same path for all, which is answered with `body` bytes.
    pub fn one(path: &str, body: usize) -> Self {
        Self::of(Kind::One { path: path.into(), body })
    }

    /// Something cacheable that nobody has asked for: `prefix` is used once.
    pub fn new(prefix: &str, body: usize) -> Self {
        Self::of(Kind::New { prefix: prefix.into(), body })
    }

    /// So many objects that [`new`](Self::new) with this `prefix` asks for in turn, at random; the
    /// same for the same seed.
    pub fn random(prefix: &str, body: usize, objects: u32, seed: u64) -> Self {
        let random = Rc::new(RefCell::new(fastrand::Rng::with_seed(seed)));
        Self::of(Kind::Random { prefix: prefix.into(), body, objects, random })
    }

    /// The objects of a day, called by `prefix`.
    pub fn day(prefix: &str, day: &Rc<Day>) -> Self {
        Self::of(Kind::Day { prefix: prefix.into(), day: Rc::clone(day) })
    }

    /// Other paths of other hosts for other users, whatever a balancer goes by; nobody may store
    /// them.
    pub fn various(body: usize) -> Self {
        Self::of(Kind::Various { body })
    }

    fn of(kind: Kind) -> Self {
        Self { kind, below: 'c', next: Rc::default() }
    }

    /// The same of what a cache has to ask for again each time.
    pub fn validated(self) -> Self {
        Self { below: 'v', ..self }
    }

    /// The next request, with these fields beside its own, and how many bytes answer it.
    pub fn next(&self, origin: SocketAddr, fields: &str) -> (Vec<u8>, usize) {
        let number = self.next.get();
        self.next.set(number + 1);
        let below = self.below;
        match &self.kind {
            Kind::One { path, body } => (get(origin, path, fields), *body),
            Kind::New { prefix, body } => {
                (get(origin, &format!("/{prefix}-{number}/{below}/{body}"), fields), *body)
            }
            Kind::Random { prefix, body, objects, random } => {
                let object = random.borrow_mut().u32(0..*objects);
                (get(origin, &format!("/{prefix}-{object}/{below}/{body}"), fields), *body)
            }
            Kind::Day { prefix, day } => {
                let object = day.object(number);
                let body = size(object);
                (get(origin, &format!("/{prefix}-{object}/{below}/{body}"), fields), body)
            }
            Kind::Various { body } => {
                let number = number % VARIOUS;
                let (host, path) = (format!("h{number}.test"), format!("/{number}/b/{body}"));
                (get_for(&host, &path, &format!("X-User: u{number}\r\n{fields}")), *body)
            }
        }
    }
}

/// Which objects are asked for in what order: by Zipf's law with the exponent 0.9, as it was found
/// in the logs of proxies (Breslau et al., "Web Caching and Zipf-like Distributions", 1999, has
/// 0.64 to 0.83; what is cached is asked for more unevenly today).
#[derive(Debug)]
pub struct Day {
    asked: Vec<u32>,
}

const EXPONENT: f64 = 0.9;

impl Day {
    /// So many requests for so many objects; the same for the same seed.
    pub fn new(seed: u64, objects: u32, requests: usize) -> Self {
        let mut sums = Vec::new();
        let mut sum = 0.0;
        for rank in 1..=objects.max(1) {
            sum += f64::from(rank).powf(-EXPONENT);
            sums.push(sum);
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let mut draw = || {
            let drawn = random.f64() * sum;
            sums.partition_point(|upto| *upto < drawn).try_into().unwrap_or_default()
        };
        Self { asked: (0..requests.max(1)).map(|_| draw()).collect() }
    }

    /// Which object the request of that number asks for.
    fn object(&self, number: u64) -> u32 {
        let length = self.asked.len() as u64;
        usize::try_from(number % length).map_or(0, |index| self.asked[index])
    }

    /// How many objects are asked for at all: so many requests have to reach the origin.
    #[cfg(test)]
    fn different(&self) -> usize {
        self.asked.iter().collect::<std::collections::BTreeSet<_>>().len()
    }
}

/// Bytes of an object: most are small, and it has nothing to do with how often they are asked for.
fn size(object: u32) -> usize {
    const SIZES: [usize; 10] = [1, 1, 2, 2, 4, 4, 8, 8, 16, 48];
    // Neighbours differ: a multiplicative hash (Knuth 6.4).
    let hashed = object.wrapping_mul(2_654_435_761) >> 16;
    SIZES[hashed as usize % SIZES.len()] * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_the_same_for_the_same_seed_and_few_objects_are_most_of_it() {
        let (day, same, other) =
            (Day::new(1, 10_000, 50_000), Day::new(1, 10_000, 50_000), Day::new(2, 10_000, 50_000));
        assert!(day.asked == same.asked && day.asked != other.asked);
        let first = day.asked.iter().filter(|object| **object < 1000).count();
        assert!((30_000..40_000).contains(&first), "a tenth of the objects: {first}");
        assert!((7_000..9_500).contains(&day.different()), "{}", day.different());
        let mean = (0..10_000).map(size).sum::<usize>() / 10_000;
        assert!((9_000..10_500).contains(&mean), "{mean}");
    }

    #[test]
    fn clients_share_the_order() {
        let paths = Paths::new("r1", 7);
        let other = paths.clone();
        let origin = SocketAddr::from(([127, 0, 0, 1], 9));
        let next = |paths: &Paths| {
            let (request, body) = paths.next(origin, "");
            let line = String::from_utf8(request).unwrap().lines().next().unwrap().to_owned();
            (line, body)
        };
        let asked = |path: &str| format!("GET http://127.0.0.1:9{path} HTTP/1.1");
        assert_eq!(next(&paths), (asked("/r1-0/c/7"), 7));
        assert_eq!(next(&other), (asked("/r1-1/c/7"), 7));
        let one = Paths::one("/b/3", 3);
        assert_eq!((next(&one), next(&one)), ((asked("/b/3"), 3), (asked("/b/3"), 3)));
        let various = Paths::various(5);
        assert_eq!(next(&various).0, "GET http://h0.test/0/b/5 HTTP/1.1");
        let (second, body) = various.next(origin, "A: b\r\n");
        let second = String::from_utf8(second).unwrap();
        assert!(second.contains("\r\nHost: h1.test\r\n") && body == 5, "{second}");
        assert!(second.ends_with("X-User: u1\r\nA: b\r\n\r\n"), "{second}");
    }
}
