//! Medians with their spread, ratios of interleaved rounds, quantiles. Pure.

use std::time::Duration;

/// Median with its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The value in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

/// The spread of some values; none of none.
pub fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let median = if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], upper)
    } else {
        upper
    };
    Some(Spread { median, least: values[0], greatest: values[values.len() - 1] })
}

/// The spread of what `of` makes of two contenders' values of the same round: what slowed the
/// machine down in one round slowed both.
pub fn paired(ours: &[f64], theirs: &[f64], of: impl Fn(f64, f64) -> f64) -> Option<Spread> {
    spread(ours.iter().zip(theirs).map(|(ours, theirs)| of(*ours, *theirs)).collect())
}

/// The value that `share` (0 to 1) of the sorted values did not exceed.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_samples() {
        assert_eq!(
            spread(vec![3.0, 1.0, 2.0]),
            Some(Spread { median: 2.0, least: 1.0, greatest: 3.0 })
        );
        assert_eq!(
            spread(vec![4.0, 1.0, 2.0, 3.0]),
            Some(Spread { median: 2.5, least: 1.0, greatest: 4.0 })
        );
        assert_eq!(spread(Vec::new()), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        // Everything took twice as long in the second round; the ratio did not change.
        let ratio = paired(&[5.0, 10.0, 5.0], &[10.0, 20.0, 10.0], |ours, theirs| ours / theirs);
        assert_eq!(ratio, Some(Spread { median: 0.5, least: 0.5, greatest: 0.5 }));
        assert_eq!(paired(&[1.0], &[], |ours, theirs| ours - theirs), None);
    }

    #[test]
    fn quantiles_of_few_and_of_none() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!(quantile(&sorted, 0.5), Duration::from_micros(51));
        assert_eq!(quantile(&sorted, 1.0), Duration::from_micros(100));
        assert_eq!(quantile(&[], 0.99), Duration::ZERO);
    }
}
