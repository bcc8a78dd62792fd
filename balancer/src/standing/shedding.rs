//! How much of its weight a node gets that says how full it is: all of it up to a threshold, and
//! evenly less above, never nothing. Pure.
//!
//! A node tells in its answer to this balancer's own check (`Shoal-Load`, percent of whatever of
//! its processor, descriptors and memory is nearest to its limit). So it costs no request anything,
//! is as fresh as the check, and needs neither registry nor traffic: a node that gets nothing tells
//! when it has room again, which it could not in its responses.

use std::time::{Duration, Instant};

/// What a node that is full gets. Its share has to be something, so that requests go on telling
/// whether it still is, and it takes what it can when everybody is full.
const LEAST: u32 = 10;
/// The share changes in steps of so many percent, as each of them makes a plan.
const STEP: u32 = 5;

/// Percent of its weight that is right for a node which is so full, in percent.
#[must_use]
pub fn target(load: u8, threshold: u8) -> u8 {
    let (load, threshold) = (u32::from(load.min(100)), u32::from(threshold.min(100)));
    let Some(above) = load.checked_sub(threshold).filter(|above| *above > 0) else { return 100 };
    let exact = 100 - (100 - LEAST) * above / (100 - threshold);
    let percent = exact - exact % STEP;
    u8::try_from(percent.max(LEAST)).unwrap_or(100)
}

/// One server's share on its way to the one that is right. A share that changes changes the load,
/// which it follows: so it goes down by a quarter of the way, and up by one step where that is far
/// enough away, each time the server may have told something new, and does not swing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shedding {
    percent: u8,
    moved: Option<Instant>,
}

impl Default for Shedding {
    fn default() -> Self {
        Self { percent: 100, moved: None }
    }
}

impl Shedding {
    /// Takes into account how full the server says that it is, which it says so often.
    pub fn look(&mut self, load: u8, threshold: u8, every: Duration, now: Instant) -> u8 {
        let due = self.moved.is_none_or(|at| now.saturating_duration_since(at) >= every);
        let next = step(self.percent, target(load, threshold));
        if due && next != self.percent {
            (self.percent, self.moved) = (next, Some(now));
        }
        self.percent
    }
}

/// The share after one step towards another.
fn step(percent: u8, target: u8) -> u8 {
    let unit = STEP as u8;
    if target < percent {
        percent - ((percent - target) / 4 / unit * unit).max(unit).min(percent - target)
    } else if target == 100 || target > percent.saturating_add(3 * unit) {
        percent.saturating_add(unit).min(target)
    } else {
        percent
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    #[test]
    fn shares() {
        for (load, threshold, share) in [
            (0, 80, 100),
            (80, 80, 100),
            (81, 80, 95),
            (90, 80, 55),
            (100, 80, 10),
            (255, 80, 10),
            (100, 100, 100),
            (50, 0, 55),
        ] {
            assert_eq!(target(load, threshold), share, "{load} of {threshold}");
        }
    }

    /// Three nodes, of which one has a third of the others' strength, under a demand that would
    /// take it to 150 %: the loads come to rest, and it is used as much as it can be.
    #[test]
    fn loads_come_to_rest() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let strengths = [1.0, 1.0, 0.34];
            let demand = 1.2 + random.f64() * 0.5;
            let mut told = [0.0_f64; 3];
            let mut sheddings = [Shedding::default(); 3];
            let (mut now, mut seen) = (relay::clock::now(), Vec::new());
            for turn in 0..200 {
                now += EVERY;
                let looked = sheddings.iter_mut().zip(told);
                let shares: Vec<_> = looked
                    .map(|(it, load)| f64::from(it.look(load.round() as u8, 80, EVERY, now)))
                    .collect();
                let sum: f64 = shares.iter().sum();
                for (index, strength) in strengths.iter().enumerate() {
                    let noise = 0.97 + random.f64() * 0.06;
                    let load = (demand * shares[index] / sum / strength * noise).min(1.0) * 100.0;
                    // Nodes tell an average of the last seconds.
                    told[index] = told[index].mul_add(0.2, load * 0.8);
                }
                if turn > 100 {
                    seen.push(sheddings[2].percent);
                    assert!(told.iter().all(|load| *load < 99.0), "seed {seed}: {told:?}");
                }
            }
            let (least, most) = (seen.iter().min(), seen.iter().max());
            let swing = most.zip(least).map(|(most, least)| most - least);
            assert!(swing.is_some_and(|swing| swing <= 15), "seed {seed}: {seen:?}");
            assert!(told[2] > 70.0, "seed {seed}: {told:?}");
        }
    }

    proptest! {
        /// Whatever the load, the share gets there and stays.
        #[test]
        fn a_steady_load_has_a_steady_share(load in 0_u8..=100, from in 0_u8..=100) {
            let (mut shedding, mut now) = (Shedding::default(), relay::clock::now());
            let mut last = 0;
            for turn in 0..120 {
                now += EVERY;
                last = shedding.look(if turn < 60 { from } else { load }, 80, EVERY, now);
                prop_assert!((10..=100).contains(&last));
            }
            let right = target(load, 80);
            prop_assert!(last <= right && last + 15 >= right, "{} for {}", last, right);
            prop_assert!(right < 100 || last == 100);
            prop_assert_eq!(shedding.look(load, 80, EVERY, now + EVERY), last);
        }

        #[test]
        fn it_never_grows_with_the_load_and_is_never_nothing(
            load in 0_u8..=254,
            threshold in 0_u8..=100,
        ) {
            let share = target(load, threshold);
            prop_assert!((10..=100).contains(&share));
            prop_assert!(target(load + 1, threshold) <= share);
            prop_assert!(threshold == 100 || target(load, threshold + 1) >= share);
            prop_assert!(load > threshold || share == 100);
        }
    }
}
