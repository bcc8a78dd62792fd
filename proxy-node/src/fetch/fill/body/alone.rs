//! Whether a fetch goes on that nobody waits for any more: Squid's `quick_abort_min`,
//! `quick_abort_max` and `quick_abort_pct`. Pure.

use cluster_config::document::proxy::QuickAbort;

/// Bodies below this are too small for a percentage, and go on.
const SMALL: u64 = 100;

/// Whether the rest of a body is worth fetching: `came` bytes of the `declared` ones are there.
pub(super) fn goes_on(rules: &QuickAbort, declared: Option<u64>, came: u64) -> bool {
    let Some(left) = declared.and_then(|declared| declared.checked_sub(came)) else {
        return false;
    };
    let whole = left + came;
    if left < rules.min {
        return true;
    }
    left <= rules.max
        && (whole < SMALL || u128::from(came) * 100 > u128::from(whole) * u128::from(rules.percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on() {
        let usual = QuickAbort { min: 16 << 10, max: 16 << 10, percent: 95 };
        let wide = QuickAbort { min: 1000, max: 1 << 20, percent: 50 };
        let never = QuickAbort { min: 0, max: 0, percent: 100 };
        let always = QuickAbort { min: u64::MAX, max: 0, percent: 0 };
        let cases = [
            ("little is left", usual, Some(1 << 20), (1 << 20) - 100, true),
            ("exactly min is left", usual, Some(1 << 20), (1 << 20) - (16 << 10), true),
            ("much is left", usual, Some(1 << 20), 1 << 19, false),
            ("nothing has come", usual, Some(1 << 30), 0, false),
            (
                "most has come, and more than max is left",
                usual,
                Some(1 << 30),
                1_060_000_000,
                false,
            ),
            ("half has come", wide, Some(10_000), 5000, false),
            ("more than half has come", wide, Some(10_000), 5001, true),
            ("more than half, but more than max is left", wide, Some(1 << 30), 1 << 29, false),
            ("less than min is left", wide, Some(10_000), 9001, true),
            ("of unknown length", always, None, 5, false),
            ("more than was declared", always, Some(4), 5, false),
            ("always", always, Some(1 << 40), 0, true),
            ("all has come", never, Some(100), 100, false),
            ("the end has come of a small one", never, Some(99), 99, true),
        ];
        for (name, rules, declared, came, goes_on) in cases {
            assert_eq!(super::goes_on(&rules, declared, came), goes_on, "{name}");
        }
    }
}
