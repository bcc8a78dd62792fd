//! The rollout's rules: a table of courses, and a seeded simulation of nodes that answer, refuse,
//! crash, vanish and come back, of operators, and of a service that is killed between any two
//! events.

use cluster_config::{Place, Problem};
use config_service::rollout::{
    Action, Control, Error, Fleet, Hello, Key, NodeState, Plan, Progress, Start, State, Target,
    Times,
};
use config_service::store::Record;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const TIMES: Times = Times { acknowledge: Duration::from_secs(15), soak: Duration::from_secs(1) };

fn key(service: &str, name: &str) -> Key {
    Key { service: service.into(), name: name.into() }
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn plan() -> Plan {
    Plan::canary(TIMES)
}

/// What a record keeps of it.
fn kept(rollout: &Progress) -> Progress {
    Record::new(rollout, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH).progress()
}

/// What is read from the disk after a restart: everything that is not in the record is lost.
fn from_disk(rollout: &Progress) -> Progress {
    let written =
        serde_json::to_string(&Record::new(rollout, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH))
            .unwrap();
    serde_json::from_str::<Record>(&written).unwrap().progress()
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
    now: Timestamp,
}

impl Table {
    fn new(nodes: u64) -> Self {
        let mut table =
            Self { fleet: Fleet::new(Some("r1".into())), now: Timestamp::UNIX_EPOCH + seconds(1) };
        for number in 1..=nodes {
            assert_eq!(table.hello(number, Some("r1"), &[]), Vec::<String>::new());
        }
        table
    }

    fn name(number: u64) -> Key {
        key("proxy-node", &format!("n{number}"))
    }

    fn hello(&mut self, number: u64, applied: Option<&str>, rejected: &[&str]) -> Vec<String> {
        self.hello_of("", number, applied, rejected)
    }

    /// Of a process that is known.
    fn hello_of(
        &mut self,
        process: &str,
        number: u64,
        applied: Option<&str>,
        rejected: &[&str],
    ) -> Vec<String> {
        let of = |revision: &str| Ok(target(revision, revision));
        let hello = Hello {
            key: Self::name(number),
            session: number,
            process: process.to_owned(),
            applied: applied.map(|revision| target(revision, revision)),
            rejected: rejected
                .iter()
                .map(|hash| ((*hash).to_owned(), "it crashed".to_owned()))
                .collect(),
            released: self.fleet.released().map(of),
            candidate: self.fleet.candidate().map(of),
        };
        let actions = self.fleet.hello(hello, self.now);
        assigned(actions)
    }

    fn start(&mut self, revision: &str) -> Vec<String> {
        let renderings = self
            .fleet
            .connected()
            .map(|key| (key.clone(), Ok(target(revision, revision))))
            .collect();
        assigned(
            self.fleet
                .start(
                    Start { id: "x".into(), revision: revision.into(), plan: plan(), renderings },
                    self.now,
                )
                .unwrap(),
        )
    }

    fn ack(&mut self, number: u64, revision: &str, problems: Vec<Problem>) -> Vec<String> {
        assigned(self.fleet.acknowledged(
            &Self::name(number),
            number,
            &target(revision, revision),
            problems,
            self.now,
        ))
    }

    fn gone(&mut self, number: u64) -> Vec<String> {
        assigned(self.fleet.gone(&Self::name(number), number, self.now))
    }

    fn later(&mut self, by: i64) -> Vec<String> {
        self.now += seconds(by);
        assigned(self.fleet.tick(self.now))
    }

    fn state(&self) -> State {
        self.fleet.rollout().unwrap().state
    }

    /// Which stage it is in, while it is under way.
    fn stage(&self) -> &str {
        &self.fleet.rollout().unwrap().stage().unwrap().name
    }

    /// The service is killed and started again.
    fn restart(&mut self) {
        let rollout = self.fleet.rollout().map(from_disk);
        let (fleet, actions) =
            Fleet::resume(self.fleet.released().map(str::to_owned), rollout, self.now);
        self.fleet = fleet;
        assert_eq!(assigned(actions), Vec::<String>::new(), "nobody is connected yet");
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
fn a_canary_then_everybody_then_released() {
    let mut table = Table::new(3);
    assert_eq!(table.start("r2"), ["n1 r2"]);
    assert_eq!(table.ack(1, "r2", vec![]), Vec::<String>::new());
    assert_eq!(table.stage(), "canary");
    assert_eq!(table.later(1), ["n2 r2", "n3 r2"]);
    assert_eq!((table.stage(), table.fleet.released()), ("everybody", Some("r1")));
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
            answered |= together.answered(
                &Table::name(number),
                number,
                &target("r2", "r2"),
                problems,
                table.now,
            );
        }
        assert!(answered && together.conclude(table.now).contains(&Action::Changed));
        let known = |fleet: &Fleet| {
            let assigned: Vec<_> =
                fleet.nodes().values().map(|node| node.assigned.clone()).collect();
            (
                fleet.released().map(str::to_owned),
                fleet.rollout().map(|rollout| (rollout.state, rollout.explanation.clone())),
                assigned,
            )
        };
        assert_eq!(known(&together), known(&table.fleet), "{refuses:?}");
        assert_eq!(together.released(), if refuses.is_none() { Some("r2") } else { Some("r1") });
    }
}

#[test]
fn a_refusal_stops_it_and_gives_back_what_was_there() {
    let mut table = Table::new(3);
    table.start("r2");
    assert_eq!(
        table.ack(1, "r2", refusal()),
        Vec::<String>::new(),
        "who refused kept what it had, and nobody else got anything"
    );
    assert_eq!(
        (table.state(), table.node(1), table.node(2)),
        (State::Failed, NodeState::Rejected, NodeState::Waiting)
    );
    assert!(
        table.explanation().starts_with("proxy-node n1 refused it: port in use"),
        "{}",
        table.explanation()
    );

    let mut table = Table::new(3);
    table.start("r2");
    table.ack(1, "r2", vec![]);
    table.later(1);
    assert_eq!(table.ack(3, "r2", refusal()), ["n1 r1", "n2 r1"]);
    assert_eq!(
        (table.state(), table.node(1), table.node(3)),
        (State::Failed, NodeState::Reverted, NodeState::Rejected)
    );
    assert_eq!(table.fleet.released(), Some("r1"));
}

#[test]
fn silence_ends_it() {
    let mut table = Table::new(2);
    table.start("r2");
    table.later(14);
    assert_eq!(
        (table.state(), table.fleet.deadline()),
        (State::Running, Some(table.now + seconds(1)))
    );
    assert_eq!(table.later(1), ["n1 r1"]);
    assert_eq!(
        (table.state(), table.explanation()),
        (State::Failed, "proxy-node n1 did not answer within 15s")
    );
}

#[test]
fn a_canary_that_crashes_is_waited_for_and_not_replaced() {
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
    assert_eq!(
        table.hello(3, Some("r1"), &["r2"]),
        Vec::<String>::new(),
        "what crashed it is not given to it again"
    );
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
    assert_eq!(
        assigned(table.fleet.control("x", Control::Abort, table.now).unwrap()),
        ["n1 r1", "n2 r1"]
    );
    assert_eq!(table.state(), State::Aborted);
    assert_eq!(
        table.fleet.control("x", Control::Abort, table.now),
        Err(Error::NotRunning("x".into()))
    );
}

#[test]
fn one_at_a_time_and_again_is_the_same() {
    let mut table = Table::new(1);
    table.start("r2");
    assert_eq!(table.start("r2"), Vec::<String>::new());
    let other =
        Start { id: "y".into(), revision: "r3".into(), plan: plan(), renderings: BTreeMap::new() };
    assert!(matches!(table.fleet.start(other, table.now), Err(Error::Running { .. })));
}

#[test]
fn nobody_connected_is_done_at_once_and_nothing_differing_needs_no_canary() {
    let mut table = Table::new(0);
    table.start("r2");
    assert_eq!((table.state(), table.fleet.released()), (State::Done, Some("r2")));
    // The same hash under another name: told, not waited for.
    let mut table = Table::new(2);
    let renderings =
        table.fleet.connected().map(|key| (key.clone(), Ok(target("r2", "r1")))).collect();
    let actions = table
        .fleet
        .start(Start { id: "x".into(), revision: "r2".into(), plan: plan(), renderings }, table.now)
        .unwrap();
    assert_eq!(assigned(actions), ["n1 r2", "n2 r2"]);
    assert_eq!(table.state(), State::Done);
}

#[test]
fn what_cannot_be_rendered_for_one_is_given_to_nobody() {
    let mut table = Table::new(2);
    let renderings = BTreeMap::from([
        (Table::name(1), Ok(target("r2", "r2"))),
        (Table::name(2), Err(refusal())),
    ]);
    let actions = table
        .fleet
        .start(Start { id: "x".into(), revision: "r2".into(), plan: plan(), renderings }, table.now)
        .unwrap();
    assert_eq!(assigned(actions), Vec::<String>::new());
    assert_eq!((table.state(), table.node(2)), (State::Failed, NodeState::Rejected));
}

#[test]
fn a_restart_goes_on_where_it_was() {
    // The canary has it and has not answered.
    let mut table = Table::new(3);
    table.start("r2");
    table.restart();
    assert_eq!((table.state(), table.stage()), (State::Running, "canary"));
    assert_eq!(
        table.hello(2, Some("r1"), &[]),
        Vec::<String>::new(),
        "another does not become the canary"
    );
    assert_eq!(table.hello(1, Some("r1"), &[]), ["n1 r2"]);
    table.ack(1, "r2", vec![]);
    assert_eq!(table.later(1), ["n2 r2"]);
    table.ack(2, "r2", vec![]);
    assert_eq!(table.state(), State::Running, "n3 may come back");
    // n3 does not: it gets the revision when it is back.
    table.later(15);
    assert_eq!(
        (table.state(), table.node(3), table.fleet.released()),
        (State::Done, NodeState::Gone, Some("r2"))
    );

    // Everybody has it, and one has answered.
    let mut table = Table::new(3);
    table.start("r2");
    table.ack(1, "r2", vec![]);
    table.later(1);
    table.ack(2, "r2", vec![]);
    table.restart();
    assert_eq!(
        (table.stage(), table.node(2), table.node(3)),
        ("everybody", NodeState::Applied, NodeState::Assigned)
    );
    assert_eq!(table.hello(3, Some("r2"), &[]), Vec::<String>::new(), "it had taken it");
    assert_eq!((table.state(), table.fleet.released()), (State::Done, Some("r2")));
}

#[test]
fn a_soak_outlasts_a_restart_and_is_not_cut_short_by_one() {
    // The same process, whose connection was lost with the service: it goes on soaking.
    let soaking = |process: &str| {
        let mut table = Table::new(0);
        for number in [1, 2] {
            table.hello_of("a", number, Some("r1"), &[]);
        }
        table.start("r2");
        table.now += SignedDuration::from_millis(100);
        table.ack(1, "r2", vec![]);
        table.now += SignedDuration::from_millis(600);
        table.restart();
        table.hello_of("a", 2, Some("r1"), &[]);
        table.now += SignedDuration::from_millis(200);
        assert_eq!(
            table.hello_of(process, 1, Some("r2"), &[]),
            Vec::<String>::new(),
            "800 of 1000 ms"
        );
        table
    };
    let mut table = soaking("a");
    assert_eq!(table.fleet.deadline(), Some(table.now + SignedDuration::from_millis(200)));
    table.now += SignedDuration::from_millis(199);
    assert_eq!(table.later(0), Vec::<String>::new());
    table.now += SignedDuration::from_millis(1);
    assert_eq!(table.later(0), ["n2 r2"]);
    // Another process: it may have crashed, and soaks anew.
    let mut table = soaking("b");
    table.now += SignedDuration::from_millis(999);
    assert_eq!(table.later(0), Vec::<String>::new());
    table.now += SignedDuration::from_millis(1);
    assert_eq!(table.later(0), ["n2 r2"]);
    // Nobody comes back: how long the service was away counts for nothing, the time since does.
    let mut table = soaking("a");
    table.now += seconds(3600);
    table.restart();
    assert_eq!((table.later(14), table.state()), (vec![], State::Running));
    table.later(1);
    assert_eq!((table.state(), table.node(1)), (State::Failed, NodeState::Reverted));
    assert_eq!(
        table.explanation(),
        "proxy-node n1 went away after it got it, and was not back within 15s"
    );
    assert_eq!(table.hello(1, Some("r2"), &[]), ["n1 r1"]);
    // The clock was set back meanwhile.
    let mut table = Table::new(2);
    table.start("r2");
    table.ack(1, "r2", vec![]);
    table.now -= seconds(3600);
    table.restart();
    table.hello(2, Some("r1"), &[]);
    table.hello(1, Some("r2"), &[]);
    assert_eq!(table.later(1), ["n2 r2"]);
}

#[test]
fn what_cannot_go_on_has_failed_and_nodes_go_back() {
    let mut table = Table::new(2);
    table.start("r2");
    table.ack(1, "r2", vec![]);
    let rollout = table.fleet.rollout().cloned();
    // Begun by a version without plans.
    let without = rollout.clone().map(|rollout| Progress { plan: Plan::default(), ..rollout });
    for (fleet, actions) in [
        Fleet::resume(Some("r1".into()), without, table.now),
        Fleet::restored(Some("r1".into()), rollout),
    ] {
        assert_eq!(actions, [Action::Changed]);
        table.fleet = fleet;
        assert_eq!(
            (table.state(), table.node(1), table.node(2)),
            (State::Failed, NodeState::Reverted, NodeState::Waiting)
        );
        assert_eq!(table.hello(1, Some("r2"), &[]), ["n1 r1"]);
    }
}

/// What versions without plans wrote is read.
#[test]
fn an_earlier_record_is_read() {
    let written = r#"{"id":"x","revision":"r2","previous":"r1","state":"spreading",
        "explanation":"1 of 2 nodes have it",
        "started_at":"2026-01-01T00:00:00Z","changed_at":"2026-01-01T00:00:00Z",
        "nodes":[{"service":"proxy-node","name":"n1","state":"applied","exposed":true}]}"#;
    let record: Record = serde_json::from_str(written).unwrap();
    assert_eq!(
        (record.state, record.plan, record.position),
        (State::Running, Plan::default(), None)
    );
}

#[test]
fn a_third_stage_is_a_line_in_the_plan() {
    // Another canary of each service between the two.
    let mut plan = plan();
    plan.stages.insert(1, plan.stages[0].clone());
    let mut table = Table::new(4);
    let renderings =
        table.fleet.connected().map(|key| (key.clone(), Ok(target("r2", "r2")))).collect();
    let started = table
        .fleet
        .start(Start { id: "x".into(), revision: "r2".into(), plan, renderings }, table.now)
        .unwrap();
    assert_eq!(assigned(started), ["n1 r2"]);
    table.ack(1, "r2", vec![]);
    assert_eq!(table.later(1), ["n2 r2"]);
    table.ack(2, "r2", vec![]);
    assert_eq!(table.later(1), ["n3 r2", "n4 r2"]);
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
    /// Counts its starts.
    process: u64,
    applied: Option<Target>,
    /// Since when this process runs that.
    since: Timestamp,
    inbox: Vec<Target>,
    rejected: BTreeMap<String, String>,
}

/// What survives the service.
#[derive(Default)]
struct Disk {
    rollout: Option<Progress>,
    released: Option<String>,
}

/// Where the service is killed, when it is.
#[derive(Clone, Copy, PartialEq)]
enum Killed {
    BeforeWriting,
    AfterWriting,
    WhileSending,
}

struct World {
    random: Random,
    fleet: Fleet,
    now: Timestamp,
    sessions: u64,
    peers: BTreeMap<Key, Peer>,
    revisions: u64,
    disk: Disk,
    /// Who was sent the running rollout's hash, by service.
    exposed: BTreeMap<String, BTreeSet<String>>,
    /// Services of which somebody has run it for as long as it has to soak.
    soaked: BTreeSet<String>,
    /// Rollouts that an operator was told have been aborted.
    aborted: BTreeSet<String>,
    kills: u32,
    /// Nobody kills it any more.
    calm: bool,
}

/// Two revisions in three differ for a service.
fn hash(revision: &str, service: &str) -> String {
    let number: u64 = revision[1..].parse().unwrap();
    let content =
        if (number + service.len() as u64).is_multiple_of(3) { number - 1 } else { number };
    format!("{service}-{content}")
}

/// Every fifth hash is bad: proxy-nodes refuse it, balancers crash of it.
fn bad(hash: &str) -> bool {
    hash.rsplit('-').next().unwrap().parse::<u64>().unwrap() % 5 == 4
}

impl World {
    fn new(seed: u64) -> Self {
        let nodes = (1..=4)
            .map(|n| key("proxy-node", &format!("p{n}")))
            .chain((1..=3).map(|n| key("balancer", &format!("b{n}"))));
        Self {
            random: Random(seed),
            fleet: Fleet::new(None),
            now: Timestamp::UNIX_EPOCH,
            sessions: 0,
            peers: nodes.map(|key| (key, Peer::default())).collect(),
            revisions: 0,
            disk: Disk::default(),
            exposed: BTreeMap::new(),
            soaked: BTreeSet::new(),
            aborted: BTreeSet::new(),
            kills: 0,
            calm: false,
        }
    }

    fn rendering(revision: &str, service: &str) -> Result<Target, Vec<Problem>> {
        Ok(target(revision, &hash(revision, service)))
    }

    /// As the owner does it: first on the disk, then to the nodes. It may be killed anywhere;
    /// whether it was not.
    fn act(&mut self, actions: Vec<Action>) -> bool {
        let killed = match self.random.below(40) {
            _ if self.calm => None,
            0 => Some(Killed::BeforeWriting),
            1 => Some(Killed::AfterWriting),
            2 => Some(Killed::WhileSending),
            _ => None,
        };
        self.act_until(actions, killed)
    }

    fn act_until(&mut self, actions: Vec<Action>, killed: Option<Killed>) -> bool {
        self.observe();
        if killed == Some(Killed::BeforeWriting) {
            self.kill();
            return false;
        }
        if !actions.contains(&Action::Changed) {
            assert_eq!(
                self.fleet.rollout().map(kept),
                self.disk.rollout,
                "a change that nobody is told to write"
            );
        }
        self.write(&actions);
        if killed == Some(Killed::AfterWriting) {
            self.kill();
            return true;
        }
        for action in actions {
            let Action::Assign { key, target } = action else { continue };
            if killed.is_some() && self.random.below(2) == 0 {
                break;
            }
            self.deliver(&key, target);
        }
        if killed.is_some() {
            self.kill();
        }
        true
    }

    fn write(&mut self, actions: &[Action]) {
        self.disk.rollout = self.fleet.rollout().map(kept);
        if let Some(Action::Released(revision)) =
            actions.iter().find(|action| matches!(action, Action::Released(_)))
        {
            self.disk.released = Some(revision.clone());
        }
        assert_eq!(self.fleet.released(), self.disk.released.as_deref());
    }

    fn deliver(&mut self, key: &Key, target: Target) {
        if self.fleet.candidate() == Some(&target.revision) {
            self.exposure(key, &target);
        }
        let peer = self.peers.get_mut(key).unwrap();
        assert!(peer.session.is_some(), "assigned to nobody");
        assert!(!peer.rejected.contains_key(&target.hash), "given again what it will not take");
        peer.inbox.push(target);
    }

    /// Remembers which services have a node that has run the candidate for long enough.
    fn observe(&mut self) {
        let Some(candidate) = self.fleet.candidate() else { return };
        for (key, peer) in &self.peers {
            let runs_it = peer
                .applied
                .as_ref()
                .is_some_and(|applied| applied.hash == hash(candidate, &key.service));
            if runs_it && peer.since + TIMES.soak <= self.now {
                self.soaked.insert(key.service.clone());
            }
        }
    }

    /// Only one node of a service may hold what none of its processes has run for long enough.
    fn exposure(&mut self, key: &Key, target: &Target) {
        if self.peers[key].applied.as_ref().is_some_and(|applied| applied.hash == target.hash) {
            return;
        }
        let exposed = self.exposed.entry(key.service.clone()).or_default();
        exposed.insert(key.name.clone());
        assert!(
            exposed.len() == 1 || self.soaked.contains(&key.service),
            "{target:?} went to {exposed:?} before anybody had soaked"
        );
    }

    fn step(&mut self) {
        let keys: Vec<Key> = self.peers.keys().cloned().collect();
        let key = keys[self.random.below(keys.len() as u64) as usize].clone();
        match self.random.below(20) {
            0..=2 => self.connect(&key),
            3 => self.disconnect(&key),
            4..=11 => self.answer(&key),
            12..=14 => {
                self.wait(SignedDuration::from_millis(200 + (self.random.0 % 800).cast_signed()))
            }
            15 => self.wait(seconds(6)),
            16 | 17 => self.start(),
            18 => self.control(),
            _ => self.kill(),
        }
    }

    fn connect(&mut self, key: &Key) {
        self.sessions += 1;
        // Every other time it was restarted.
        let restarted = self.random.below(2) == 0;
        let of = |revision: &str| Self::rendering(revision, &key.service);
        let peer = self.peers.get_mut(key).unwrap();
        if restarted || peer.process == 0 {
            (peer.process, peer.since) = (peer.process + 1, self.now);
        }
        peer.session = Some(self.sessions);
        peer.inbox.clear();
        let hello = Hello {
            key: key.clone(),
            session: self.sessions,
            process: peer.process.to_string(),
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
        let now = self.now;
        let peer = self.peers.get_mut(key).unwrap();
        let Some(session) = peer.session.filter(|_| !peer.inbox.is_empty()) else { return };
        let target = peer.inbox.remove(0);
        if bad(&target.hash) && key.service == "balancer" {
            peer.rejected.insert(target.hash, "it crashed".into());
            (peer.process, peer.since) = (peer.process + 1, now);
            return self.disconnect(key);
        }
        let problems = if bad(&target.hash) { refusal() } else { Vec::new() };
        if problems.is_empty() {
            // The same hash under another revision's name changes nothing.
            if peer.applied.as_ref().is_none_or(|applied| applied.hash != target.hash) {
                peer.since = now;
            }
            peer.applied = Some(target.clone());
        }
        let waited =
            self.fleet.candidate() == Some(target.revision.as_str()) && problems.is_empty();
        let actions = self.fleet.acknowledged(key, session, &target, problems, self.now);
        let written = self.act(actions);
        // What was written of an acknowledgement is still there when the service has been killed
        // after it.
        let kept = self.disk.rollout.as_ref().and_then(|rollout| rollout.nodes.get(key));
        if waited && written && kept.is_some_and(|node| node.candidate == target) {
            assert_ne!(
                kept.map(|node| node.state),
                Some(NodeState::Waiting),
                "the answer of {key:?} is lost"
            );
        }
    }

    fn wait(&mut self, by: SignedDuration) {
        self.now += by;
        let actions = self.fleet.tick(self.now);
        self.act(actions);
    }

    fn start(&mut self) {
        self.revisions += 1;
        let revision = format!("r{}", self.revisions);
        let renderings = self
            .fleet
            .connected()
            .map(|key| (key.clone(), Self::rendering(&revision, &key.service)))
            .collect();
        if self.fleet.candidate().is_none() {
            self.exposed.clear();
            self.soaked.clear();
        }
        if let Ok(actions) = self.fleet.start(
            Start { id: revision.clone(), revision: revision.clone(), plan: plan(), renderings },
            self.now,
        ) && self.act(actions)
        {
            assert_eq!(
                self.disk.rollout.as_ref().map(|rollout| &rollout.id),
                Some(&revision),
                "a rollout that was begun is lost"
            );
        }
    }

    fn control(&mut self) {
        let Some(id) = self.fleet.rollout().map(|rollout| rollout.id.clone()) else { return };
        let control = [Control::Pause, Control::Resume, Control::Resume, Control::Abort]
            [self.random.below(4) as usize];
        if let Ok(actions) = self.fleet.control(&id, control, self.now)
            && self.act(actions)
        {
            let state = self.fleet.rollout().map(|rollout| rollout.state);
            match control {
                Control::Pause => assert_eq!(state, Some(State::Paused), "killed or not"),
                Control::Abort => drop(self.aborted.insert(id)),
                Control::Resume => assert_ne!(state, Some(State::Paused), "killed or not"),
            }
        }
    }

    /// kill -9, and a start with what is on the disk.
    fn kill(&mut self) {
        self.kills += 1;
        // Nobody waits for it meanwhile.
        self.now += SignedDuration::from_millis((self.random.below(3) * 700).cast_signed());
        let (fleet, actions) = Fleet::resume(
            self.disk.released.clone(),
            self.disk.rollout.as_ref().map(from_disk),
            self.now,
        );
        self.fleet = fleet;
        self.peers.values_mut().for_each(|peer| peer.session = None);
        if let Some(rollout) = self.fleet.rollout().filter(|rollout| rollout.state.is_under_way()) {
            assert!(!self.aborted.contains(&rollout.id), "an abort that was acknowledged is lost");
        }
        self.act_until(actions, None);
    }

    /// Everything ends: nobody new, everybody connected, all answers given.
    fn settle(&mut self) {
        self.calm = true;
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
        assert!(
            self.fleet.candidate().is_none(),
            "a rollout that never ends: {:?}",
            self.fleet.rollout()
        );
        let Some(released) = self.disk.released.clone() else { return };
        for (key, peer) in &self.peers {
            let wanted = target(&released, &hash(&released, &key.service));
            let never = peer.rejected.contains_key(&wanted.hash) || bad(&wanted.hash);
            assert!(
                never || peer.applied.as_ref() == Some(&wanted),
                "{key:?} runs {:?}, not {wanted:?}",
                peer.applied
            );
        }
    }
}

#[test]
fn simulated_nodes_never_hold_more_than_the_canaries_before_those_have_soaked() {
    let (mut done, mut kills) = (0, 0);
    for seed in 0..1500 {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..250 {
                world.step();
            }
            world.settle();
            (world.disk.released.is_some(), world.kills)
        });
        let (released, killed) = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        (done, kills) = (done + u32::from(released), kills + killed);
    }
    assert!(kills > 15_000, "too few kills: {kills}");
    assert!(done > 700, "too few courses released anything ({done}): the simulation proves little");
}
