//! Who holds the addresses: the state machine of RFC 9568 §6.4, which is RFC 3768's with another
//! skew and a learned interval. Pure: what happens and `now` go in, what is to be done comes out.
//!
//! Beyond the RFC, each with its reason:
//! - A master that lowers its priority asks to be relieved (its own health has failed). A backup
//!   that stands higher then takes over after its skew time, as after priority 0, whatever
//!   `nopreempt` and `preempt_delay` say.
//! - A master that could not speak for three of its own intervals (SIGSTOP, a starved machine)
//!   takes for granted that another one has taken over. It listens for an interval before it
//!   speaks again, so that it does not draw the addresses to itself for nothing.
//! - A master that hears a lesser one answers at once, at most twice an interval.

mod hearing;
mod timing;

use std::{net::IpAddr, time::Duration};

use super::packet::Version;
use timing::Announcements;

/// Since any fixed moment.
pub type Moment = Duration;

/// What does not change while a machine lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub version: Version,
    /// Between two advertisements.
    pub interval: Duration,
    /// Whether the addresses are taken from a lesser router.
    pub preempt: bool,
    /// After this long.
    pub preempt_delay: Duration,
    /// Decides between equal priorities: the higher one.
    pub address: IpAddr,
}

/// Where a router stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes no part.
    Down,
    /// Another one holds the addresses, as far as it knows.
    Backup,
    /// Holds the addresses.
    Master,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an advertisement with this priority.
    Advertise(u8),
    /// Put the addresses on the interface.
    Take,
    /// Tell the network where the addresses are.
    Announce,
    /// Take the addresses off the interface.
    Release,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub from: IpAddr,
    pub priority: u8,
    pub interval: Duration,
}

/// Priority of the one that owns the addresses.
pub const OWNER: u8 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Down,
    Backup {
        /// Without a master until then, it becomes one.
        down_at: Moment,
    },
    Master {
        spoke_at: Moment,
        announcements: Announcements,
        /// It answered a lesser master then.
        answered_at: Option<Moment>,
    },
}

/// One router of one instance.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    priority: u8,
    /// Of the master, in version 3.
    learned: Duration,
    /// A lesser master may be preempted from then on.
    preempt_from: Option<Moment>,
    /// The master, and the highest priority that it has had.
    master: Option<(IpAddr, u8)>,
    role: Role,
}

impl Machine {
    /// It takes no part until it is [started](Self::start).
    #[must_use]
    pub const fn new(settings: Settings, priority: u8) -> Self {
        let learned = settings.interval;
        Self { settings, priority, learned, preempt_from: None, master: None, role: Role::Down }
    }

    #[must_use]
    pub const fn state(&self) -> State {
        match self.role {
            Role::Down => State::Down,
            Role::Backup { .. } => State::Backup,
            Role::Master { .. } => State::Master,
        }
    }

    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// The master that a backup hears.
    #[must_use]
    pub fn master(&self) -> Option<IpAddr> {
        self.master.map(|(address, _)| address)
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        match &self.role {
            Role::Down => None,
            Role::Backup { down_at } => Some(*down_at),
            Role::Master { spoke_at, announcements, .. } => {
                Some((*spoke_at + self.settings.interval).min(announcements.next()))
            }
        }
    }

    /// Begins to take part.
    pub fn start(&mut self, now: Moment) -> Vec<Action> {
        self.learned = self.settings.interval;
        self.preempt_from = None;
        self.master = None;
        if self.priority == OWNER {
            return self.take_over(now);
        }
        self.role = Role::Backup { down_at: now + self.master_down() };
        Vec::new()
    }

    /// Begins to take part as the master, in the place of a process of this host that was it: the
    /// others hear the same router go on.
    pub fn resume(&mut self, now: Moment) -> Vec<Action> {
        self.learned = self.settings.interval;
        self.take_over(now)
    }

    /// Takes no part any more, and tells the others.
    pub fn stop(&mut self) -> Vec<Action> {
        let was = std::mem::replace(&mut self.role, Role::Down);
        self.master = None;
        match was {
            Role::Master { .. } => vec![Action::Advertise(0), Action::Release],
            Role::Down | Role::Backup { .. } => Vec::new(),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) -> Vec<Action> {
        if self.overslept(now) {
            return self.yield_silently(now);
        }
        match &mut self.role {
            Role::Down => Vec::new(),
            Role::Backup { down_at } if now < *down_at => Vec::new(),
            Role::Backup { .. } => self.take_over(now),
            Role::Master { spoke_at, announcements, .. } => {
                let mut actions = Vec::new();
                if now >= *spoke_at + self.settings.interval {
                    *spoke_at = now;
                    actions.push(Action::Advertise(self.priority));
                }
                if announcements.due(now) {
                    actions.push(Action::Announce);
                }
                actions
            }
        }
    }

    /// The balancer's own health says another priority.
    pub fn prefer(&mut self, now: Moment, priority: u8) -> Vec<Action> {
        if priority == self.priority {
            return Vec::new();
        }
        self.priority = priority;
        if self.overslept(now) {
            return self.yield_silently(now);
        }
        match &mut self.role {
            Role::Master { spoke_at, .. } => {
                *spoke_at = now;
                vec![Action::Advertise(priority)]
            }
            Role::Down | Role::Backup { .. } => Vec::new(),
        }
    }

    /// An advertisement came that agrees with the instance.
    pub fn hear(&mut self, now: Moment, heard: Heard) -> Vec<Action> {
        if self.overslept(now) {
            let actions = self.yield_silently(now);
            self.hear(now, heard);
            return actions;
        }
        match self.role {
            Role::Down => Vec::new(),
            Role::Backup { down_at } => {
                let down_at = self.hear_as_backup(now, heard, down_at);
                self.role = Role::Backup { down_at };
                Vec::new()
            }
            Role::Master { .. } => self.hear_as_master(now, heard),
        }
    }

    fn take_over(&mut self, now: Moment) -> Vec<Action> {
        self.master = None;
        self.preempt_from = None;
        let mut announcements = Announcements::from(now);
        announcements.due(now);
        self.role = Role::Master { spoke_at: now, announcements, answered_at: None };
        vec![Action::Advertise(self.priority), Action::Take, Action::Announce]
    }

    /// Whether it is a master of whom the others have heard nothing for so long that one of them
    /// has taken over.
    fn overslept(&self, now: Moment) -> bool {
        let Role::Master { spoke_at, .. } = self.role else { return false };
        self.priority != OWNER && now >= spoke_at + self.settings.interval * 3
    }

    /// Whoever took over speaks within an interval.
    fn yield_silently(&mut self, now: Moment) -> Vec<Action> {
        self.learned = self.settings.interval;
        self.role = Role::Backup { down_at: now + self.settings.interval + self.skew() };
        vec![Action::Release]
    }

    /// How long a master may be silent.
    fn master_down(&self) -> Duration {
        self.learned * 3 + self.skew()
    }

    /// The higher the priority, the sooner.
    fn skew(&self) -> Duration {
        let whole = match self.settings.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.learned,
        };
        whole * (256 - u32::from(self.priority)) / 256
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
