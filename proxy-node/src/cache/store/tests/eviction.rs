//! What is kept beside a cache that keeps what was used last (LRU), in the same memory, on requests
//! by Zipf's law, and on the same with crawls through what nobody else asks for. What `foyer` makes
//! of the same requests is in `docs/decisions/disk-tier.md`.

use std::collections::{BTreeMap, HashMap};

use super::*;

const CAPACITY: u64 = 16 << 20;
const OBJECTS: u32 = 20_000;
const REQUESTS: usize = 60_000;
/// Zipf's exponent of what proxies are asked for.
const EXPONENT: f64 = 0.9;
/// A crawl is so many objects, once in so many requests.
const CRAWL: u32 = 2000;
const CRAWL_EVERY: usize = 10_000;

/// The object of each request.
fn asked(seed: u64, crawls: bool) -> Vec<u32> {
    let (mut random, mut sum) = (SmallRng::seed_from_u64(seed), 0.0);
    let sums: Vec<f64> = (1..=OBJECTS)
        .map(|rank| {
            sum += f64::from(rank).powf(-EXPONENT);
            sum
        })
        .collect();
    let (mut asked, mut next) = (Vec::new(), OBJECTS);
    for number in 0..REQUESTS {
        if crawls && number % CRAWL_EVERY == CRAWL_EVERY / 2 {
            asked.extend(next..next + CRAWL);
            next += CRAWL;
        }
        let drawn = random.random_range(0.0..sum);
        asked.push(u32::try_from(sums.partition_point(|it| *it < drawn)).unwrap());
    }
    asked
}

fn size(object: u32) -> usize {
    const SIZES: [usize; 10] = [1, 1, 2, 2, 4, 4, 8, 8, 16, 48];
    SIZES[(object.wrapping_mul(2_654_435_761) >> 16) as usize % SIZES.len()] << 10
}

/// Hits of the store, and what it counts for an object beside its body.
fn of_the_store(asked: &[u32]) -> (usize, u64) {
    let store = Store::new(CAPACITY);
    let (mut hits, mut beside) = (0, 0);
    for number in asked {
        let path = format!("/{number}");
        if store.find(&key(&path), NOTHING.into_iter()).is_some() {
            hits += 1;
            continue;
        }
        let object = object(&path, filled(&store, size(*number)), Selection::default());
        beside = object.bytes() - size(*number) as u64;
        assert!(lead(&store, &path).store(&object));
    }
    (hits, beside)
}

/// Hits of a cache of the same size that gives up what was used least recently.
fn of_least_recently_used(asked: &[u32], beside: u64) -> usize {
    let (mut uses, mut order, mut used, mut hits) =
        (HashMap::<u32, usize>::new(), BTreeMap::<usize, u32>::new(), 0, 0);
    let cost = |number: u32| size(number) as u64 + beside;
    for (now, number) in asked.iter().enumerate() {
        match uses.insert(*number, now) {
            Some(last) => {
                hits += 1;
                order.remove(&last);
            }
            None => used += cost(*number),
        }
        order.insert(now, *number);
        while used > CAPACITY {
            let (_, oldest) = order.pop_first().unwrap();
            uses.remove(&oldest);
            used -= cost(oldest);
        }
    }
    hits
}

#[test]
fn more_is_hit_than_by_keeping_what_was_used_last() {
    for crawls in [false, true] {
        let asked = asked(7, crawls);
        let (ours, beside) = of_the_store(&asked);
        let theirs = of_least_recently_used(&asked, beside);
        let share = |hits: usize| hits as f64 * 100.0 / asked.len() as f64;
        println!(
            "{} requests, crawls: {crawls}, {beside} bytes beside a body: {:.1} % hits, LRU {:.1}",
            asked.len(),
            share(ours),
            share(theirs)
        );
        assert!(ours as f64 >= theirs as f64 * 1.08, "{ours} {theirs}");
    }
}
