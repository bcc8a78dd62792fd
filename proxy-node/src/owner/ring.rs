//! Who owns what: a ring of the nodes of one tier of one datacenter. Pure.

use std::sync::Arc;

use cluster::{InstanceStatus, State};
use dataplane::ring::Ring;

use super::peer::Peer;

/// Endpoint of a proxy-node at which other nodes ask it.
const ENDPOINT: &str = "relay";
/// So many nodes there may be on a ring.
const MOST: usize = 1024;

/// Where this node is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub name: &'a str,
    pub datacenter: &'a str,
    pub tags: &'a [String],
    /// Tags of the nodes that are parents of others, a list for each line of the bundle.
    pub parents: &'a [&'a [String]],
}

/// A node on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub name: String,
    /// Host and port of its relay listener.
    pub relay: (String, u16),
    /// Its share.
    pub weight: u32,
}

impl Neighbour {
    fn of(status: &InstanceStatus) -> Option<Self> {
        let instance = &status.instance;
        let (host, port) = instance.endpoints.get(ENDPOINT)?.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let (name, weight) = (instance.name.clone(), status.effective_weight);
        (weight > 0).then_some(Self { name, relay: (host, port.parse().ok()?), weight })
    }
}

/// The nodes among which the objects of this one's datacenter and tier are divided, itself among
/// them if it may serve: those that are usable, or else those that are suspect. Parents of others
/// are a tier of their own.
#[must_use]
pub fn tier(own: &Place<'_>, nodes: &[&InstanceStatus]) -> Vec<Neighbour> {
    let is_parent = |tags: &[String], of: &[String]| of.iter().all(|tag| tags.contains(tag));
    let beside = |status: &&&InstanceStatus| {
        let tags = &status.instance.tags;
        status.instance.datacenter == own.datacenter
            && own.parents.iter().all(|of| is_parent(own.tags, of) == is_parent(tags, of))
    };
    let of = |state: State| {
        let nodes = nodes.iter().filter(|it| it.state == state).filter(beside);
        nodes.filter_map(|it| Neighbour::of(it)).collect::<Vec<_>>()
    };
    let mut tier = of(State::Usable);
    if tier.is_empty() {
        tier = of(State::Suspect);
    }
    tier.sort_by(|one, other| one.name.cmp(&other.name));
    tier.truncate(MOST);
    tier
}

/// Who owns what.
#[derive(Debug, Default)]
pub struct Owners {
    members: Vec<Arc<Peer>>,
    /// The place of this node among them.
    own: Option<usize>,
    ring: Ring,
}

impl Owners {
    /// Of the members of a tier. What `before` knows of one is kept.
    #[must_use]
    pub fn new(own: &str, tier: &[Neighbour], before: &Self) -> Self {
        let peer = |it: &Neighbour| {
            let known = before.members.iter().find(|known| known.is(it));
            known.cloned().unwrap_or_else(|| Arc::new(Peer::new(it)))
        };
        let ring = Ring::new(tier.iter().map(|it| (it.name.as_str(), it.weight, 100)));
        let own = tier.iter().position(|it| it.name == own);
        Self { members: tier.iter().map(peer).collect(), own, ring }
    }

    /// Whether these are the members already.
    #[must_use]
    pub fn are(&self, tier: &[Neighbour]) -> bool {
        self.members.len() == tier.len()
            && self.members.iter().zip(tier).all(|(known, it)| known.is(it))
    }

    /// How many others there are.
    #[must_use]
    pub fn others(&self) -> usize {
        self.members.len() - usize::from(self.own.is_some())
    }

    /// The node that an object with this key belongs to, of those that are not passed over now;
    /// none: this one.
    #[must_use]
    pub fn of(&self, key: u64, now: u64) -> Option<&Arc<Peer>> {
        let may = |place: usize| {
            self.own == Some(place)
                || self.members.get(place).is_some_and(|peer| !peer.is_passed_over(now))
        };
        let place = self.ring.pick(key, may)?;
        self.members.get(place).filter(|_| self.own != Some(place))
    }
}

#[cfg(test)]
mod tests {
    use cluster::{AdminState, Instance, InstanceId, Service};
    use dataplane::hash::hash;
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn status(name: &str, datacenter: &str, tags: &[&str], state: State) -> InstanceStatus {
        InstanceStatus {
            instance: Instance {
                service: Service::ProxyNode,
                name: name.into(),
                id: InstanceId(uuid::Uuid::nil()),
                generation: 1,
                endpoints: [("relay".to_owned(), "[2001:db8::1]:3129".to_owned())].into(),
                datacenter: datacenter.into(),
                zone: String::new(),
                tags: tags.iter().map(ToString::to_string).collect(),
                weight: 100,
                version: String::new(),
                applied_revision: String::new(),
                applied_hash: String::new(),
            },
            admin_state: AdminState::Ready,
            state,
            reasons: vec![],
            registered_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
            lease_expires_at: Timestamp::UNIX_EPOCH,
            effective_weight: u32::from(name != "weightless") * 100,
            opinions: vec![],
            withheld_state: None,
        }
    }

    #[test]
    fn a_tier_is_who_may_serve_beside_this_node() {
        use State::{Critical, Draining, Lost, Suspect, Usable};
        let parent = ["parent".to_owned()];
        let of = |tags: &[&str], nodes: &[InstanceStatus]| {
            let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
            let own = Place { name: "a", datacenter: "x", tags: &tags, parents: &[&parent] };
            let tier = tier(&own, &nodes.iter().collect::<Vec<_>>());
            assert!(tier.iter().all(|it| it.relay == ("2001:db8::1".to_owned(), 3129)));
            tier.into_iter().map(|it| it.name).collect::<Vec<_>>().join(" ")
        };
        let nodes = [
            status("d", "x", &["ssd"], Usable),
            status("a", "x", &[], Usable),
            status("b", "x", &[], Suspect),
            status("c", "x", &[], Critical),
            status("e", "x", &[], Draining),
            status("f", "x", &[], Lost),
            status("g", "y", &[], Usable),
            status("p", "x", &["parent", "ssd"], Usable),
            status("q", "x", &["parent"], Usable),
            status("weightless", "x", &[], Usable),
        ];
        assert_eq!(of(&[], &nodes), "a d");
        assert_eq!(of(&["parent"], &nodes), "p q");
        assert_eq!(of(&[], &nodes[2..6]), "b");
        assert_eq!(of(&[], &nodes[3..6]), "");
    }

    fn neighbours(count: usize) -> Vec<Neighbour> {
        let named = |number| format!("proxy-node-{number}");
        let of = |name: String| Neighbour { name, relay: ("192.0.2.1".into(), 3129), weight: 100 };
        (1..=count).map(named).map(of).collect()
    }

    fn owner(owners: &Owners, own: &str, key: u64, now: u64) -> String {
        owners.of(key, now).map_or_else(|| own.to_owned(), |peer| peer.name.clone())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// All nodes agree; one that leaves or comes moves its share alone; one that fails is as
        /// one that has left, until it is asked again.
        #[test]
        fn one_owner_and_only_a_share_moves(
            count in 2_usize..12,
            leaves in 0_usize..12,
            keys in prop::collection::vec(any::<u64>(), 50),
        ) {
            let all = neighbours(count);
            let gone = all[leaves % count].clone();
            let rest: Vec<_> = all.iter().filter(|it| **it != gone).cloned().collect();
            let mut owned = Vec::new();
            for own in all.iter().map(|it| &*it.name) {
                let view = Owners::new(own, &all, &Owners::default());
                let after = Owners::new(own, &rest, &Owners::default());
                let of = |view: &Owners, now| -> Vec<String> {
                    keys.iter().map(|key| owner(view, own, *key, now)).collect()
                };
                let (before, moved) = (of(&view, 0), of(&after, 0));
                owned = if owned.is_empty() { before.clone() } else { owned };
                prop_assert_eq!(&before, &owned, "{} agrees", own);
                if own == gone.name {
                    continue;
                }
                let stays = |(was, is): (&String, &String)| was == is || *was == gone.name;
                prop_assert!(before.iter().zip(&moved).all(stays), "{:?} → {:?}", before, moved);
                view.members[leaves % count].failed(5, "reset");
                prop_assert_eq!((of(&view, 6), of(&view, 1005)), (moved, before));
            }
        }
    }

    #[test]
    fn shares_are_equal_and_what_is_known_of_a_node_stays_with_it() {
        let all = neighbours(4);
        let owners = Owners::new("proxy-node-1", &all, &Owners::default());
        let mut shares = std::collections::BTreeMap::<String, u32>::new();
        for number in 0..8000_u32 {
            let key = hash(format!("http://origin.example/{number}").as_bytes());
            *shares.entry(owner(&owners, "proxy-node-1", key, 0)).or_default() += 1;
        }
        assert!(shares.values().all(|it| (1600..2400).contains(it)), "{shares:?}");
        assert_eq!((owners.others(), owners.are(&all), owners.are(&all[1..])), (3, true, false));
        owners.members[2].failed(5, "reset");
        let after = Owners::new("proxy-node-1", &all[1..], &owners);
        assert!(after.members[1].is_passed_over(6) && !after.members[0].is_passed_over(6));
        assert_eq!((after.others(), after.own), (3, None));
        assert!(Owners::default().of(7, 0).is_none());
    }
}
