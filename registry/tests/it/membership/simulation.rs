//! Seeded simulations: whatever happens in whatever order, the invariants hold. A failure names its
//! seed.

use std::collections::BTreeMap;

use cluster::{AdminState, InstanceId, Service, State, Verdict, guard::Threshold};
use jiff::SignedDuration;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use registry::command::{Command, Desired, Kind, Outcome};

use super::cast::{TTL, World, instance};

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
const CHECKERS: [&str; 4] = ["k1", "k2", "k3", "k4"];

/// What the registry acknowledged and therefore must not lose.
#[derive(Default)]
struct Acknowledged {
    registered: BTreeMap<&'static str, (InstanceId, u64)>,
    desired: BTreeMap<&'static str, (AdminState, Option<u32>)>,
}

struct Simulation {
    world: World,
    random: StdRng,
    starts: u64,
    alive: BTreeMap<&'static str, bool>,
    acknowledged: Acknowledged,
    accepted: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            world: World::new(),
            random,
            starts: 0,
            alive: BTreeMap::new(),
            acknowledged: Acknowledged::default(),
            accepted: false,
        }
    }

    fn name(&mut self) -> &'static str {
        NAMES.choose(&mut self.random).expect("there are names")
    }

    fn registered(&mut self) -> Option<&'static str> {
        let name = self.name();
        self.world.membership.status(name).map(|_| name)
    }

    fn register(&mut self) {
        let name = self.name();
        self.starts += 1;
        let start = if self.random.random_bool(0.1) {
            self.random.random_range(0..self.starts)
        } else {
            self.starts
        };
        let instance = instance(Service::ProxyNode, name, start);
        let (id, ready) = (instance.id, self.random.random_bool(0.8));
        if let Ok(Outcome::Registered { generation }) =
            self.world.apply(Command::Register { instance, ttl: TTL, ready, by: None })
        {
            if let Some((older, given)) = self.acknowledged.registered.get(name) {
                assert!(generation > *given || *older == id, "a generation fences all before it");
            }
            self.acknowledged.registered.insert(name, (id, generation));
            self.alive.insert(name, true);
        }
    }

    fn desired(&mut self) {
        let name = self.name();
        let admin_state =
            *[AdminState::Ready, AdminState::Ready, AdminState::Drain, AdminState::Maintenance]
                .choose(&mut self.random)
                .expect("some");
        let weight = self.random.random_bool(0.3).then(|| self.random.random_range(0..=256));
        self.world
            .apply(Command::Desired {
                name: name.to_owned(),
                desired: Desired { admin_state, weight, reason: String::new() },
            })
            .expect("never refused");
        self.acknowledged.desired.insert(name, (admin_state, weight));
    }

    fn report(&mut self) {
        let Some(name) = self.registered() else { return };
        let checker = CHECKERS.choose(&mut self.random).expect("some");
        let verdict =
            if self.random.random_bool(0.7) { Verdict::Critical } else { Verdict::Passing };
        let opinion = self.world.opinion(checker, "tcp", name, verdict);
        self.world.apply(Command::Report { opinions: vec![opinion] }).expect("never refused");
    }

    fn deregister(&mut self) {
        let Some(name) = self.registered() else { return };
        let id = self.world.renewal(name).id;
        let drain_for = std::time::Duration::from_secs(self.random.random_range(0..30));
        self.world
            .apply(Command::Deregister { name: name.to_owned(), id, drain_for })
            .expect("never refused");
        self.acknowledged.registered.remove(name);
    }

    fn step(&mut self) {
        self.accepted = false;
        match self.random.random_range(0..100) {
            0..12 => self.register(),
            12..18 => self.desired(),
            18..45 => self.report(),
            45..48 => self.deregister(),
            48..53 => {
                let name = self.name();
                self.alive.insert(name, false);
            }
            53..56 => self.alive.values_mut().for_each(|alive| *alive = false),
            56..60 => self.alive.values_mut().for_each(|alive| *alive = true),
            60..62 => {
                self.world
                    .apply(Command::AcceptLosses { service: Service::ProxyNode })
                    .expect("never refused");
                self.accepted = true;
            }
            62..64 => self.world.now += SignedDuration::from_secs(self.random.random_range(0..900)),
            _ => self.world.now += SignedDuration::from_millis(self.random.random_range(0..2_000)),
        }
        for (name, _) in self.alive.iter().filter(|(_, alive)| **alive) {
            if self.world.membership.status(name).is_some() {
                let mut renewal = self.world.renewal(name);
                renewal.ready = true;
                self.world.apply(Command::Renew(renewal)).expect("it is the holder");
            }
        }
    }

    /// State and withheld state of those that nobody asked to leave.
    fn pool(&self) -> BTreeMap<String, (State, Option<State>)> {
        let asked = |state| matches!(state, State::Draining | State::Maintenance | State::Starting);
        let members = self.world.membership.statuses().filter(|status| !asked(status.state));
        members
            .map(|status| (status.instance.name, (status.state, status.withheld_state)))
            .collect()
    }

    fn check(&mut self, before: &BTreeMap<String, (State, Option<State>)>) {
        let gone = |state: State| matches!(state, State::Lost | State::Critical);
        let after = self.pool();
        let guard = self.world.membership.guards().get(&Service::ProxyNode).cloned();
        let members = guard.as_ref().map_or(0, |guard| guard.members as usize);
        let in_use = after.values().filter(|(state, _)| !gone(*state)).count();
        let newly = after
            .iter()
            .filter(|(name, (state, _))| {
                gone(*state) && before.get(*name).is_some_and(|(was, _)| !gone(*was))
            })
            .count();
        if newly > 0 && !self.accepted {
            assert!(
                Threshold::DEFAULT.is_met(in_use, members),
                "{in_use} of {members} are left in use: {before:?} became {after:?}"
            );
        }
        let held: Vec<_> = after
            .iter()
            .filter(|(_, (_, withheld))| withheld.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        assert_eq!(
            guard.as_ref().map_or(&[][..], |guard| &guard.held).len(),
            held.len(),
            "{guard:?} against {after:?}"
        );
        for (name, (state, withheld)) in &after {
            assert!(
                withheld.is_none() || matches!(state, State::Usable | State::Suspect),
                "{name} is held as {state:?}"
            );
        }
        for status in self.world.membership.statuses() {
            assert_eq!(status.withheld_state.is_some(), held.contains(&status.instance.name));
            let accusers: std::collections::BTreeSet<_> = status
                .opinions
                .iter()
                .filter(|opinion| opinion.verdict == Verdict::Critical)
                .map(|opinion| &opinion.checker)
                .collect();
            assert!(
                status.state != State::Critical || accusers.len() >= 2,
                "one checker killed {}",
                status.instance.name
            );
        }
    }

    fn check_acknowledged(&self) {
        for (name, (admin_state, weight)) in &self.acknowledged.desired {
            let desired = self.world.membership.desired(name);
            assert_eq!(
                (desired.admin_state, desired.weight),
                (*admin_state, *weight),
                "what operators want of {name}"
            );
        }
        for status in self.world.membership.statuses() {
            if let Some((id, generation)) =
                self.acknowledged.registered.get(status.instance.name.as_str())
            {
                assert_eq!((status.instance.id, status.instance.generation), (*id, *generation));
            }
        }
    }

    /// A restart finds what was there: the same processes, desired, decisions and drains.
    fn check_replay(&mut self) {
        let facts = |world: &World| {
            let fact = |mut status: cluster::InstanceStatus| {
                status.lease_expires_at = jiff::Timestamp::MIN;
                status.changed_at = jiff::Timestamp::MIN;
                status.opinions.clear();
                status
            };
            world.membership.statuses().map(fact).collect::<Vec<_>>()
        };
        let live = facts(&self.world);
        let guards = self.world.membership.guards().clone();
        let store = self.world.store.clone();
        self.world.restart();
        for (replayed, live) in facts(&self.world).iter().zip(&live) {
            assert_eq!(
                replayed,
                live,
                "from {:#?}",
                store
                    .iter()
                    .filter(|(slot, _)| slot.name == live.instance.name)
                    .collect::<Vec<_>>()
            );
        }
        assert_eq!(facts(&self.world).len(), live.len());
        for (service, guard) in self.world.membership.guards() {
            assert_eq!(Some(guard), guards.get(service));
        }
        let count = |kind| self.world.store.keys().filter(|slot| slot.kind == kind).count();
        assert!(
            count(Kind::Register) == live.len()
                && self.world.store.len() <= 1 + live.len() * 5 + NAMES.len(),
            "the store stays small"
        );
    }
}

#[test]
fn whatever_happens_the_invariants_hold() {
    for seed in 0..300 {
        let run = std::panic::catch_unwind(|| {
            let mut simulation = Simulation::new(seed);
            for _ in 0..400 {
                let before = simulation.pool();
                simulation.step();
                simulation.world.settle();
                simulation.check(&before);
                simulation.check_acknowledged();
                if simulation.random.random_bool(0.05) {
                    simulation.check_replay();
                }
            }
        });
        if let Err(panic) = run {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
