//! The plausibility guard: an implausible loss of members is not believed.
//!
//! A *pool* is the members of one service that are or were ready and that nobody asked to leave. A
//! member has a *loss* when its lease lapsed or its checkers find it critical. A loss is *believed*
//! (acted on) when, with it, at least the panic threshold of the pool remains in use; otherwise it
//! is *held*, and the member stays what it was.
//!
//! The rules, and why they are these:
//! - **The order of the evidence decides**, not how often somebody looks: losses are weighed oldest
//!   first, so three members that are lost within one look are treated like three lost one after
//!   the other.
//! - **Held members remain in use**, so they count among those that remain. With a threshold of 50
//!   %, one of two or three may go and five of ten; the last one never goes: the last resort is to
//!   try an unwell member, never to refuse.
//! - **What is believed stays believed** until its evidence is gone. It was plausible when it was
//!   believed, and what remained then is what the guard protects from then on; taking it back when
//!   more follows would send traffic to members that are known to be gone.
//! - **A held loss is believed later** when the pool can bear it: when others came back or were
//!   added, or when an operator accepts it.
//! - Who removes lost members after their time must not do so while the pool is holding, or time
//!   alone would erode the pool: see [`Judgement::holding`].

use jiff::Timestamp;

use crate::instance::Service;

/// The share of a pool, in percent, that involuntary losses must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold(u8);

impl Threshold {
    /// Half of the pool.
    pub const DEFAULT: Self = Self(50);

    /// `None` above 100. 0 believes every loss, 100 none.
    #[must_use]
    pub const fn percent(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// In percent.
    #[must_use]
    pub const fn as_percent(self) -> u8 {
        self.0
    }

    /// Whether `remaining` of `members` are enough.
    #[must_use]
    pub fn is_met(self, remaining: usize, members: usize) -> bool {
        remaining as u128 * 100 >= members as u128 * u128::from(self.0)
    }
}

impl Default for Threshold {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Whether losses of this service's members are weighed at all. They are where the pool carries
/// clients' traffic, because believing a wrong loss there overloads the rest. Callers of control
/// services try one instance after the other whatever its state, so that there the plain truth
/// helps more: a lone config-service that died is `lost`, not `usable` for ever.
#[must_use]
pub const fn is_guarded(service: Service) -> bool {
    matches!(service, Service::ProxyNode | Service::Balancer)
}

/// The loss of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Since when there is evidence for it.
    pub since: Timestamp,
    /// Whether it has been acted on.
    pub believed: bool,
}

/// One member of a pool, as the guard sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name: breaks ties.
    pub name: &'a str,
    /// Evidence against it.
    pub loss: Option<Loss>,
}

/// What to do about a pool's losses. The numbers are positions in the slice that was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Losses to act on now.
    pub believe: Vec<usize>,
    /// Losses held back.
    pub held: Vec<usize>,
    /// All members.
    pub members: usize,
    /// Members without a loss.
    pub well: usize,
}

impl Judgement {
    /// Whether losses are held back.
    #[must_use]
    pub fn holding(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Weighs the losses of one pool.
#[must_use]
pub fn judge(threshold: Threshold, pool: &[Member<'_>]) -> Judgement {
    let mut judgement = Judgement { members: pool.len(), ..Judgement::default() };
    let mut in_use = pool.len();
    let mut open = Vec::new();
    for (position, member) in pool.iter().enumerate() {
        match member.loss {
            None => judgement.well += 1,
            Some(Loss { believed: true, .. }) => in_use -= 1,
            Some(Loss { since, believed: false }) => open.push((since, member.name, position)),
        }
    }
    open.sort_unstable();
    for (_, _, position) in open {
        if threshold.is_met(in_use - 1, pool.len()) {
            in_use -= 1;
            judgement.believe.push(position);
        } else {
            judgement.held.push(position);
        }
    }
    judgement
}

/// Says what is held back and what to do about it; empty when nothing is held.
#[must_use]
pub fn explain(
    service: Service,
    threshold: Threshold,
    judgement: &Judgement,
    held: &[String],
) -> String {
    if held.is_empty() {
        return String::new();
    }
    format!(
        "{} of {} {service} instances are well, which is implausible: acting on the loss of {} \
         would leave less than {} % of the pool in use. \
         They stay in use. If they are really gone, confirm it with `shoal node accept-losses \
         {service}`, or take each out with \
         `shoal node disable NAME`; otherwise look at the network between them and the registry \
         and the checkers.",
        judgement.well,
        judgement.members,
        held.join(", "),
        threshold.as_percent(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// `.` well, `B` lost and believed, a digit: lost since that second, not yet believed.
    fn pool(picture: &str) -> Vec<Member<'static>> {
        const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        let loss = |sign: char| match sign {
            '.' => None,
            'B' => Some(Loss { since: at(0), believed: true }),
            digit => Some(Loss {
                since: at(i64::from(digit.to_digit(10).expect("a digit"))),
                believed: false,
            }),
        };
        picture.chars().zip(NAMES).map(|(sign, name)| Member { name, loss: loss(sign) }).collect()
    }

    #[test]
    fn implausible_losses_are_held() {
        // (percent, pool, believed now, held)
        let cases: [(u8, &str, &[usize], &[usize]); 19] = [
            (50, "", &[], &[]),
            (50, "...", &[], &[]),
            (50, "1..", &[0], &[]),     // one of three
            (50, "12.", &[0], &[1]),    // two of three at once
            (50, "21.", &[1], &[0]),    // the older evidence first
            (50, "11.", &[0], &[1]),    // equally old: by name
            (50, "B2.", &[], &[1]),     // one after the other comes to the same
            (50, "111", &[0], &[1, 2]), // the registry is partitioned from all
            (50, "B23", &[], &[1, 2]),  //
            (50, "1", &[], &[0]),       // the last one is never lost
            (50, "1.", &[0], &[]),      // one of two
            (50, "11", &[0], &[1]),     //
            (50, "B1", &[], &[1]),      //
            (50, "11111.....", &[0, 1, 2, 3, 4], &[]),
            (50, "111111....", &[0, 1, 2, 3, 4], &[5]),
            (50, "B2..", &[1], &[]), // somebody came: what was held can go
            // Believed stays believed even when others were asked to leave meanwhile.
            (50, "BB2.", &[], &[2]),
            (0, "111", &[0, 1, 2], &[]), // the guard is off
            (100, "1..", &[], &[0]),     // nothing is ever believed
        ];
        for (percent, picture, believe, held) in cases {
            let judgement =
                judge(Threshold::percent(percent).expect("a percentage"), &pool(picture));
            assert_eq!(
                (&judgement.believe[..], &judgement.held[..]),
                (believe, held),
                "{percent} % of {picture:?}"
            );
            assert_eq!(judgement.members, picture.len());
            assert_eq!(judgement.well, picture.matches('.').count());
        }
    }

    /// Every pool of up to seven members whose losses have at most three ages: at once, or look by
    /// look, the decisions are the same, nothing implausible is believed, and nothing bearable is
    /// held.
    #[test]
    fn all_small_pools() {
        for length in 0..=7u32 {
            for number in 0..4usize.pow(length) {
                let picture: String = (0..length)
                    .map(|place| ['.', '1', '2', '3'][number / 4usize.pow(place) % 4])
                    .collect();
                for percent in [0, 34, 50, 67, 100] {
                    let threshold = Threshold::percent(percent).expect("a percentage");
                    let whole = pool(&picture);
                    let at_once = judge(threshold, &whole);
                    let in_use = length as usize - at_once.believe.len();
                    assert!(
                        at_once.believe.is_empty() || threshold.is_met(in_use, length as usize),
                        "{percent} % of {picture:?}"
                    );
                    assert!(
                        !at_once.holding() || !threshold.is_met(in_use - 1, length as usize),
                        "{percent} % of {picture:?}"
                    );
                    assert_eq!(
                        at_once.well + at_once.believe.len() + at_once.held.len(),
                        length as usize
                    );
                    let (mut believe, mut looked) = look_by_look(threshold, &whole);
                    believe.sort_unstable();
                    looked.believe = at_once.believe.clone();
                    let mut expected = at_once.believe.clone();
                    expected.sort_unstable();
                    assert_eq!(
                        (believe, looked),
                        (expected, at_once),
                        "{percent} % of {picture:?}"
                    );
                }
            }
        }
    }

    /// The same evidence, seen as it comes in.
    fn look_by_look(threshold: Threshold, whole: &[Member<'static>]) -> (Vec<usize>, Judgement) {
        let (mut believed, mut last) = (Vec::new(), Judgement::default());
        for now in 1..=3 {
            let seen = |(position, member): (usize, &Member<'static>)| {
                let loss = member.loss.filter(|loss| loss.since <= at(now));
                Member {
                    name: member.name,
                    loss: loss.map(|loss| Loss { believed: believed.contains(&position), ..loss }),
                }
            };
            let known: Vec<_> = whole.iter().enumerate().map(seen).collect();
            last = judge(threshold, &known);
            believed.extend(last.believe.iter().copied());
        }
        (believed, last)
    }

    #[test]
    fn only_percentages() {
        assert_eq!(Threshold::percent(101), None);
        assert_eq!(Threshold::percent(100).map(Threshold::as_percent), Some(100));
    }

    #[test]
    fn the_explanation_has_the_remedy() {
        let judgement = judge(Threshold::DEFAULT, &pool("11"));
        let text = explain(Service::ProxyNode, Threshold::DEFAULT, &judgement, &["b".to_owned()]);
        assert!(
            text.contains("0 of 2 proxy-node instances")
                && text.contains("shoal node accept-losses proxy-node"),
            "{text}"
        );
        assert_eq!(explain(Service::ProxyNode, Threshold::DEFAULT, &judgement, &[]), "");
    }
}
