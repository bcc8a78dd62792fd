//! The better one of two servers that are drawn by weight: nearly as even as asking everybody, and
//! it sends no crowd to the one that looks best (Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001).

use super::plan::Tier;

/// Draws that may hit somebody who may not be picked, before everybody is looked at.
const DRAWS: usize = 8;

/// Picks a place of the tier. `better` compares two places; `may` is asked by place.
pub fn pick(
    tier: &Tier,
    random: &mut fastrand::Rng,
    better: impl Fn(usize, usize) -> bool,
    may: impl Fn(usize) -> bool,
) -> Option<usize> {
    let one = draw(tier, random, &may)?;
    let Some(other) = draw(tier, random, |place| place != one && may(place)) else {
        return Some(one);
    };
    Some(if better(other, one) { other } else { one })
}

/// One of those that may be picked, by weight. After some draws in vain it is the first of them: so
/// few are left then that it hardly matters who.
fn draw(tier: &Tier, random: &mut fastrand::Rng, may: impl Fn(usize) -> bool) -> Option<usize> {
    let sums = tier.sums();
    let total = *sums.last()?;
    (0..DRAWS)
        .map(|_| {
            let at = random.u64(..total);
            sums.partition_point(|sum| *sum <= at)
        })
        .find(|place| may(*place))
        .or_else(|| (0..sums.len()).find(|place| may(*place)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::Standing;

    fn tier(weights: &[u32]) -> Tier {
        Tier::new(Standing::Usable, weights.iter().copied().enumerate().collect())
    }

    #[test]
    fn draws_follow_the_weights() {
        let (tier, mut random) = (tier(&[6, 3, 1]), fastrand::Rng::with_seed(7));
        let mut counts = [0_i32; 3];
        for _ in 0..10_000 {
            counts[draw(&tier, &mut random, |_| true).expect("somebody")] += 1;
        }
        for (count, expected) in counts.into_iter().zip([6_000, 3_000, 1_000]) {
            assert!((count - expected).abs() < 300, "{counts:?}");
        }
    }

    #[test]
    fn the_better_one_of_two() {
        let (tier, mut random) = (tier(&[1, 1]), fastrand::Rng::with_seed(7));
        for _ in 0..100 {
            assert_eq!(pick(&tier, &mut random, |a, b| a > b, |_| true), Some(1));
        }
        assert_eq!(pick(&tier, &mut random, |a, b| a > b, |place| place == 0), Some(0));
        assert_eq!(pick(&tier, &mut random, |_, _| true, |_| false), None);
    }

    #[test]
    fn the_only_one_that_is_left_is_found() {
        let (tier, mut random) = (tier(&[1; 1000]), fastrand::Rng::with_seed(7));
        assert_eq!(pick(&tier, &mut random, |_, _| false, |place| place == 777), Some(777));
    }
}
