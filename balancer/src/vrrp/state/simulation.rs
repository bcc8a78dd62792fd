//! Two to five routers on a network that loses, delays and parts, in both directions or in one, and
//! machines that freeze. Seeded: a failing run says its seed.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::*;

struct Router {
    machine: Machine,
    frozen: bool,
    /// What came while it was frozen.
    waiting: Vec<Heard>,
    /// When it became master or ceased to be.
    changes: Vec<Moment>,
}

struct World {
    rng: StdRng,
    now: Moment,
    routers: Vec<Router>,
    /// `reaches[a][b]`: what a says comes to b.
    reaches: Vec<Vec<bool>>,
    /// Of a hundred.
    loss: u32,
    delay: Duration,
    /// When, to whom, what.
    on_the_way: Vec<(Moment, usize, Heard)>,
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl World {
    fn new(seed: u64, preempt: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(2..=5_u8);
        let version = if rng.random() { Version::V3 } else { Version::V2 };
        let second = ms(1000);
        let routers = (0..count).map(|index| {
            let interval = match version {
                Version::V2 => second,
                Version::V3 => ms(rng.random_range(5..=20) * 10),
            };
            let settings = Settings {
                version,
                interval,
                preempt,
                preempt_delay: ms(if rng.random() { 0 } else { rng.random_range(0..500) }),
                address: IpAddr::from([10, 0, 0, index + 1]),
            };
            // Equal ones are common.
            let machine = Machine::new(settings, [50, 100, 100, 200][rng.random_range(0..4)]);
            Router { machine, frozen: false, waiting: Vec::new(), changes: Vec::new() }
        });
        let routers: Vec<_> = routers.collect();
        let shortest = routers.iter().map(|it| it.machine.settings.interval).min().unwrap();
        let reaches = vec![vec![true; routers.len()]; routers.len()];
        let delay = shortest / 5;
        let mut world =
            Self { rng, now: ms(0), routers, reaches, loss: 0, delay, on_the_way: Vec::new() };
        for index in 0..world.routers.len() {
            world.act(index, |machine, now| machine.start(now));
        }
        world
    }

    /// Long enough for everything to be decided.
    fn bound(&self) -> Duration {
        let longest = self.routers.iter().map(|it| it.machine.settings.interval).max().unwrap();
        longest * 14 + ms(500)
    }

    fn act(&mut self, index: usize, what: impl FnOnce(&mut Machine, Moment) -> Vec<Action>) {
        let now = self.now;
        let router = &mut self.routers[index];
        let before = router.machine.state();
        let actions = what(&mut router.machine, now);
        let after = router.machine.state();
        let was_released = actions.contains(&Action::Release);
        assert_eq!(was_released, before == State::Master && after != State::Master);
        assert_eq!(
            actions.contains(&Action::Take),
            before != State::Master && after == State::Master
        );
        if (before == State::Master) != (after == State::Master) {
            router.changes.push(now);
        }
        let Settings { address: from, interval, .. } = router.machine.settings;
        for action in actions {
            if let Action::Advertise(priority) = action {
                self.send(index, Heard { from, priority, interval });
            }
        }
    }

    fn send(&mut self, from: usize, heard: Heard) {
        for to in 0..self.routers.len() {
            if to == from || !self.reaches[from][to] || self.rng.random_range(0..100) < self.loss {
                continue;
            }
            let delay = self.delay.mul_f64(self.rng.random());
            self.on_the_way.push((self.now + delay, to, heard));
        }
    }

    fn run(&mut self, until: Moment) {
        loop {
            let arrival = self.on_the_way.iter().map(|it| it.0).min();
            let awake = self.routers.iter().filter(|it| !it.frozen);
            let timer = awake.filter_map(|it| it.machine.wake_at()).min();
            let next = [arrival, timer].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if let Some(at) = self.on_the_way.iter().position(|it| it.0 <= self.now) {
                let (_, to, heard) = self.on_the_way.swap_remove(at);
                if self.routers[to].frozen {
                    self.routers[to].waiting.push(heard);
                } else {
                    self.act(to, |machine, now| machine.hear(now, heard));
                }
                continue;
            }
            let due =
                |it: &Router| !it.frozen && it.machine.wake_at().is_some_and(|at| at <= self.now);
            let index = self.routers.iter().position(due).unwrap();
            self.act(index, Machine::tick);
            let moved = self.routers[index].machine.wake_at();
            assert!(moved.is_none_or(|at| at > self.now), "a timer stands still");
        }
        self.now = until;
    }

    fn thaw(&mut self, index: usize) {
        self.routers[index].frozen = false;
        for heard in std::mem::take(&mut self.routers[index].waiting) {
            self.act(index, |machine, now| machine.hear(now, heard));
        }
    }

    fn worse(&mut self) {
        let count = self.routers.len();
        for from in 0..count {
            for to in 0..count {
                self.reaches[from][to] = self.rng.random_range(0..3) != 0;
            }
        }
    }

    /// In two parts that do not hear each other; answers which part each is in.
    fn part(&mut self) -> Vec<bool> {
        let sides: Vec<bool> = (0..self.routers.len()).map(|_| self.rng.random()).collect();
        for (from, row) in self.reaches.iter_mut().enumerate() {
            for (to, reaches) in row.iter_mut().enumerate() {
                *reaches = sides[from] == sides[to];
            }
        }
        sides
    }

    fn heal(&mut self) {
        self.loss = 0;
        self.reaches.iter_mut().flatten().for_each(|it| *it = true);
        for index in 0..self.routers.len() {
            self.thaw(index);
        }
    }

    fn masters(&self) -> Vec<usize> {
        let is = |index: &usize| self.routers[*index].machine.state() == State::Master;
        (0..self.routers.len()).filter(is).collect()
    }

    /// Among equals it depends on who came first.
    fn tell_apart(&mut self) {
        let mut priorities: Vec<u8> =
            (0..self.routers.len()).map(|index| 40 + 40 * index as u8).collect();
        priorities.shuffle(&mut self.rng);
        for (index, priority) in priorities.into_iter().enumerate() {
            self.act(index, |machine, now| machine.prefer(now, priority));
        }
    }

    /// Best first: whoever hears no master among the better ones.
    fn expected(&self) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.routers.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.routers[*index].machine.priority));
        let mut masters: Vec<usize> = Vec::new();
        for index in order {
            if !masters.iter().any(|master| self.reaches[*master][index]) {
                masters.push(index);
            }
        }
        masters.sort_unstable();
        masters
    }

    fn settle(&mut self) -> Moment {
        let settled = self.now + self.bound();
        self.run(settled);
        self.run(settled + self.bound());
        settled
    }

    fn changes_since(&self, moment: Moment) -> usize {
        self.routers.iter().flat_map(|it| &it.changes).filter(|at| **at > moment).count()
    }
}

/// Faults for a while, of every kind at once.
fn trouble(world: &mut World) {
    for _ in 0..6 {
        match world.rng.random_range(0..5) {
            0 => world.worse(),
            1 => drop(world.part()),
            2 => world.loss = world.rng.random_range(0..60),
            3 => {
                let index = world.rng.random_range(0..world.routers.len());
                world.routers[index].frozen = true;
            }
            _ => {
                let index = world.rng.random_range(0..world.routers.len());
                let priority = world.rng.random_range(1..=254);
                if !world.routers[index].frozen {
                    world.act(index, |machine, now| machine.prefer(now, priority));
                }
            }
        }
        let until = world.now + ms(world.rng.random_range(0..6000));
        world.run(until);
        for index in 0..world.routers.len() {
            if world.routers[index].frozen && world.rng.random() {
                world.thaw(index);
            }
        }
    }
}

/// With preemption it is known who is master, whichever links are cut in whichever direction.
#[test]
fn every_network_settles_on_the_masters_that_it_must_have() {
    for seed in 0..1500 {
        let mut world = World::new(seed, true);
        trouble(&mut world);
        world.heal();
        world.tell_apart();
        world.worse();
        let settled = world.settle();
        assert_eq!(world.masters(), world.expected(), "seed {seed}");
        assert_eq!(world.changes_since(settled), 0, "seed {seed} flaps");
        world.heal();
        let settled = world.settle();
        assert_eq!(world.masters().len(), 1, "seed {seed}");
        assert_eq!(world.masters(), world.expected(), "seed {seed}");
        assert_eq!(world.changes_since(settled), 0, "seed {seed} flaps");
    }
}

/// Without preemption somebody is master in every part, and one alone.
#[test]
fn every_part_of_a_network_has_one_master_that_stays() {
    for seed in 0..1500 {
        let mut world = World::new(seed, false);
        trouble(&mut world);
        world.heal();
        let sides = world.part();
        let settled = world.settle();
        for side in [false, true] {
            let masters = world.masters().into_iter().filter(|it| sides[*it] == side).count();
            assert_eq!(masters, usize::from(sides.contains(&side)), "seed {seed} {side}");
        }
        assert_eq!(world.changes_since(settled), 0, "seed {seed} flaps");
        world.heal();
        let settled = world.settle();
        assert_eq!(world.masters().len(), 1, "seed {seed}");
        assert_eq!(world.changes_since(settled), 0, "seed {seed} flaps");
    }
}

/// One lost advertisement, or two in a row, move nothing.
#[test]
fn two_losses_in_a_row_are_no_death() {
    for seed in 0..300 {
        let mut world = World::new(seed, true);
        let settled = world.settle();
        let masters = world.masters();
        assert_eq!(masters.len(), 1, "seed {seed}");
        let interval = world.routers[masters[0]].machine.settings.interval;
        for _ in 0..20 {
            world.loss = 100;
            let silent = interval * 2 - world.delay;
            world.run(world.now + silent);
            world.loss = 0;
            world.run(world.now + interval * 2);
        }
        assert_eq!(world.changes_since(settled), 0, "seed {seed}");
    }
}
