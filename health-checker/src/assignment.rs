//! Which checkers probe which target: the same answer on every checker, with nobody to ask.
//!
//! Rendezvous hashing (Thaler and Ravishankar, 1998): every checker scores every target and the
//! highest scores win, so that a checker that comes or goes moves only its own share.

use sha2::{Digest, Sha256};

/// Checkers that look at one target. An odd number, so that a majority is one more than a minority;
/// five survive two dead checkers.
pub const CHECKERS_PER_TARGET: usize = 5;

/// Whether `checker` looks at `target`, and how many checkers do. `checkers` are the names of all
/// live ones; one that does not find itself among them (its registration has not come round yet)
/// counts itself in.
#[must_use]
pub fn assigned(checker: &str, checkers: &[String], target: &str) -> (bool, u32) {
    let mut scored: Vec<(u64, &str)> =
        checkers.iter().map(|name| (score(name, target), name.as_str())).collect();
    if !checkers.iter().any(|name| name == checker) {
        scored.push((score(checker, target), checker));
    }
    scored.sort_unstable_by(|left, right| right.cmp(left));
    scored.truncate(CHECKERS_PER_TARGET);
    let mine = scored.iter().any(|(_, name)| *name == checker);
    (mine, u32::try_from(scored.len()).unwrap_or(u32::MAX))
}

/// A number that every checker computes alike from two names.
#[must_use]
pub fn score(checker: &str, target: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(checker.as_bytes());
    hash.update([0]);
    hash.update(target.as_bytes());
    let digest = hash.finalize();
    u64::from_be_bytes(std::array::from_fn(|place| digest[place]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("checker-{number}")).collect()
    }

    #[test]
    fn few_checkers_look_at_everything() {
        for count in 1..=CHECKERS_PER_TARGET {
            let checkers = names(count);
            for checker in &checkers {
                assert_eq!(
                    assigned(checker, &checkers, "node-1"),
                    (true, u32::try_from(count).unwrap())
                );
            }
        }
    }

    #[test]
    fn many_checkers_share_the_targets() {
        let checkers = names(20);
        let mut load = vec![0; checkers.len()];
        for target in (0..400).map(|number| format!("node-{number}")) {
            let chosen: Vec<_> = (0..checkers.len())
                .filter(|&place| assigned(&checkers[place], &checkers, &target).0)
                .collect();
            assert_eq!(chosen.len(), CHECKERS_PER_TARGET, "{target}");
            chosen.into_iter().for_each(|place| load[place] += 1);
        }
        assert!(load.iter().all(|&count| (60..140).contains(&count)), "uneven: {load:?}");
    }

    #[test]
    fn a_leaving_checker_moves_only_its_own_share() {
        let (all, fewer) = (names(10), names(9));
        for target in (0..200).map(|number| format!("node-{number}")) {
            for checker in &fewer {
                let (before, after) =
                    (assigned(checker, &all, &target).0, assigned(checker, &fewer, &target).0);
                assert!(after || !before, "{checker} lost {target}");
            }
        }
    }

    #[test]
    fn an_unregistered_checker_counts_itself_in() {
        assert_eq!(assigned("checker-9", &names(2), "node-1"), (true, 3));
    }
}
