//! Who may have how many names looked up at a time, and whose question is next. Pure.
//!
//! A look-up takes as long as a server that nobody here knows likes to take. So that nobody takes
//! all of them, each client has a share, and so has each network of clients, and each registrable
//! domain, whose names one server answers for; within a client's share so has each top-level
//! domain. What is beyond a share waits, the clients taking turns, and what is beyond the shares of
//! those who wait is refused: it harms whoever asks, and no one else.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
};

use relay::clients::{Lengths, Prefix};
use tokio::sync::oneshot;

use super::error::{Error, Resolved};

/// Look-ups under way at a time.
const CONCURRENT: usize = 256;
/// Of these, one client's; one network's; one registrable domain's; one client's below one
/// top-level domain.
const OF_CLIENT: Limits = Limits { running: 128, waiting: 512 };
const OF_NETWORK: Limits = Limits { running: 192, waiting: 4096 };
const OF_DOMAIN: Limits = Limits { running: 32, waiting: 128 };
const OF_CLIENT_BELOW: Limits = Limits { running: 64, waiting: 256 };
/// Questions that wait, of all clients.
const MOST_WAITING: usize = 8192;

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    /// This node, on its own account: names of parents and of the cluster. It does not wait.
    Node,
    /// A client, by its address, or the /64 that it is in.
    Client(IpAddr),
}

impl Asker {
    /// A client at an address.
    #[must_use]
    pub fn client(address: IpAddr) -> Self {
        Self::Client(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// A question that somebody waits for.
#[derive(Debug)]
pub struct Question {
    pub host: Box<str>,
    pub asker: Asker,
    /// What has been told early is not enough.
    pub whole: bool,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Resolved>,
}

impl Question {
    /// Answers it; whoever asked may have gone.
    pub fn tell(self, resolved: Resolved) {
        drop(self.answer.send(resolved));
    }
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    running: usize,
    waiting: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Client(IpAddr),
    Network(Prefix),
    Domain(Box<str>),
    ClientBelow(IpAddr, Box<str>),
}

impl Key {
    const fn limits(&self) -> Limits {
        match self {
            Self::Client(_) => OF_CLIENT,
            Self::Network(_) => OF_NETWORK,
            Self::Domain(_) => OF_DOMAIN,
            Self::ClientBelow(..) => OF_CLIENT_BELOW,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    running: usize,
    waiting: usize,
}

/// What a look-up under way has of everybody's shares; given back with [`Shares::give_back`].
#[derive(Debug)]
#[must_use]
pub struct Share(Vec<Key>);

/// See the module.
#[derive(Debug, Default)]
pub struct Shares {
    loads: HashMap<Key, Load>,
    queues: HashMap<IpAddr, VecDeque<(Question, Vec<Key>)>>,
    /// Clients with questions that wait, the next one first.
    turns: VecDeque<IpAddr>,
    running: usize,
    waiting: usize,
}

impl Shares {
    /// Takes a question: to be looked up at once if it comes back with a share; it may also have to
    /// wait, or be refused, which it is told here.
    pub fn take(&mut self, question: Question) -> Option<(Question, Share)> {
        let Asker::Client(client) = question.asker else {
            self.running += 1;
            return Some((question, Share(Vec::new())));
        };
        let keys = keys(client, &question.host);
        if self.may_run(&keys) {
            let share = self.start(keys);
            return Some((question, share));
        }
        if !self.may_wait(&keys) {
            self.forget_who_has_gone(client);
        }
        if !self.may_wait(&keys) {
            question.tell(Err(Error::Busy));
            return None;
        }
        self.waiting += 1;
        keys.iter().for_each(|key| self.loads.entry(key.clone()).or_default().waiting += 1);
        let queue = self.queues.entry(client).or_default();
        if queue.is_empty() {
            self.turns.push_back(client);
        }
        queue.push_back((question, keys));
        None
    }

    /// A question that has waited and may be looked up now. Those whose asker has gone are
    /// forgotten on the way.
    pub fn turn(&mut self) -> Option<(Question, Share)> {
        for _ in 0..self.turns.len() {
            let client = self.turns.pop_front()?;
            self.forget_who_has_gone(client);
            let Some(queue) = self.queues.get(&client) else { continue };
            let Some(place) = queue.iter().position(|(_, keys)| self.may_run(keys)) else {
                self.turns.push_back(client);
                continue;
            };
            let queue = self.queues.get_mut(&client)?;
            let (question, keys) = queue.remove(place)?;
            if queue.is_empty() {
                self.queues.remove(&client);
            } else {
                self.turns.push_back(client);
            }
            self.leave(&keys);
            let share = self.start(keys);
            return Some((question, share));
        }
        None
    }

    /// A look-up has ended, or needs its place no more.
    pub fn give_back(&mut self, share: Share) {
        self.running = self.running.saturating_sub(1);
        for key in share.0 {
            self.change(&key, |load| load.running = load.running.saturating_sub(1));
        }
    }

    fn may_run(&self, keys: &[Key]) -> bool {
        self.running < CONCURRENT
            && keys.iter().all(|key| self.load(key).running < key.limits().running)
    }

    fn may_wait(&self, keys: &[Key]) -> bool {
        self.waiting < MOST_WAITING
            && keys.iter().all(|key| self.load(key).waiting < key.limits().waiting)
    }

    fn load(&self, key: &Key) -> Load {
        self.loads.get(key).copied().unwrap_or_default()
    }

    fn start(&mut self, keys: Vec<Key>) -> Share {
        self.running += 1;
        keys.iter().for_each(|key| self.loads.entry(key.clone()).or_default().running += 1);
        Share(keys)
    }

    fn leave(&mut self, keys: &[Key]) {
        self.waiting = self.waiting.saturating_sub(1);
        for key in keys {
            self.change(key, |load| load.waiting = load.waiting.saturating_sub(1));
        }
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Load)) {
        if let Some(load) = self.loads.get_mut(key) {
            change(load);
            if load.running == 0 && load.waiting == 0 {
                self.loads.remove(key);
            }
        }
    }

    fn forget_who_has_gone(&mut self, client: IpAddr) {
        let Some(queue) = self.queues.get_mut(&client) else { return };
        let (gone, waiting): (VecDeque<_>, VecDeque<_>) =
            queue.drain(..).partition(|(question, _)| question.answer.is_closed());
        *queue = waiting;
        if queue.is_empty() {
            self.queues.remove(&client);
            self.turns.retain(|other| *other != client);
        }
        gone.iter().for_each(|(_, keys)| self.leave(keys));
    }
}

fn keys(client: IpAddr, host: &str) -> Vec<Key> {
    let top = host.rsplit_once('.').map_or("", |(_, top)| top);
    let network = Prefix::of(client).network(Lengths::default());
    vec![
        Key::Client(client),
        Key::Network(network),
        Key::Domain(registrable(host).into()),
        Key::ClientBelow(client, top.into()),
    ]
}

/// What somebody has registered, as a rule: two labels, or three below such a second level as
/// `co.uk` and `com.cn`. The list of public suffixes is not needed to share look-ups: a domain
/// taken too widely waits for its neighbours.
#[must_use]
pub fn registrable(host: &str) -> &str {
    let mut dots = host.rmatch_indices('.').map(|(at, _)| at);
    let (last, second, third) = (dots.next(), dots.next(), dots.next());
    let (Some(last), Some(second)) = (last, second) else { return host };
    let is_second_level = host.len() - last - 1 == 2 && last - second - 1 <= 3;
    let from = if is_second_level { third.map_or(0, |third| third + 1) } else { second + 1 };
    host.get(from..).unwrap_or(host)
}

#[cfg(test)]
mod tests;
