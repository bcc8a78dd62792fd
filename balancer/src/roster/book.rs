//! The roster's book: who the servers are and what is known of each, as a fold. No IO; `now` comes
//! in.

mod maxconn;
mod outliers;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use cluster::{InstanceId, InstanceStatus};
use cluster_config::document::balancer::Backend;
use dataplane::ledger::Ledger;
use jiff::Timestamp;
use relay::proof::Key;

use crate::{
    capacity::Capacity,
    config::{self, Generation},
    evidence::{Change, Evidence, Fault, Opinion, Rules, Seen},
    membership::{self, Desired, Member},
    queue::Queue,
    server::{Protocol, Server, Signs, Tally},
    snapshot::{Listed, Pool, Snapshot},
    standing::{
        Inputs, Judgement, Reason, Standing,
        agent::Agent,
        judge,
        locality::{Place, levels},
        outlier::{Comparison, Outlier},
        settle,
        shedding::Shedding,
        slow_start::SlowStart,
    },
    stats::{BackendCounts, PerWorker, Uptime},
};

use maxconn::Maxconns;
pub use outliers::Compared;

/// What the book needs to know of its process.
#[derive(Clone)]
pub struct Setting {
    /// Number of data-path workers.
    pub workers: usize,
    /// For times in atomics.
    pub uptime: Uptime,
    /// The cluster key, which opens nodes' relay ports.
    pub key: Key,
    /// Where this balancer is.
    pub place: Place,
    /// Where what is counted goes on.
    pub ledger: Ledger,
}

/// One line: a server and what is known of it.
struct Known {
    server: Arc<Server>,
    id: Option<InstanceId>,
    member: Member,
    evidence: Evidence,
    created_at: Instant,
    standing: Option<(Standing, Timestamp)>,
    slow_start: SlowStart,
    shedding: Shedding,
    agent: Agent,
    outlier: Outlier,
}

struct Page {
    settings: Arc<Backend>,
    comparison: Comparison,
    queue: Arc<Queue>,
    entries: Vec<Known>,
    missing: Vec<String>,
}

pub struct Book {
    setting: Setting,
    generation: Arc<Generation>,
    pages: Vec<Page>,
    /// By backend and name, so that they outlive the process behind a server.
    tallies: HashMap<(String, String), Arc<Tally>>,
    backends: HashMap<String, Arc<PerWorker<BackendCounts>>>,
    queues: HashMap<String, Arc<Queue>>,
    /// Host names that were looked up.
    resolved: HashMap<String, SocketAddr>,
    overrides: BTreeMap<String, Desired>,
    maxconns: Maxconns,
    next_key: u64,
    published: u64,
    /// Who went out of turn, or came back, when everybody was judged last.
    changes: Vec<Compared>,
    last: Vec<Arc<Pool>>,
    last_generation: Arc<Generation>,
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new(setting: Setting) -> Self {
        Self {
            setting,
            generation: Arc::new(Generation::none()),
            pages: Vec::new(),
            tallies: HashMap::new(),
            backends: HashMap::new(),
            queues: HashMap::new(),
            resolved: HashMap::new(),
            overrides: BTreeMap::new(),
            maxconns: Maxconns::default(),
            next_key: 1,
            published: 0,
            changes: Vec::new(),
            last: Vec::new(),
            last_generation: Arc::new(Generation::none()),
        }
    }

    /// Makes the pages say what configuration and registry say. What is known of a server is kept
    /// while its name, address and process stay.
    pub fn reconcile<'a>(
        &mut self,
        generation: &Arc<Generation>,
        instances: impl Iterator<Item = &'a InstanceStatus> + Clone,
        now: Instant,
    ) {
        self.generation = Arc::clone(generation);
        let mut old: HashMap<String, Page> =
            self.pages.drain(..).map(|page| (page.settings.name.clone(), page)).collect();
        for backend in &generation.document.backends {
            let before = old.remove(&backend.name);
            let comparison = before.as_ref().map(|page| page.comparison).unwrap_or_default();
            let known = before.map(|page| page.entries).unwrap_or_default();
            let mut known: HashMap<String, Known> =
                known.into_iter().map(|entry| (entry.member.name.clone(), entry)).collect();
            let ledger = &self.setting.ledger;
            let queue = self.queues.entry(backend.name.clone()).or_insert_with(|| {
                let queue = Arc::<Queue>::default();
                ledger.enter(format!("queue/{}", backend.name), queue.clone());
                queue
            });
            queue.bound(&backend.circuit_breaker);
            let mut page = Page {
                settings: Arc::new(backend.clone()),
                comparison,
                queue: Arc::clone(queue),
                entries: Vec::new(),
                missing: Vec::new(),
            };
            for mut member in membership::members(backend, instances.clone(), &self.overrides) {
                self.maxconns.apply(&backend.name, &mut member);
                let Some(address) = self.address_of(&member.address) else {
                    page.missing.push(format!(
                        "{}: the address of {} is not known (yet)",
                        member.name, member.address
                    ));
                    continue;
                };
                let same = |entry: &Known| {
                    entry.server.address == address
                        && entry.id == member.id
                        && entry.member.backup == member.backup
                        && entry.member.last_resort == member.last_resort
                };
                let entry = match known.remove(&member.name).filter(same) {
                    Some(entry) => Known { member, ..entry },
                    None => self.enter(&backend.name, member, address, now),
                };
                page.entries.push(entry);
            }
            self.pages.push(page);
        }
    }

    fn enter(&mut self, backend: &str, member: Member, address: SocketAddr, now: Instant) -> Known {
        let key = self.next_key;
        self.next_key += 1;
        let workers = self.setting.workers;
        // By backend in the order of their first appearance, so that a number stays a server's.
        let of_backend = self.tallies.keys().filter(|(it, _)| it == backend).count();
        let number = u32::try_from(of_backend + 1).unwrap_or(u32::MAX);
        let tally =
            self.tallies.entry((backend.to_owned(), member.name.clone())).or_insert_with(|| {
                let tally = Arc::new(Tally::new(workers, number));
                let what = format!("server/{backend}/{}", member.name);
                self.setting.ledger.enter(what, tally.clone());
                tally
            });
        let counts = self.backends.entry(backend.to_owned()).or_insert_with(|| {
            let counts = Arc::new(PerWorker::new(workers));
            self.setting.ledger.enter(format!("backend/{backend}"), counts.clone());
            counts
        });
        let protocol = if member.id.is_some() {
            Protocol::Relay { key: self.setting.key.clone() }
        } else {
            Protocol::Plain
        };
        let server = Server {
            key,
            name: member.name.clone(),
            address,
            protocol,
            discovered: member.id.is_some(),
            backup: member.backup || member.last_resort,
            tally: Arc::clone(tally),
            capacity: Capacity::default(),
            backend: Arc::clone(counts),
            signs: Signs::default(),
        };
        Known {
            server: Arc::new(server),
            id: member.id,
            member,
            evidence: Evidence::default(),
            created_at: now,
            standing: None,
            slow_start: SlowStart::default(),
            shedding: Shedding::default(),
            agent: Agent::default(),
            outlier: Outlier::default(),
        }
    }

    fn address_of(&self, text: &str) -> Option<SocketAddr> {
        text.parse().ok().or_else(|| self.resolved.get(text).copied())
    }

    /// Members' addresses that are host names.
    #[must_use]
    pub fn names_to_look_up<'a>(
        &self,
        instances: impl Iterator<Item = &'a InstanceStatus> + Clone,
    ) -> Vec<String> {
        let members = |backend| membership::members(backend, instances.clone(), &self.overrides);
        let names =
            self.generation.document.backends.iter().flat_map(members).map(|member| member.address);
        let mut names: Vec<_> =
            names.filter(|address| address.parse::<SocketAddr>().is_err()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A name was looked up. Returns whether that changed anything.
    pub fn looked_up(&mut self, name: String, address: SocketAddr) -> bool {
        self.resolved.insert(name, address) != Some(address)
    }

    /// Something was set here.
    pub fn set(&mut self, server: &str, set: Desired) {
        let entry = self.overrides.entry(server.to_owned()).or_default();
        *entry = Desired {
            admin: set.admin.or(entry.admin),
            weight: set.weight.or(entry.weight),
            address: set.address.or(entry.address),
        };
    }

    /// A server may have so many requests and tunnels at a time, whatever the bundle says now;
    /// none: any number.
    pub fn set_maxconn(&mut self, backend: &str, server: &str, most: Option<u32>) {
        self.maxconns.set(backend, server, most);
    }

    /// A server's agent has said something; none: there is no agent any more.
    pub fn agent_said(&mut self, key: u64, line: Option<&str>) {
        let entries = self.pages.iter_mut().flat_map(|page| &mut page.entries);
        for entry in entries.filter(|entry| entry.server.key == key) {
            match line {
                Some(line) => entry.agent.hear(line),
                None => entry.agent = Agent::default(),
            }
        }
    }

    /// The registry knows now what was set here.
    pub fn forget(&mut self, server: &str) {
        self.overrides.remove(server);
    }

    /// What was set here for discovered servers and is not known to the registry.
    #[must_use]
    pub fn drift(&self) -> Vec<(String, Desired)> {
        let discovered = |name: &String| {
            self.entries().any(|entry| entry.member.name == *name && entry.id.is_some())
        };
        self.overrides
            .iter()
            .filter(|(name, _)| discovered(name))
            .map(|(name, set)| (name.clone(), *set))
            .collect()
    }

    /// Every server now.
    pub fn servers(&self) -> impl Iterator<Item = (&Arc<Backend>, &Arc<Server>)> {
        self.pages
            .iter()
            .flat_map(|page| page.entries.iter().map(|entry| (&page.settings, &entry.server)))
    }

    fn entries(&self) -> impl Iterator<Item = &Known> {
        self.pages.iter().flat_map(|page| &page.entries)
    }

    /// Adds one observation about a server; one that is not in the book any more is nobody's
    /// business.
    pub fn observe(&mut self, key: u64, seen: Seen, now: Instant) -> Option<(Change, String)> {
        let (page, index) = self.pages.iter_mut().find_map(|page| {
            let index = page.entries.iter().position(|entry| entry.server.key == key)?;
            Some((page, index))
        })?;
        let rules = config::rules(&page.settings);
        let entry = &mut page.entries[index];
        match &seen {
            Seen::Passed => entry.server.tally.checks.passed.fetch_add(1, Relaxed),
            Seen::Failed(Fault::Check(_)) => entry.server.tally.checks.failed.fetch_add(1, Relaxed),
            Seen::Failed(_) | Seen::SaidToBeWell => 0,
        };
        let silent = seen == Seen::Failed(Fault::Silent);
        let change = entry.evidence.observe(&rules, now, seen);
        if silent {
            entry.server.signs.release();
        }
        if change == Some(Change::Ejected) {
            entry.server.tally.checks.ejections.fetch_add(1, Relaxed);
        }
        change.map(|change| (change, entry.server.name.clone()))
    }

    /// Judges everybody. Returns a new snapshot when anything that anybody can see has changed.
    pub fn judge(&mut self, now: Instant, wall: Timestamp) -> Option<Snapshot> {
        let (setting, last, changes) = (&self.setting, &self.last, &mut self.changes);
        let pools: Vec<_> = self
            .pages
            .iter_mut()
            .enumerate()
            .map(|(index, page)| page.judge(setting, now, wall, (last.get(index), changes)))
            .collect();
        let same = pools.len() == last.len()
            && pools.iter().zip(last).all(|(pool, last)| Arc::ptr_eq(pool, last));
        if self.published > 0 && same && Arc::ptr_eq(&self.generation, &self.last_generation) {
            return None;
        }
        self.published += 1;
        self.last.clone_from(&pools);
        self.last_generation = Arc::clone(&self.generation);
        Some(Snapshot { number: self.published, generation: Arc::clone(&self.generation), pools })
    }
}

impl Page {
    /// Judges everybody. The pool is the last one while nothing in it has changed, so that a plan
    /// is built only when there is something to plan.
    fn judge(
        &mut self,
        setting: &Setting,
        now: Instant,
        wall: Timestamp,
        (last, changes): (Option<&Arc<Pool>>, &mut Vec<Compared>),
    ) -> Arc<Pool> {
        let rules = config::rules(&self.settings);
        let mut judgements: Vec<Judgement> =
            self.entries.iter_mut().map(|entry| entry.judge(&rules, setting.uptime, now)).collect();
        changes.extend(self.compare(&mut judgements, now));
        let panic = settle(&mut judgements, u32::from(self.settings.panic_threshold));
        let levels = self.levels(&setting.place, &judgements);
        let usable = |it: &Known| it.standing.is_some_and(|(it, _)| it == Standing::Usable);
        let (others, settings) = (self.entries.iter().any(usable), &self.settings);
        let servers: Vec<_> = self
            .entries
            .iter_mut()
            .zip(judgements.into_iter().zip(levels))
            .map(|(entry, (mut judgement, level))| {
                let percent = entry.share(&mut judgement, others, settings, now);
                entry.listed(judgement, (percent, level), wall)
            })
            .collect();
        match last.filter(|last| last.shows(&self.settings, &servers, panic, &self.missing)) {
            Some(last) => Arc::clone(last),
            None => Arc::new(Pool::new(
                Arc::clone(&self.settings),
                servers,
                Arc::clone(&self.queue),
                panic,
                self.missing.clone(),
            )),
        }
    }
}

impl Page {
    /// Who comes first among those of one standing.
    fn levels(&self, here: &Place, judgements: &[Judgement]) -> Vec<u8> {
        let prefer = &self.settings.prefer;
        let distance = |it: &Known| here.distance(&it.member.place, &prefer.order);
        let distances = self.entries.iter().map(distance);
        levels(&distances.zip(judgements).collect::<Vec<_>>(), prefer)
    }
}

impl Known {
    fn judge(&mut self, rules: &Rules, uptime: Uptime, now: Instant) -> Judgement {
        let answered = uptime.instant(self.server.tally.counts.max(|it| &it.answered_at));
        if let Some(at) = answered.filter(|&at| at > self.created_at) {
            self.evidence.answered(at);
        }
        self.server.signs.set_in_transition(self.evidence.in_transition());
        let own = self.evidence.opinion(rules, now);
        self.server.signs.set_down(matches!(own, Opinion::Bad(_)));
        judge(&Inputs {
            admin: self.member.admin,
            weight: self.member.weight,
            backup: self.member.backup,
            last_resort: self.member.last_resort,
            own,
            agent: self.agent.clone(),
            verdict: self.member.verdict.clone(),
        })
    }

    /// Percent of its weight that it gets for now.
    fn share(
        &mut self,
        judgement: &mut Judgement,
        others: bool,
        settings: &Backend,
        now: Instant,
    ) -> u8 {
        let before = self.standing.map(|(standing, _)| standing);
        self.slow_start.judged(before, judgement, others, now);
        let load = self.server.signs.load().unwrap_or(0);
        let every = settings.check.inter;
        let shed = self.shedding.look(load, settings.shed_above, every, now);
        let slow = self.slow_start.percent(settings.slow_start, now);
        let agent = self.agent.percent;
        for (percent, reason) in [
            (shed, Reason::Full { load, percent: shed }),
            (agent, Reason::AgentShare(agent)),
            (slow, Reason::SlowStart(slow)),
        ] {
            // Why it gets nothing is said first.
            if percent < 100 && judgement.standing != Standing::Excluded {
                judgement.reasons.insert(0, reason);
            }
        }
        let parts = [shed, agent, slow].map(u32::from);
        u8::try_from(parts.iter().product::<u32>() / 10_000).unwrap_or(100).max(1)
    }

    fn listed(
        &mut self,
        judgement: Judgement,
        (percent, level): (u8, u8),
        wall: Timestamp,
    ) -> Listed {
        let since = match self.standing {
            Some((standing, since)) if standing == judgement.standing => since,
            _ => wall,
        };
        self.standing = Some((judgement.standing, since));
        let maxconn = self.agent.maxconn.or(self.member.maxconn);
        self.server.capacity.bound(maxconn);
        Listed {
            server: Arc::clone(&self.server),
            judgement,
            admin: self.member.admin,
            weight: self.member.weight,
            percent,
            level,
            place: self.member.place.clone(),
            maxconn,
            initial_weight: self.member.initial_weight,
            drift: self.member.drift,
            changed_at: since,
        }
    }
}
