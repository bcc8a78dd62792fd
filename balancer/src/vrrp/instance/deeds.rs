//! What an instance does in the world: sends, holds, shows and tells.

use std::{io, net::IpAddr, time::Duration};

use metrics::counter;
use tokio::time::Instant;

use super::{Link, Worker};
use crate::{
    metrics as names,
    vrrp::{
        address::Fault,
        hook::Told,
        packet::{Advertisement, Envelope},
        seen::Standing,
        settings::{Instance, Peer},
        socket::{GROUP_V4, GROUP_V6},
        state::{Action, State},
    },
};

/// The reconciler holds the addresses for this long without a sign of life.
pub const HOLD: Duration = Duration::from_millis(1500);
/// What goes wrong all the time is told this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Says when something has not been told for a while.
#[derive(Debug, Default)]
pub struct Once(Option<Instant>);

impl Once {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.0.is_none_or(|at| now >= at + TELL_EVERY);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

impl Worker {
    /// Does what the machine says, and shows where it stands then.
    pub(super) fn act(&mut self, actions: Vec<Action>) {
        let Some(mut link) = self.link.take() else { return };
        self.perform(&mut link, &actions);
        let standing = match link.machine.state() {
            State::Master => Standing::Master,
            State::Backup | State::Down => Standing::Backup,
        };
        let master = link.machine.master();
        self.link = Some(link);
        self.show(standing);
        self.work.shown.change(&self.instance().name, |seen| seen.master = master);
    }

    pub(super) fn perform(&mut self, link: &mut Link, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Advertise(priority) => self.advertise(link, *priority),
                Action::Take => self.keep_holding(),
                Action::Announce => {
                    self.work.desired.send_modify(|desired| desired.announcements += 1);
                }
                Action::Release => {
                    self.work.desired.send_modify(|desired| desired.hold_until = None);
                }
            }
        }
    }

    pub(super) fn keep_holding(&self) {
        let until = Some(Instant::now() + HOLD);
        self.work.desired.send_modify(|desired| desired.hold_until = until);
    }

    fn advertise(&mut self, link: &Link, priority: u8) {
        let instance = self.instance();
        let said = Advertisement {
            version: instance.agreed.version,
            virtual_router_id: instance.agreed.virtual_router_id,
            priority,
            interval: instance.agreed.interval,
            addresses: instance.addresses.iter().map(|net| net.addr()).collect(),
            password: instance.agreed.password,
        };
        let source = link.interface.source;
        for to in self.destinations(&instance, source) {
            match link.channel.send(&said.write(source, to), to) {
                Ok(()) => {
                    counter!(names::VRRP_SENT, "instance" => instance.name.clone()).increment(1);
                }
                Err(error) => self.cannot_send(&instance, to, &error),
            }
        }
    }

    fn cannot_send(&mut self, instance: &Instance, to: IpAddr, error: &io::Error) {
        counter!(names::VRRP_UNSENT, "instance" => instance.name.clone()).increment(1);
        if self.unsent.is_due() {
            let fault = Fault::of("send advertisements", error);
            tracing::warn!(instance = %instance.name, "an advertisement to {to} is lost: {fault}");
        }
    }

    fn destinations(&self, instance: &Instance, source: IpAddr) -> Vec<IpAddr> {
        if instance.peers.is_empty() {
            return vec![if source.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() }];
        }
        self.peers_of(instance).filter(|it| it.is_ipv4() == source.is_ipv4()).collect()
    }

    pub(super) fn is_peer(&self, instance: &Instance, source: IpAddr) -> bool {
        instance.peers.is_empty() || self.peers_of(instance).any(|it| it == source)
    }

    fn peers_of<'a>(&self, instance: &'a Instance) -> impl Iterator<Item = IpAddr> + use<'a> {
        let known = self.work.peers.borrow().clone();
        instance.peers.iter().filter_map(move |peer| match peer {
            Peer::At(address) => Some(*address),
            Peer::Named(name) => known.get(name).copied(),
        })
    }

    pub(super) fn discard(
        &mut self,
        instance: &Instance,
        envelope: Envelope,
        reason: &'static str,
        why: &str,
    ) {
        let name = instance.name.clone();
        counter!(names::VRRP_DISCARDED, "instance" => name, "reason" => reason).increment(1);
        if self.discards.is_due() {
            let from = envelope.source;
            let name = &instance.name;
            tracing::warn!(instance = %name, "an advertisement of {from} is discarded: {why}");
        }
    }

    /// Other addresses are no reason to discard it: while a configuration is rolled out, one
    /// balancer has it before the other, and two masters would be worse.
    pub(super) fn compare(
        &mut self,
        instance: &Instance,
        envelope: Envelope,
        said: &Advertisement,
    ) {
        let own = instance.addresses.len() == said.addresses.len()
            && instance.addresses.iter().all(|net| said.addresses.contains(&net.addr()));
        if !own && self.discards.is_due() {
            tracing::warn!(
                instance = %instance.name,
                "{} advertises other addresses than are configured here: {:?}",
                envelope.source,
                said.addresses
            );
        }
    }

    pub(super) fn show_priority(&self) {
        let (priority, ailment) = (self.priority(), self.work.fitness.borrow().clone());
        let instance = self.instance();
        let lessened = ailment.filter(|_| priority != instance.priority);
        self.work.shown.change(&instance.name.clone(), |seen| {
            if seen.priority != priority {
                let why = lessened.as_deref().unwrap_or("it is well");
                tracing::info!(instance = %instance.name, priority, "another priority: {why}");
            }
            (seen.priority, seen.ailment, seen.instance) = (priority, lessened, instance);
        });
    }

    pub(super) fn show(&mut self, standing: Standing) {
        if self.standing == standing {
            return;
        }
        self.show_priority();
        let (instance, priority) = (self.instance(), self.priority());
        match &standing {
            Standing::Fault(why) => {
                tracing::error!(instance = %instance.name, "takes no part: {why}");
            }
            Standing::Master | Standing::Backup => tracing::info!(
                instance = %instance.name, priority, "is {} now", standing.as_str()
            ),
        }
        let now = self.work.clock.now();
        self.work.shown.change(&instance.name, |seen| {
            if seen.standing.as_str() != standing.as_str() {
                seen.since = now;
            }
            seen.became_master += u64::from(standing == Standing::Master);
            seen.standing = standing.clone();
            seen.master = None;
        });
        if self.standing.as_str() != standing.as_str() || self.work.told.borrow().is_none() {
            let state = standing.as_str();
            self.work.told.send_replace(Some(Told { state, priority }));
        }
        self.standing = standing;
    }
}
