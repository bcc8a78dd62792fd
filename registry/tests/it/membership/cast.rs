//! Who plays in these tests.

use std::{collections::BTreeMap, time::Duration};

use cluster::{
    AdminState, Instance, InstanceId, Opinion, Service, State, Verdict, guard::Threshold,
};
use jiff::{SignedDuration, Timestamp};
use registry::{
    command::{self, Command, Desired, Outcome, Record, Renewal, Slot},
    membership::{Changes, Membership},
};
use uuid::Uuid;

/// Every lease here.
pub const TTL: Duration = Duration::from_secs(6);

/// The `n`th process start.
pub fn id(n: u64) -> InstanceId {
    InstanceId(Uuid::from_u64_pair((0x0190_0000_0000 << 16) | 0x7000, (0x8 << 60) | n))
}

pub fn instance(service: Service, name: &str, start: u64) -> Instance {
    Instance {
        service,
        name: name.to_owned(),
        id: id(start),
        generation: 0,
        endpoints: BTreeMap::from([("grpc".to_owned(), "10.0.0.1:7101".to_owned())]),
        datacenter: String::new(),
        zone: String::new(),
        tags: Vec::new(),
        weight: 100,
        version: "0.1.0".to_owned(),
        applied_revision: String::new(),
        applied_hash: String::new(),
    }
}

/// A registry without a process around it: a membership, a clock that is moved by hand, and a store
/// that is a map.
pub struct World {
    pub membership: Membership,
    pub store: BTreeMap<Slot, Record>,
    pub now: Timestamp,
    pub last: Changes,
}

impl World {
    pub fn new() -> Self {
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        Self {
            membership: Membership::new(Threshold::DEFAULT),
            store: BTreeMap::new(),
            now,
            last: Changes::default(),
        }
    }

    pub fn apply(&mut self, command: Command) -> Result<Outcome, command::Error> {
        self.membership.apply(command, self.now)
    }

    pub fn settle(&mut self) {
        self.membership.elapse(self.now);
        self.last = self.membership.settle(self.now);
        for (slot, entry) in self.membership.take_writes() {
            match entry {
                Some(entry) => self.store.insert(slot, entry),
                None => self.store.remove(&slot),
            };
        }
    }

    pub fn does(&mut self, command: Command) -> Outcome {
        let outcome = self.apply(command).expect("not refused");
        self.settle();
        outcome
    }

    pub fn refuses(&mut self, command: Command) -> command::Error {
        let before = self.store.clone();
        let refusal = self.apply(command).expect_err("refused");
        self.settle();
        assert_eq!(self.store, before, "a refused command changes nothing");
        refusal
    }

    /// Time passes, and nothing else.
    pub fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.settle();
    }

    /// Time passes while these keep their leases.
    pub fn wait_alive(&mut self, seconds: i64, alive: &[&str]) {
        for _ in 0..seconds {
            self.now += SignedDuration::from_secs(1);
            for name in alive {
                self.renew(name);
            }
            self.settle();
        }
    }

    pub fn restart(&mut self) {
        let entries =
            self.store.iter().map(|(slot, entry)| (slot.clone(), entry.clone())).collect();
        self.membership = Membership::replay(Threshold::DEFAULT, entries, self.now);
        self.settle();
    }

    pub fn register(&mut self, service: Service, name: &str, start: u64) {
        self.does(Command::Register {
            instance: instance(service, name, start),
            ttl: TTL,
            ready: true,
            by: None,
        });
    }

    /// Registers ready nodes; the `n`th is process start `n`.
    pub fn nodes(&mut self, names: &[&str]) {
        for (start, name) in (0..).zip(names) {
            self.register(Service::ProxyNode, name, start);
        }
    }

    pub fn renewal(&self, name: &str) -> Renewal {
        let instance = self.membership.status(name).expect("registered").instance;
        Renewal {
            name: name.to_owned(),
            id: instance.id,
            generation: instance.generation,
            applied_revision: instance.applied_revision,
            applied_hash: instance.applied_hash,
            ready: true,
        }
    }

    pub fn renew(&mut self, name: &str) {
        let renewal = self.renewal(name);
        self.apply(Command::Renew(renewal)).expect("registered");
    }

    pub fn opinion(&self, checker: &str, check: &str, target: &str, verdict: Verdict) -> Opinion {
        Opinion {
            checker: checker.to_owned(),
            check: check.to_owned(),
            target_id: self.membership.status(target).expect("registered").instance.id,
            target_name: target.to_owned(),
            verdict,
            observed_at: self.now,
            ttl: Duration::from_secs(30),
            detail: "refused".to_owned(),
            assigned: 3,
        }
    }

    /// These checkers find that target unwell.
    pub fn accuse(&mut self, checkers: &[&str], target: &str) {
        let opinions = checkers
            .iter()
            .map(|checker| self.opinion(checker, "tcp", target, Verdict::Critical))
            .collect();
        self.does(Command::Report { opinions });
    }

    pub fn desired(&mut self, name: &str, admin_state: AdminState, weight: Option<u32>) {
        self.does(Command::Desired {
            name: name.to_owned(),
            desired: Desired { admin_state, weight, reason: "test".to_owned() },
        });
    }

    pub fn state(&self, name: &str) -> Option<State> {
        self.membership.status(name).map(|status| status.state)
    }

    pub fn withheld(&self, name: &str) -> Option<State> {
        self.membership.status(name).and_then(|status| status.withheld_state)
    }
}
