//! Servers that die, stall and recover, against the pure parts alone: roster's book, picking,
//! suspicion. Thousands of simulated seconds.
//!
//! What has to hold: no request is refused while a server answers; a server that never fails is
//! never ejected, however slow its origins are.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use balancer::{
    config::Generation,
    evidence::{Change, Fault, Seen},
    pick,
    roster::book::{Book, Setting},
    server::Server,
    snapshot::Snapshot,
    standing::Standing,
    stats::Uptime,
    suspect::Watch,
};
use cluster::{AdminState, Instance, InstanceId, InstanceStatus, Service, State};
use jiff::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const STEP: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_millis(500);
const PROBES_TAKE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Up,
    /// Connections are refused.
    Dead,
    /// Connections are taken, and nothing is answered.
    Stalled,
}

struct Node {
    health: Health,
    up_since: Option<Instant>,
    never_fails: bool,
    state: State,
    watch: Watch,
    probe: Option<Instant>,
    next_check: Instant,
}

struct Request {
    began: Instant,
    tried: Vec<u64>,
    at: usize,
    releases: u64,
    /// When the origin answers, if the server lives.
    due: Instant,
}

struct Simulation {
    seed: u64,
    rng: StdRng,
    start: Instant,
    now: Instant,
    book: Book,
    uptime: Uptime,
    snapshot: Arc<Snapshot>,
    picked: Option<pick::State>,
    nodes: Vec<Node>,
    requests: Vec<Request>,
    answered: usize,
}

fn document() -> Vec<u8> {
    let text = r#"{"frontends":[{"name":"f","bind":"127.0.0.1:0","backend":"b"}],
        "backends":[{"name":"b","balance":"round_robin",
        "discover":{"service":"proxy-node","tags":[],"datacenter":null},"servers":[],
        "check":{"enabled":true,"inter":"1s","timeout":"1s","rise":2,"fall":3},
        "passive":{"max_fails":2,"fail_timeout":"30s","count":["connect"]},
        "suspicion":{"after":"500ms","probe_timeout":"250ms","probes":2},
        "retry":{"attempts":8,"budget":20},
        "timeouts":{"connect":"5s","client":"50s","server":"50s","request_head":"10s",
        "client_idle":"60s","tunnel_idle":"1h"},
        "keepalive":32,"keepalive_idle":"60s","panic_threshold":50}]}"#;
    text.as_bytes().to_vec()
}

fn status(index: usize, state: State) -> InstanceStatus {
    InstanceStatus {
        instance: Instance {
            service: Service::ProxyNode,
            name: format!("node-{index}"),
            id: InstanceId(uuid::Uuid::from_u128(1)),
            generation: 1,
            endpoints: BTreeMap::from([(
                "relay".to_owned(),
                format!("127.0.0.1:{}", 1000 + index),
            )]),
            datacenter: String::new(),
            zone: String::new(),
            tags: vec![],
            weight: 1,
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
        effective_weight: 1,
        opinions: vec![],
        withheld_state: None,
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let start = relay::clock::now();
        let uptime = Uptime::starting(start);
        let book = Book::new(Setting {
            workers: 1,
            uptime,
            key: relay::proof::Key::new(&[0; 32]),
            place: balancer::standing::locality::Place::default(),
            ledger: dataplane::ledger::Ledger::default(),
        });
        let node = |index: usize| Node {
            health: Health::Up,
            up_since: Some(start),
            // In every other run somebody never fails; in the others all may be ejected at once,
            // and the last resort is needed.
            never_fails: index == 0 && seed.is_multiple_of(2),
            state: State::Usable,
            watch: Watch::new(start),
            probe: None,
            next_check: start,
        };
        let nodes = (0..rng.random_range(2..6)).map(node).collect();
        let snapshot = Arc::new(Snapshot::empty());
        let mut this = Self {
            seed,
            rng,
            start,
            now: start,
            book,
            uptime,
            snapshot,
            picked: None,
            nodes,
            requests: vec![],
            answered: 0,
        };
        this.reconcile();
        this
    }

    fn reconcile(&mut self) {
        let generation = Arc::new(
            Generation::build("r1", &document(), crate::support::NO_FILES)
                .expect("a good document"),
        );
        let statuses: Vec<_> =
            self.nodes.iter().enumerate().map(|(index, node)| status(index, node.state)).collect();
        self.book.reconcile(&generation, statuses.iter(), self.now);
        self.judge();
    }

    fn judge(&mut self) {
        if let Some(snapshot) = self.book.judge(self.now, Timestamp::UNIX_EPOCH) {
            let plan = &snapshot.pools[0].plan;
            self.picked = Some(match (&self.picked, self.snapshot.pools.first()) {
                (Some(picked), Some(before)) => picked.carried_over(&before.plan, plan),
                _ => pick::State::new(plan, self.seed),
            });
            self.snapshot = Arc::new(snapshot);
        }
    }

    fn server(&self, index: usize) -> Arc<Server> {
        Arc::clone(&self.snapshot.pools[0].servers[index].server)
    }

    fn observe(&mut self, index: usize, seen: Seen) {
        let change = self.book.observe(self.server(index).key, seen.clone(), self.now);
        if let Some((Change::Ejected, name)) = change {
            assert!(
                !self.nodes[index].never_fails,
                "seed {}: {name} never failed and was ejected: {seen:?}",
                self.seed
            );
        }
        self.judge();
    }

    fn step(&mut self) {
        self.now += STEP;
        self.live();
        for index in 0..self.nodes.len() {
            self.check(index);
            self.suspect(index);
        }
        for mut request in std::mem::take(&mut self.requests) {
            if self.proceeds(&mut request) {
                self.requests.push(request);
            }
        }
        if self.rng.random_bool(0.3) {
            self.arrive();
        }
    }

    /// What happens to servers and to what the registry thinks of them.
    fn live(&mut self) {
        for index in 0..self.nodes.len() {
            if !self.nodes[index].never_fails && self.rng.random_bool(0.01) {
                let health = [Health::Up, Health::Up, Health::Dead, Health::Stalled]
                    [self.rng.random_range(0..4)];
                let node = &mut self.nodes[index];
                node.up_since = (health == Health::Up).then(|| node.up_since.unwrap_or(self.now));
                node.health = health;
            }
        }
        if self.rng.random_bool(0.005) {
            let states =
                [State::Usable, State::Usable, State::Suspect, State::Critical, State::Lost];
            for index in 0..self.nodes.len() {
                self.nodes[index].state = states[self.rng.random_range(0..states.len())];
            }
            self.reconcile();
        }
    }

    fn check(&mut self, index: usize) {
        if self.now < self.nodes[index].next_check {
            return;
        }
        let passed = self.nodes[index].health == Health::Up;
        self.observe(
            index,
            if passed { Seen::Passed } else { Seen::Failed(Fault::Check("no answer".to_owned())) },
        );
        let hurry = !passed || self.server(index).signs.is_in_transition();
        self.nodes[index].next_check =
            self.now + Duration::from_millis(if hurry { 200 } else { 1000 });
    }

    fn suspect(&mut self, index: usize) {
        let server = self.server(index);
        if let Some(since) =
            self.nodes[index].probe.filter(|since| self.now - *since >= PROBES_TAKE)
        {
            self.nodes[index].probe = None;
            assert!(since >= self.start);
            if self.nodes[index].health == Health::Up {
                server.signs.probe_answered(self.uptime, self.now);
            } else {
                self.observe(index, Seen::Failed(Fault::Silent));
            }
            server.signs.end_probe();
        }
        let node = &mut self.nodes[index];
        if let Some(at) = server.signs.last_probe_answer(self.uptime) {
            node.watch.heard(at);
        }
        if node.watch.is_late(self.now, LATE) && server.signs.begin_probe() {
            node.probe = Some(self.now);
        }
    }

    fn arrive(&mut self) {
        // Some origins take half a minute.
        let takes = if self.rng.random_bool(0.2) {
            self.rng.random_range(1_000..30_000)
        } else {
            self.rng.random_range(1..300)
        };
        let mut request = Request {
            began: self.now,
            tried: vec![],
            at: 0,
            releases: 0,
            due: self.now + Duration::from_millis(takes),
        };
        if self.asks(&mut request) {
            self.requests.push(request);
        }
    }

    /// Asks server after server until one takes it; false when nobody does.
    fn asks(&mut self, request: &mut Request) -> bool {
        loop {
            let pool = Arc::clone(&self.snapshot.pools[0]);
            let tried = |index: usize| request.tried.contains(&pool.servers[index].server.key);
            let wanted =
                pick::Request { head: None, client: None, servers: &pick::Idle, tried: &tried };
            let state = self.picked.as_mut().expect("there is a snapshot");
            let Some(index) = pick::pick(&pool.plan, state, &wanted) else {
                let answering = self
                    .nodes
                    .iter()
                    .any(|node| node.up_since.is_some_and(|since| since <= request.began));
                assert!(
                    !answering,
                    "seed {}: refused after {:?} although a server answered all the time",
                    self.seed,
                    self.now - self.start
                );
                return false;
            };
            let server = self.server(index);
            request.tried.push(server.key);
            if self.nodes[index].health == Health::Dead {
                self.observe(index, Seen::Failed(Fault::Refused));
                continue;
            }
            (request.at, request.releases) = (index, server.signs.releases());
            self.nodes[index].watch.owes(self.now);
            return true;
        }
    }

    /// One step of a waiting request; false when it has ended.
    fn proceeds(&mut self, request: &mut Request) -> bool {
        let index = request.at;
        let server = self.server(index);
        let others = || {
            let pool = &self.snapshot.pools[0];
            pool.servers.iter().any(|it| {
                it.judgement.standing < Standing::Unwell && !request.tried.contains(&it.server.key)
            })
        };
        match self.nodes[index].health {
            Health::Up if self.now >= request.due => {
                self.nodes[index].watch.heard(self.now);
                self.nodes[index].watch.settled();
                server.tally.counts.of(0).answered_at.set(self.uptime.millis(self.now));
                self.answered += 1;
                false
            }
            Health::Dead => {
                self.nodes[index].watch.settled();
                self.observe(index, Seen::Failed(Fault::Reset));
                self.asks(request)
            }
            Health::Up | Health::Stalled
                if server.signs.releases() != request.releases && others() =>
            {
                self.nodes[index].watch.settled();
                self.asks(request)
            }
            Health::Up | Health::Stalled => true,
        }
    }
}

#[test]
fn nobody_is_refused_while_a_server_answers_and_no_slow_origin_ejects_one() {
    let mut answered = 0;
    for seed in 0..60 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..4_000 {
            simulation.step();
        }
        answered += simulation.answered;
        let oldest = simulation
            .requests
            .iter()
            .map(|it| simulation.now - it.began)
            .max()
            .unwrap_or_default();
        assert!(
            !seed.is_multiple_of(2) || oldest < Duration::from_secs(40),
            "seed {seed}: a request waits since {oldest:?}"
        );
    }
    assert!(answered > 50_000, "{answered}");
}
