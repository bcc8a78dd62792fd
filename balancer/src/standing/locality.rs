//! Which servers come first because they are near. Pure.
//!
//! Standing is above locality: a usable server far away comes before a suspect one next door. A
//! suspect answers late or wrongly for at least one checker, which costs a client more than the way
//! to another datacenter does; and what makes a whole zone suspect is a failure of that zone. Among
//! servers of one standing, the nearer come first.
//!
//! The nearest usable ones take everything as long as enough of them are usable, so that the rest
//! can carry what the lost ones had. Below that the next ones stand beside them, with shares by
//! weight as if all were one place. Those that are full (`maxconn`) or were tried leave the next
//! request to whoever comes next in any case.

use cluster_config::document::balancer::{Locality, Prefer};

use super::{Cause, Judgement, Standing};

/// Where somebody is; empty: unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub datacenter: String,
    pub zone: String,
}

impl Place {
    fn is_near(&self, other: &Self, how: Locality) -> bool {
        let datacenter = self.datacenter == other.datacenter;
        match how {
            Locality::Zone => datacenter && !self.zone.is_empty() && self.zone == other.zone,
            Locality::Datacenter => datacenter && !self.datacenter.is_empty(),
        }
    }

    /// How far away another place is: the first of these that they have in common, or their number.
    #[must_use]
    pub fn distance(&self, other: &Self, order: &[Locality]) -> u8 {
        let nearest = order.iter().position(|how| self.is_near(other, *how));
        u8::try_from(nearest.unwrap_or(order.len())).unwrap_or(u8::MAX)
    }
}

/// In which order servers at these distances come within their standing; 0 comes first.
#[must_use]
pub fn levels(servers: &[(u8, &Judgement)], prefer: &Prefer) -> Vec<u8> {
    let farthest = u8::try_from(prefer.order.len()).unwrap_or(u8::MAX);
    let near = |distance: u8| servers.iter().filter(move |(it, _)| *it <= distance);
    let suffices = |distance: u8| {
        let members = near(distance).filter(|(_, it)| counts(it)).count();
        let usable = near(distance).filter(|(_, it)| it.standing == Standing::Usable).count();
        usable > 0 && usable * 100 >= members * usize::from(prefer.spill_over)
    };
    let reach = (0..farthest).find(|distance| suffices(*distance)).unwrap_or(farthest);
    let level = |(distance, judgement): &(u8, &Judgement)| match judgement.standing {
        Standing::Usable if *distance <= reach => 0,
        _ => *distance,
    };
    servers.iter().map(level).collect()
}

/// Whether a server is one of which somebody expects that it is usable: neither a backup nor taken
/// out on purpose.
fn counts(judgement: &Judgement) -> bool {
    judgement.cause != Cause::Asked && !judgement.standing.is_reserve()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(datacenter: &str, zone: &str) -> Place {
        Place { datacenter: datacenter.to_owned(), zone: zone.to_owned() }
    }

    fn judgement(standing: Standing) -> Judgement {
        let cause = match standing {
            Standing::Excluded => Cause::Asked,
            Standing::Unwell => Cause::OwnEvidence,
            Standing::Last => Cause::Doubt,
            Standing::Usable | Standing::Backup | Standing::LastResort => Cause::Fine,
        };
        Judgement { standing, cause, reasons: Vec::new() }
    }

    #[test]
    fn distances() {
        use Locality::{Datacenter, Zone};
        let here = place("beijing", "a");
        for (there, both, datacenter, zone) in [
            (place("beijing", "a"), 0, 0, 0),
            (place("beijing", "b"), 1, 0, 1),
            (place("shanghai", "a"), 2, 1, 1),
            (place("", ""), 2, 1, 1),
        ] {
            let distance = |order: &[Locality]| here.distance(&there, order);
            let found = (distance(&[Zone, Datacenter]), distance(&[Datacenter]), distance(&[Zone]));
            assert_eq!(found, (both, datacenter, zone), "{there:?}");
        }
        assert_eq!(Place::default().distance(&Place::default(), &[Zone, Datacenter]), 2);
    }

    #[test]
    fn enough_near_ones_take_everything() {
        use Standing::{Backup, Excluded, Last, Unwell, Usable};
        let prefer = Prefer { order: vec![Locality::Zone, Locality::Datacenter], spill_over: 70 };
        for (servers, expected) in [
            // Three of four near ones are 75 %.
            (
                &[(0, Usable), (0, Usable), (0, Usable), (0, Unwell), (1, Usable), (2, Usable)][..],
                &[0, 0, 0, 0, 1, 2][..],
            ),
            // Two of three are 67 %; with the datacenter's three of four 75 %.
            (&[(0, Usable), (0, Usable), (0, Unwell), (1, Usable), (2, Usable)], &[0, 0, 0, 0, 2]),
            // Who was taken out on purpose is not missing, and who is a backup does not count.
            (&[(0, Usable), (0, Excluded), (0, Backup), (1, Usable)], &[0, 0, 0, 1]),
            // A suspect next door comes after usable ones far away, by its standing alone.
            (&[(0, Last), (1, Unwell), (2, Usable)], &[0, 1, 0]),
            (&[(0, Last), (0, Usable), (2, Usable)], &[0, 0, 0]),
            (&[(2, Usable)], &[0]),
            (&[], &[]),
        ] {
            let judged: Vec<_> = servers.iter().map(|(_, it)| judgement(*it)).collect();
            let servers: Vec<_> =
                servers.iter().zip(&judged).map(|((distance, _), it)| (*distance, it)).collect();
            assert_eq!(levels(&servers, &prefer), expected, "{servers:?}");
        }
    }

    proptest! {
        /// Whoever is usable somewhere is in reach, and losing a near one never shortens the reach.
        #[test]
        fn losses_widen_the_reach(
            servers in prop::collection::vec((0_u8..3, any::<bool>()), 1..12),
            spill_over in 0_u8..=100,
            lost in any::<prop::sample::Index>(),
        ) {
            let prefer = Prefer {
                order: vec![Locality::Zone, Locality::Datacenter],
                spill_over,
            };
            let first = |servers: &[(u8, bool)]| {
                let of = |usable| {
                    judgement(if usable { Standing::Usable } else { Standing::Unwell })
                };
                let judged: Vec<_> = servers.iter().map(|(_, usable)| of(*usable)).collect();
                let pairs = servers.iter().zip(&judged);
                let pairs: Vec<_> = pairs.map(|((distance, _), it)| (*distance, it)).collect();
                let levels = levels(&pairs, &prefer);
                servers.iter().zip(levels).filter(|(it, level)| it.1 && *level == 0)
                    .map(|(it, _)| it.0).max()
            };
            let before = first(&servers);
            prop_assert_eq!(before.is_some(), servers.iter().any(|it| it.1));
            let mut fewer = servers.clone();
            let at = lost.index(fewer.len());
            fewer[at].1 = false;
            if let (Some(before), Some(after)) = (before, first(&fewer)) {
                let farther = fewer.iter().any(|it| it.1 && it.0 >= before);
                prop_assert!(after >= before || !farther, "{before} → {after}");
            }
        }
    }
}
