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
}

/// The place of the parent to ask now, of those that are still `open` to the request. `identity` is
/// a hash of the parent at a place.
pub fn next(
    groups: &[Group],
    seed: Seed,
    alive: impl Fn(usize) -> bool,
    identity: impl Fn(usize) -> u64,
    open: impl Fn(usize) -> bool,
) -> Option<usize> {
    let of = |group: &Group| match group.select {
        Select::First => group.places.clone().find(|place| alive(*place) && open(*place)),
        Select::RoundRobin => {
            let living = || group.places.clone().filter(|place| alive(*place));
            let begin =
                living().count().checked_sub(1).map_or(0, |last| seed.turn as usize % (last + 1));
            living().skip(begin).chain(living().take(begin)).find(|place| open(*place))
        }
        Select::Carp => {
            let best = group.places.clone().filter(|place| alive(*place) && open(*place));
            best.max_by_key(|place| mix(seed.url ^ identity(*place)))
        }
    };
    let end = groups.last().map_or(0, |group| group.places.end);
    groups.iter().find_map(of).or_else(|| (0..end).find(|place| open(*place)))
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
            |place| hash(format!("parent-{place}").as_bytes()),
            |place| !asked.contains(&place),
        ) {
            asked.push(place);
        }
        asked
    }

    fn turn(turn: u32) -> Seed {
        Seed { turn, url: 0 }
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
    fn the_hash_is_the_same_everywhere() {
        assert_eq!((hash(b""), hash(b"a")), (0xc381_7c01_6ba4_ff30, 0x5f29_c2aa_dd9b_8527));
    }
}
