//! The rollout's rules: a table of courses, and a seeded simulation of nodes that answer, refuse, crash, vanish and come back, of operators
//! and of restarts.

use cluster_config::{Place, Problem};
use config_service::rollout::{Action, Control, Fleet, Hello, Key, NodeState, Refused, Start, State, Target, Times};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const TIMES: Times = Times { acknowledge: Duration::from_secs(15), soak: Duration::from_secs(1) };

fn key(service: &str, name: &str) -> Key {
    Key { service: service.into(), name: name.into() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn target(revision: &str, hash: &str) -> Target {
    Target { revision: revision.into(), hash: hash.into() }
}

fn refusal() -> Vec<Problem> {
    vec![Problem::error(Place::default(), "port in use", "")]
}

/// Nodes `n1`, `n2`, … that run revision r1; assignments are returned as `name revision`.
struct Table {
    fleet: Fleet,
    now: Duration,
}

impl Table {
    fn new(nodes: u64) -> Self {
        let (fleet, _) = Fleet::new(TIMES, Some("r1".into()), None);
        let mut table = Self { fleet, now: seconds(1) };
        for number in 1..=nodes {
            assert_eq!(table.hello(number, Some("r1"), &[]), Vec::<String>::new());
        }
        table
    }

    fn name(number: u64) -> Key {
        key("proxy-node", &format!("n{number}"))
    }

    fn hello(&mut self, number: u64, applied: Option<&str>, rejected: &[&str]) -> Vec<String> {
        let of = |revision: &str| Ok(target(revision, revision));
        let hello = Hello {
            key: Self::name(number),
            session: number,
            applied: applied.map(|revision| target(revision, revision)),
            rejected: rejected.iter().map(|hash| ((*hash).to_owned(), "it crashed".to_owned())).collect(),
            released: self.fleet.released().map(of),
            candidate: self.fleet.candidate().map(of),
        };
        let actions = self.fleet.hello(hello, self.now);
        assigned(actions)
    }

    fn start(&mut self, revision: &str) -> Vec<String> {
        let renderings = self.fleet.connected().map(|key| (key.clone(), Ok(target(revision, revision)))).collect();
        assigned(self.fleet.start(Start { id: "x".into(), revision: revision.into(), renderings }, self.now).unwrap())
    }

    fn ack(&mut self, number: u64, revision: &str, problems: Vec<Problem>) -> Vec<String> {
        assigned(self.fleet.acknowledged(&Self::name(number), number, &target(revision, revision), problems, self.now))
    }

    fn gone(&mut self, number: u64) -> Vec<String> {
        assigned(self.fleet.gone(&Self::name(number), number, self.now))
    }

    fn later(&mut self, by: u64) -> Vec<String> {
        self.now += seconds(by);
        assigned(self.fleet.tick(self.now))
    }

    fn state(&self) -> State {
        self.fleet.rollout().unwrap().state
    }

    fn explanation(&self) -> &str {
        &self.fleet.rollout().unwrap().explanation
    }

    fn node(&self, number: u64) -> NodeState {
        self.fleet.rollout().unwrap().nodes[&Self::name(number)].state
    }
}

fn assigned(actions: Vec<Action>) -> Vec<String> {
    let assigned = actions.into_iter().filter_map(|action| match action {
        Action::Assign { key, target } => Some(format!("{} {}", key.name, target.revision)),
        _ => None,
    });
    assigned.collect()
}

#[test]
fn one_first_then_the_rest_then_released() {
    let mut table = Table::new(3);
    assert_eq!(table.start("r2"), ["n1 r2"]);
    assert_eq!(table.ack(1, "r2", vec![]), Vec::<String>::new());
    assert_eq!(table.state(), State::Trying);
    assert_eq!(table.later(1), ["n2 r2", "n3 r2"]);
    assert_eq!((table.state(), table.fleet.released()), (State::Spreading, Some("r1")));
    table.ack(2, "r2", vec![]);
    table.ack(3, "r2", vec![]);
    assert_eq!((table.state(), table.fleet.released()), (State::Done, Some("r2")));
    assert_eq!(table.hello(4, None, &[]), ["n4 r2"]);
}

#[test]
fn answers_that_come_together_are_as_good_as_one_after_the_other() {
    for refuses in [None, Some(5), Some(9)] {
        let mut table = Table::new(9);
        table.start("r2");
        table.ack(1, "r2", vec![]);
        table.later(1);
        let (mut together, mut answered) = (table.fleet.clone(), false);
        for number in 2..=9 {
            let problems = if refuses == Some(number) { refusal() } else { Vec::new() };
            table.ack(number, "r2", problems.clone());
            answered |= together.answered(&Table::name(number), number, &target("r2", "r2"), problems, table.now);
        }
        assert!(answered && together.conclude(table.now).contains(&Action::Changed));
        let known = |fleet: &Fleet| {
            let assigned: Vec<_> = fleet.nodes().values().map(|node| node.assigned.clone()).collect();
            (fleet.released().map(str::to_owned), fleet.rollout().map(|rollout| (rollout.state, rollout.explanation.clone())), assigned)
        };
        assert_eq!(known(&together), known(&table.fleet), "{refuses:?}");
        assert_eq!(together.released(), if refuses.is_none() { Some("r2") } else { Some("r1") });
    }
}

#[test]
fn a_refusal_stops_it_and_gives_back_what_was_there() {
    let mut table = Table::new(3);
    table.start("r2");
    assert_eq!(table.ack(1, "r2", refusal()), Vec::<String>::new(), "who refused kept what it had, and nobody else got anything");
    assert_eq!((table.state(), table.node(1), table.node(2)), (State::Failed, NodeState::Rejected, NodeState::Waiting));
    assert!(table.explanation().starts_with("proxy-node n1 refused it: port in use"), "{}", table.explanation());

    let mut table = Table::new(3);
    table.start("r2");
    table.ack(1, "r2", vec![]);
    table.later(1);
    assert_eq!(table.ack(3, "r2", refusal()), ["n1 r1", "n2 r1"]);
    assert_eq!((table.state(), table.node(1), table.node(3)), (State::Failed, NodeState::Reverted, NodeState::Rejected));
    assert_eq!(table.fleet.released(), Some("r1"));
}

#[test]
fn silence_ends_it() {
    let mut table = Table::new(2);
    table.start("r2");
    table.later(14);
    assert_eq!((table.state(), table.fleet.deadline()), (State::Trying, Some(table.now + seconds(1))));
    assert_eq!(table.later(1), ["n1 r1"]);
    assert_eq!((table.state(), table.explanation()), (State::Failed, "proxy-node n1 did not answer within 15s"));
}

#[test]
fn a_first_that_crashes_is_waited_for_and_not_replaced() {
    let mut table = Table::new(3);
    table.start("r2");
    assert_eq!(table.gone(1), Vec::<String>::new(), "nobody else may get it");
    assert_eq!(table.hello(1, Some("r1"), &["r2"]), Vec::<String>::new());
    assert_eq!(table.state(), State::Failed);
    assert!(table.explanation().contains("it crashed"), "{}", table.explanation());

    // It acknowledges and crashes within the soak time.
    let mut table = Table::new(3);
    table.start("r2");
    table.ack(1, "r2", vec![]);
    assert_eq!(table.gone(1), Vec::<String>::new());
    assert_eq!(table.later(5), Vec::<String>::new());
    table.hello(1, Some("r1"), &["r2"]);
    assert_eq!(table.state(), State::Failed);

    // It stays away.
    let mut table = Table::new(3);
    table.start("r2");
    table.gone(1);
    table.later(15);
    assert_eq!(
        (table.state(), table.explanation()),
        (State::Failed, "proxy-node n1 went away after it got it, and was not back within 15s")
    );

    // It was only restarted.
    let mut table = Table::new(2);
    table.start("r2");
    table.gone(1);
    assert_eq!(table.hello(1, Some("r1"), &[]), ["n1 r2"]);
    table.ack(1, "r2", vec![]);
    assert_eq!(table.later(1), ["n2 r2"]);
}

#[test]
fn a_node_that_leaves_while_it_spreads_does_not_hold_it_up() {
    let mut table = Table::new(3);
    table.start("r2");
    table.ack(1, "r2", vec![]);
    table.later(1);
    table.gone(2);
    table.ack(3, "r2", vec![]);
    assert_eq!((table.state(), table.node(2)), (State::Done, NodeState::Gone));
    assert_eq!(table.hello(2, Some("r1"), &[]), ["n2 r2"]);
    assert_eq!(table.hello(3, Some("r1"), &["r2"]), Vec::<String>::new(), "what crashed it is not given to it again");
}

#[test]
fn pausing_stops_time_and_aborting_gives_back() {
    let mut table = Table::new(2);
    table.start("r2");
    table.fleet.control("x", Control::Pause, table.now).unwrap();
    assert_eq!((table.later(100), table.state()), (vec![], State::Paused));
    table.ack(1, "r2", vec![]);
    assert_eq!(table.later(100), Vec::<String>::new());
    table.fleet.control("x", Control::Resume, table.now).unwrap();
    assert_eq!(table.later(1), ["n2 r2"]);
    assert_eq!(assigned(table.fleet.control("x", Control::Abort, table.now).unwrap()), ["n1 r1", "n2 r1"]);
    assert_eq!(table.state(), State::Aborted);
    assert_eq!(table.fleet.control("x", Control::Abort, table.now), Err(Refused::NotRunning("x".into())));
}

#[test]
fn one_at_a_time_and_again_is_the_same() {
    let mut table = Table::new(1);
    table.start("r2");
    assert_eq!(table.start("r2"), Vec::<String>::new());
    let other = Start { id: "y".into(), revision: "r3".into(), renderings: BTreeMap::new() };
    assert!(matches!(table.fleet.start(other, table.now), Err(Refused::Running { .. })));
}

#[test]
fn nobody_connected_is_done_at_once_and_nothing_differing_needs_no_first() {
    let mut table = Table::new(0);
    table.start("r2");
    assert_eq!((table.state(), table.fleet.released()), (State::Done, Some("r2")));
    // The same hash under another name: told, not waited for.
    let mut table = Table::new(2);
    let renderings = table.fleet.connected().map(|key| (key.clone(), Ok(target("r2", "r1")))).collect();
    let actions = table.fleet.start(Start { id: "x".into(), revision: "r2".into(), renderings }, table.now).unwrap();
    assert_eq!(assigned(actions), ["n1 r2", "n2 r2"]);
    assert_eq!(table.state(), State::Done);
}

#[test]
fn what_cannot_be_rendered_for_one_is_given_to_nobody() {
    let mut table = Table::new(2);
    let renderings = BTreeMap::from([(Table::name(1), Ok(target("r2", "r2"))), (Table::name(2), Err(refusal()))]);
    let actions = table.fleet.start(Start { id: "x".into(), revision: "r2".into(), renderings }, table.now).unwrap();
    assert_eq!(assigned(actions), Vec::<String>::new());
    assert_eq!((table.state(), table.node(2)), (State::Failed, NodeState::Rejected));
}

#[test]
fn a_restart_in_the_middle_fails_it_and_nodes_go_back() {
    let mut table = Table::new(2);
    table.start("r2");
    table.ack(1, "r2", vec![]);
    let (fleet, actions) = Fleet::new(TIMES, table.fleet.released().map(str::to_owned), table.fleet.rollout().cloned());
    assert_eq!(actions, [Action::Changed]);
    table.fleet = fleet;
    assert_eq!((table.state(), table.node(1), table.node(2)), (State::Failed, NodeState::Reverted, NodeState::Waiting));
    assert_eq!(table.hello(1, Some("r2"), &[]), ["n1 r1"]);
}

/// SplitMix64: a failing seed is all that is needed to see a course again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

#[derive(Default)]
struct Peer {
    session: Option<u64>,
    applied: Option<Target>,
    inbox: Vec<Target>,
    rejected: BTreeMap<String, String>,
}

struct World {
    random: Random,
    fleet: Fleet,
    now: Duration,
    sessions: u64,
    peers: BTreeMap<Key, Peer>,
    revisions: u64,
    /// Who was sent the running rollout's hash, and who took it, by service.
    exposed: BTreeMap<String, BTreeSet<String>>,
    took: BTreeSet<String>,
    released: Option<String>,
}

/// Two revisions in three differ for a service.
fn hash(revision: &str, service: &str) -> String {
    let number: u64 = revision[1..].parse().unwrap();
    let content = if (number + service.len() as u64).is_multiple_of(3) { number - 1 } else { number };
    format!("{service}-{content}")
}

/// Every fifth hash is bad: proxy-nodes refuse it, balancers crash of it.
fn bad(hash: &str) -> bool {
    hash.rsplit('-').next().unwrap().parse::<u64>().unwrap() % 5 == 4
}

impl World {
    fn new(seed: u64) -> Self {
        let (fleet, _) = Fleet::new(TIMES, None, None);
        let nodes = (1..=4).map(|n| key("proxy-node", &format!("p{n}"))).chain((1..=3).map(|n| key("balancer", &format!("b{n}"))));
        Self {
            random: Random(seed),
            fleet,
            now: Duration::ZERO,
            sessions: 0,
            peers: nodes.map(|key| (key, Peer::default())).collect(),
            revisions: 0,
            exposed: BTreeMap::new(),
            took: BTreeSet::new(),
            released: None,
        }
    }

    fn rendering(revision: &str, service: &str) -> Result<Target, Vec<Problem>> {
        Ok(target(revision, &hash(revision, service)))
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Assign { key, target } => {
                    if self.fleet.candidate() == Some(&target.revision) {
                        self.exposure(&key, &target);
                    }
                    let peer = self.peers.get_mut(&key).unwrap();
                    assert!(peer.session.is_some(), "assigned to nobody");
                    assert!(!peer.rejected.contains_key(&target.hash), "given again what it will not take");
                    peer.inbox.push(target);
                }
                Action::Released(revision) => self.released = Some(revision),
                Action::Changed => {}
            }
        }
        assert_eq!(self.fleet.released(), self.released.as_deref());
    }

    /// Only one node of a service may hold what no node of it has taken yet.
    fn exposure(&mut self, key: &Key, target: &Target) {
        if self.peers[key].applied.as_ref().is_some_and(|applied| applied.hash == target.hash) {
            return;
        }
        let exposed = self.exposed.entry(key.service.clone()).or_default();
        exposed.insert(key.name.clone());
        assert!(exposed.len() == 1 || self.took.contains(&key.service), "{target:?} went to {exposed:?} before anybody took it");
    }

    fn step(&mut self) {
        let keys: Vec<Key> = self.peers.keys().cloned().collect();
        let key = keys[self.random.below(keys.len() as u64) as usize].clone();
        match self.random.below(20) {
            0..=2 => self.connect(&key),
            3 => self.disconnect(&key),
            4..=11 => self.answer(&key),
            12..=14 => self.wait(Duration::from_millis(200 + self.random.0 % 800)),
            15 => self.wait(seconds(6)),
            16 | 17 => self.start(),
            18 => self.control(),
            _ => self.restart(),
        }
    }

    fn connect(&mut self, key: &Key) {
        self.sessions += 1;
        let of = |revision: &str| Self::rendering(revision, &key.service);
        let peer = self.peers.get_mut(key).unwrap();
        peer.session = Some(self.sessions);
        peer.inbox.clear();
        let hello = Hello {
            key: key.clone(),
            session: self.sessions,
            applied: peer.applied.clone(),
            rejected: peer.rejected.clone(),
            released: self.fleet.released().map(of),
            candidate: self.fleet.candidate().map(of),
        };
        let actions = self.fleet.hello(hello, self.now);
        self.act(actions);
    }

    fn disconnect(&mut self, key: &Key) {
        let Some(session) = self.peers.get_mut(key).unwrap().session.take() else { return };
        let actions = self.fleet.gone(key, session, self.now);
        self.act(actions);
    }

    fn answer(&mut self, key: &Key) {
        let peer = self.peers.get_mut(key).unwrap();
        let Some(session) = peer.session.filter(|_| !peer.inbox.is_empty()) else { return };
        let target = peer.inbox.remove(0);
        if bad(&target.hash) && key.service == "balancer" {
            peer.rejected.insert(target.hash, "it crashed".into());
            return self.disconnect(key);
        }
        let problems = if bad(&target.hash) { refusal() } else { Vec::new() };
        if problems.is_empty() {
            peer.applied = Some(target.clone());
            // The same hash under an earlier revision's name is as good.
            if self.fleet.candidate().is_some_and(|candidate| hash(candidate, &key.service) == target.hash) {
                self.took.insert(key.service.clone());
            }
        }
        let actions = self.fleet.acknowledged(key, session, &target, problems, self.now);
        self.act(actions);
    }

    fn wait(&mut self, by: Duration) {
        self.now += by;
        let actions = self.fleet.tick(self.now);
        self.act(actions);
    }

    fn start(&mut self) {
        self.revisions += 1;
        let revision = format!("r{}", self.revisions);
        let renderings = self.fleet.connected().map(|key| (key.clone(), Self::rendering(&revision, &key.service))).collect();
        if self.fleet.candidate().is_none() {
            self.exposed.clear();
            self.took.clear();
        }
        if let Ok(actions) = self.fleet.start(Start { id: revision.clone(), revision, renderings }, self.now) {
            self.act(actions);
        }
    }

    fn control(&mut self) {
        let Some(id) = self.fleet.rollout().map(|rollout| rollout.id.clone()) else { return };
        let control = [Control::Pause, Control::Resume, Control::Resume, Control::Abort][self.random.below(4) as usize];
        if let Ok(actions) = self.fleet.control(&id, control, self.now) {
            self.act(actions);
        }
    }

    fn restart(&mut self) {
        let (fleet, actions) = Fleet::new(TIMES, self.released.clone(), self.fleet.rollout().cloned());
        self.fleet = fleet;
        self.peers.values_mut().for_each(|peer| peer.session = None);
        self.act(actions);
    }

    /// Everything ends: nobody new, everybody connected, all answers given.
    fn settle(&mut self) {
        for _ in 0..40 {
            if self.fleet.rollout().is_some_and(|rollout| rollout.state == State::Paused) {
                let id = self.fleet.rollout().unwrap().id.clone();
                let actions = self.fleet.control(&id, Control::Resume, self.now).unwrap();
                self.act(actions);
            }
            for key in self.peers.keys().cloned().collect::<Vec<_>>() {
                if self.peers[&key].session.is_none() {
                    self.connect(&key);
                }
                while !self.peers[&key].inbox.is_empty() && self.peers[&key].session.is_some() {
                    self.answer(&key);
                }
            }
            self.wait(seconds(1));
        }
        assert!(self.fleet.candidate().is_none(), "a rollout that never ends: {:?}", self.fleet.rollout());
        let Some(released) = self.released.clone() else { return };
        for (key, peer) in &self.peers {
            let wanted = target(&released, &hash(&released, &key.service));
            let never = peer.rejected.contains_key(&wanted.hash) || bad(&wanted.hash);
            assert!(never || peer.applied.as_ref() == Some(&wanted), "{key:?} runs {:?}, not {wanted:?}", peer.applied);
        }
    }
}

#[test]
fn simulated_nodes_never_hold_more_than_the_firsts_before_it_is_proved() {
    let mut done = 0;
    for seed in 0..1500 {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..250 {
                world.step();
            }
            world.settle();
            world.released.is_some()
        });
        done += u32::from(outcome.unwrap_or_else(|_| panic!("seed {seed}")));
    }
    assert!(done > 700, "too few courses released anything ({done}): the simulation proves little");
}
