//! In which order a request asks the parents. Pure.
//!
//! Parents that follow each other in the bundle with the same `select` are one group; groups are
//! asked in the order of the bundle, and within a group the living as it says. Who is dead comes
//! last, whatever its group: a later group is a way out as long as one of it lives.

use std::ops::Range;

use cluster_config::document::proxy::Select;
use dataplane::hash::mix;

/// Parents that share a way of being selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    select: Select,
    places: Range<usize>,
}

/// The groups of parents with these ways of being selected.
#[must_use]
pub fn groups(selects: impl Iterator<Item = Select>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, select) in selects.enumerate() {
        match groups.last_mut().filter(|group| group.select == select) {
            Some(group) => group.places.end = place + 1,
            None => groups.push(Group { select, places: place..place + 1 }),
        }
    }
    groups
}

/// What of a request decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// How many requests there were before it.
    pub turn: u32,
    /// The hash of its URL.
    pub url: u64,
    /// The hash of its client's address.
    pub source: u64,
}

/// The place of the parent to ask now, of those that are still `open` to the request. `identity` is
/// a hash of the parent at a place, with its weight.
pub fn next(
    groups: &[Group],
    seed: Seed,
    alive: impl Fn(usize) -> bool,
    identity: impl Fn(usize) -> (u64, u32),
    open: impl Fn(usize) -> bool,
) -> Option<usize> {
    let rendezvous = |group: &Group, key: u64| {
        let best = group.places.clone().filter(|place| alive(*place) && open(*place));
        best.max_by(|one, other| {
            let score = |place: usize| {
                let (name, weight) = identity(place);
                score(mix(key ^ name), weight)
            };
            score(*one).total_cmp(&score(*other))
        })
    };
    let of = |group: &Group| match group.select {
        Select::First => group.places.clone().find(|place| alive(*place) && open(*place)),
        Select::RoundRobin => {
            let living = || group.places.clone().filter(|place| alive(*place));
            let begin = turn(seed.turn, living().map(|place| identity(place).1));
            living().skip(begin).chain(living().take(begin)).find(|place| open(*place))
        }
        Select::Carp => rendezvous(group, seed.url),
        Select::Source => rendezvous(group, seed.source),
    };
    let end = groups.last().map_or(0, |group| group.places.end);
    groups.iter().find_map(of).or_else(|| (0..end).find(|place| open(*place)))
}

/// Whose turn it is of parents with these weights. Those that are equal follow each other; the
/// turns of others are spread evenly, by the multiples of the golden ratio.
fn turn(number: u32, weights: impl Iterator<Item = u32> + Clone) -> usize {
    let Some(first) = weights.clone().next() else { return 0 };
    if weights.clone().all(|weight| weight == first) {
        return number as usize % weights.count();
    }
    let sum: u64 = weights.clone().map(u64::from).sum();
    let spread = u64::from(number.wrapping_mul(0x9E37_79B9));
    let at = (spread * sum) >> 32;
    let until = weights.scan(0, |before, weight| {
        *before += u64::from(weight);
        Some(*before)
    });
    until.take_while(|end| *end <= at).count()
}

/// How much a parent of this weight is the one for a key, by the hash of both: each gets its share
/// by weight, and one that goes moves nothing but that (weighted rendezvous hashing).
fn score(hash: u64, weight: u32) -> f64 {
    #[allow(clippy::cast_precision_loss)] // 53 bits are all that a float has
    let within = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight.max(1)) / within.ln()
}

#[cfg(test)]
mod tests {
    use Select::{Carp, First, RoundRobin};
    use dataplane::hash::hash;

    use super::*;

    /// All of them, in the order in which a request would ask.
    fn order(selects: &[Select], seed: Seed, dead: &[usize]) -> Vec<usize> {
        let (groups, mut asked) = (groups(selects.iter().copied()), Vec::new());
        while let Some(place) = next(
            &groups,
            seed,
            |place| !dead.contains(&place),
            |place| (hash(format!("parent-{place}").as_bytes()), 1),
            |place| !asked.contains(&place),
        ) {
            asked.push(place);
        }
        asked
    }

    fn turn(turn: u32) -> Seed {
        Seed { turn, ..Seed::default() }
    }

    #[test]
    fn first_and_in_turn() {
        for (selects, seed, dead, want) in [
            (&[First, First, First][..], turn(7), &[][..], &[0, 1, 2][..]),
            (&[First, First, First], turn(7), &[0], &[1, 2, 0]),
            (&[RoundRobin, RoundRobin, RoundRobin], turn(0), &[], &[0, 1, 2]),
            (&[RoundRobin, RoundRobin, RoundRobin], turn(1), &[], &[1, 2, 0]),
            (&[RoundRobin, RoundRobin, RoundRobin], turn(5), &[], &[2, 0, 1]),
            // The living share what the dead one would have had.
            (&[RoundRobin, RoundRobin, RoundRobin], turn(0), &[1], &[0, 2, 1]),
            (&[RoundRobin, RoundRobin, RoundRobin], turn(1), &[1], &[2, 0, 1]),
            (&[RoundRobin, RoundRobin, RoundRobin], turn(2), &[1], &[0, 2, 1]),
            // A later group is the way out of an earlier one; the dead come last.
            (&[RoundRobin, RoundRobin, First], turn(1), &[], &[1, 0, 2]),
            (&[RoundRobin, RoundRobin, First], turn(1), &[0, 1], &[2, 0, 1]),
            (&[First, RoundRobin, RoundRobin], turn(1), &[0], &[2, 1, 0]),
            (&[First, RoundRobin, RoundRobin], turn(u32::MAX), &[0, 1, 2], &[0, 1, 2]),
            (&[], turn(0), &[], &[]),
        ] {
            assert_eq!(order(selects, seed, dead), want, "{selects:?} {seed:?} {dead:?}");
        }
    }

    #[test]
    fn a_url_has_a_parent_and_loses_it_only_with_that_parent() {
        let seed = |number: u32| Seed {
            turn: number,
            url: hash(format!("http://a.test/{number}").as_bytes()),
            source: 0,
        };
        let (mut share, mut moved) = ([0; 4], 0);
        for number in 0..4000 {
            let (before, without, fewer) = (
                order(&[Carp; 4], seed(number), &[])[0],
                order(&[Carp; 4], seed(number), &[3])[0],
                order(&[Carp; 3], seed(number), &[])[0],
            );
            assert_eq!(
                before,
                order(&[Carp; 4], Seed { turn: 0, ..seed(number) }, &[])[0],
                "whatever came before"
            );
            assert_eq!(without, fewer);
            assert!(
                before == 3 || without == before,
                "{number}: only what the dead one had goes to others"
            );
            share[before] += 1;
            moved += u32::from(without != before);
        }
        assert!(share.iter().all(|count| (850..1150).contains(count)), "{share:?}");
        assert_eq!(moved, share[3]);
    }

    #[test]
    fn shares_follow_the_weights_and_clients_keep_their_parent() {
        let weights = [3, 1, 2];
        let pick = |select: Select, seed: Seed, dead: Option<usize>| {
            let identity = |place: usize| (hash(format!("p-{place}").as_bytes()), weights[place]);
            let alive = |place: usize| Some(place) != dead;
            next(&groups([select; 3].into_iter()), seed, alive, identity, |_| true).unwrap()
        };
        for select in [RoundRobin, Carp, Select::Source] {
            let mut share = [0_u32; 3];
            for number in 0..6000_u32 {
                let key = mix(u64::from(number));
                let seed = Seed { turn: number, url: key, source: mix(key) };
                let (before, without) = (pick(select, seed, None), pick(select, seed, Some(2)));
                share[before] += 1;
                assert!(select == RoundRobin || before == without || before == 2, "{number}");
            }
            for (got, weight) in share.into_iter().zip(weights) {
                assert!(got.abs_diff(weight * 1000) < 150, "{select:?} {share:?}");
            }
        }
        // Nobody has many turns in a row that others wait for.
        let turns: Vec<_> =
            (0..60).map(|turn| pick(RoundRobin, Seed { turn, ..Seed::default() }, None)).collect();
        assert!(turns.windows(5).all(|it| it.iter().any(|place| *place != it[0])), "{turns:?}");
        // By source: whatever is asked for.
        let of = |url| pick(Select::Source, Seed { turn: 0, url, source: 7 }, None);
        assert!((0..100).all(|url| of(mix(url)) == of(0)));
    }

    #[test]
    fn the_hash_is_the_same_everywhere() {
        assert_eq!((hash(b""), hash(b"a")), (0xc381_7c01_6ba4_ff30, 0x5f29_c2aa_dd9b_8527));
    }
}
