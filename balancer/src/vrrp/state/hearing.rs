//! What an advertisement of another router means.

use super::{Action, Heard, Machine, Moment, Role};
use crate::vrrp::packet::Version;

impl Machine {
    /// Answers when the master counts as gone.
    pub(super) fn hear_as_backup(&mut self, now: Moment, heard: Heard, down_at: Moment) -> Moment {
        if heard.priority == 0 {
            self.master = None;
            return (now + self.skew()).min(down_at);
        }
        let best = match self.master {
            Some((address, best)) if address == heard.from => best.max(heard.priority),
            _ => heard.priority,
        };
        self.master = Some((heard.from, best));
        if heard.priority >= self.priority {
            self.preempt_from = None;
            self.learn(heard);
            return now + self.master_down();
        }
        if heard.priority < best {
            return (now + self.skew()).min(down_at);
        }
        let delay = self.settings.preempt_delay;
        let from = *self.preempt_from.get_or_insert(now + delay);
        if self.settings.preempt && now >= from {
            return down_at;
        }
        self.learn(heard);
        now + self.master_down()
    }

    pub(super) fn hear_as_master(&mut self, now: Moment, heard: Heard) -> Vec<Action> {
        let Role::Master { spoke_at, announcements, answered_at } = &mut self.role else {
            return Vec::new();
        };
        if (heard.priority, heard.from) > (self.priority, self.settings.address) {
            self.master = Some((heard.from, heard.priority));
            self.preempt_from = None;
            self.learn(heard);
            self.role = Role::Backup { down_at: now + self.master_down() };
            return vec![Action::Release];
        }
        let half = self.settings.interval / 2;
        if answered_at.is_some_and(|at| now < at + half) {
            return Vec::new();
        }
        (*answered_at, *spoke_at) = (Some(now), now);
        if heard.priority != 0 {
            announcements.again(now);
        }
        let mut actions = vec![Action::Advertise(self.priority)];
        if announcements.due(now) {
            actions.push(Action::Announce);
        }
        actions
    }

    fn learn(&mut self, heard: Heard) {
        if self.settings.version == Version::V3 {
            self.learned = heard.interval;
        }
    }
}
