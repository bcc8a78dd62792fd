//! One instance at work: gives the state machine what happens and does what it says.

mod deeds;

use std::{collections::BTreeMap, io, net::IpAddr, sync::Arc};

use metrics::counter;
use tokio::{
    sync::watch,
    time::{self, Instant, Interval, MissedTickBehavior},
};

use super::{
    address::{Fault, Interface, RENEWED},
    fitness::Ailment,
    hook::Told,
    packet::{Advertisement, Envelope, Error},
    reconciler::{Desired, Facts},
    seen::{Shown, Standing},
    settings::Instance,
    socket::Channel,
    state::{Heard, Machine, Moment, Settings, State},
};
use crate::metrics as names;
pub use deeds::HOLD;
use deeds::Once;

/// Addresses of balancers by name.
pub type Peers = Arc<BTreeMap<String, IpAddr>>;

/// What an instance works with.
pub struct Work {
    /// What it goes by; another priority may come while it works.
    pub instance: watch::Receiver<Arc<Instance>>,
    pub facts: watch::Receiver<Facts>,
    pub desired: watch::Sender<Desired>,
    pub fitness: watch::Receiver<Ailment>,
    pub peers: watch::Receiver<Peers>,
    pub told: watch::Sender<Option<Told>>,
    pub shown: Shown,
    pub clock: chassis::Clock,
    /// It goes on as master, once, when it begins: its predecessor was that.
    pub resumes: bool,
    /// Raised when it shall end.
    pub stop: watch::Receiver<bool>,
}

/// Where it takes part.
struct Link {
    interface: Interface,
    channel: Channel,
    machine: Machine,
}

/// What wakes an instance.
enum Event {
    Stop,
    Came(io::Result<Option<Came>>),
    Time,
    Facts,
    Priority,
    Beat,
}

/// An instance that works.
pub struct Worker {
    work: Work,
    began: Instant,
    link: Option<Link>,
    /// What was shown last.
    standing: Standing,
    discards: Once,
    unsent: Once,
}

impl Worker {
    #[must_use]
    pub fn new(work: Work) -> Self {
        let standing = Standing::Fault("it is starting".to_owned());
        let (discards, unsent) = (Once::default(), Once::default());
        Self { work, began: Instant::now(), link: None, standing, discards, unsent }
    }

    /// Until it is stopped; then the others know, and the addresses are no longer desired.
    pub async fn run(mut self) {
        let mut beat = time::interval(RENEWED);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match self.next(&mut beat).await {
                Event::Stop => break,
                Event::Came(Ok(came)) => self.hear(came),
                Event::Came(Err(error)) => {
                    self.fail(&Fault::of("receive advertisements", &error));
                }
                Event::Time => self.tick(),
                Event::Facts => self.learn(),
                Event::Priority => self.prefer(),
                Event::Beat => self.live(),
            }
        }
        self.stop();
    }

    async fn next(&mut self, beat: &mut Interval) -> Event {
        let Self { work, link, began, .. } = self;
        let wake_at = link.as_ref().and_then(|it| it.machine.wake_at()).map(|at| *began + at);
        tokio::select! {
            _ = work.stop.wait_for(|stop| *stop) => Event::Stop,
            came = receive(link) => Event::Came(came),
            () = until(wake_at) => Event::Time,
            changed = work.facts.changed() => {
                changed.map_or(Event::Stop, |()| Event::Facts)
            }
            Ok(()) = work.fitness.changed() => Event::Priority,
            Ok(()) = work.instance.changed() => Event::Priority,
            _ = beat.tick() => Event::Beat,
        }
    }

    fn now(&self) -> Moment {
        Instant::now().duration_since(self.began)
    }

    fn instance(&self) -> Arc<Instance> {
        Arc::clone(&self.work.instance.borrow())
    }

    fn priority(&self) -> u8 {
        self.instance().priority(self.work.fitness.borrow().is_none())
    }

    /// The interface is another one, or cannot be used, or can be again.
    fn learn(&mut self) {
        let facts = self.work.facts.borrow_and_update().clone();
        match facts {
            None => {}
            Some(Err(fault)) => self.fail(&fault),
            Some(Ok(interface)) => {
                let same = self.link.as_ref().is_some_and(|link| link.interface == interface);
                if !same {
                    self.begin(interface);
                }
            }
        }
    }

    fn begin(&mut self, interface: Interface) {
        if self.link.is_some() {
            self.fail(&Fault::Down(interface.name.clone()));
        }
        let channel = match Channel::open(&interface) {
            Ok(channel) => channel,
            Err(error) => return self.fail(&Fault::of("open a raw socket", &error)),
        };
        let instance = self.instance();
        let settings = Settings {
            version: instance.agreed.version,
            interval: instance.agreed.interval,
            preempt: instance.preempt,
            preempt_delay: instance.preempt_delay,
            address: interface.source,
        };
        let mut machine = Machine::new(settings, self.priority());
        let actions = if std::mem::take(&mut self.work.resumes) {
            machine.resume(self.now())
        } else {
            machine.start(self.now())
        };
        self.link = Some(Link { interface, channel, machine });
        self.act(actions);
    }

    fn fail(&mut self, fault: &Fault) {
        if let Some(mut link) = self.link.take() {
            let actions = link.machine.stop();
            self.perform(&mut link, &actions);
        }
        self.show(Standing::Fault(fault.to_string()));
    }

    fn stop(&mut self) {
        if let Some(mut link) = self.link.take() {
            let actions = link.machine.stop();
            self.perform(&mut link, &actions);
        }
        tracing::info!(instance = %self.instance().name, "takes no part any more");
        let priority = self.priority();
        self.work.told.send_replace(Some(Told { state: "STOP", priority }));
    }

    fn tick(&mut self) {
        let now = self.now();
        if let Some(link) = &mut self.link {
            let actions = link.machine.tick(now);
            self.act(actions);
        }
    }

    fn prefer(&mut self) {
        self.work.fitness.mark_unchanged();
        self.work.instance.mark_unchanged();
        let (now, priority) = (self.now(), self.priority());
        if let Some(link) = &mut self.link {
            let actions = link.machine.prefer(now, priority);
            self.act(actions);
        }
        self.show_priority();
    }

    /// It lives, so that it may keep what it holds; and what failed is tried again.
    fn live(&mut self) {
        match &self.link {
            Some(link) if link.machine.state() == State::Master => self.keep_holding(),
            Some(_) => {}
            None => self.learn(),
        }
    }

    fn hear(&mut self, came: Option<Came>) {
        let Some(Came { envelope, read }) = came else { return };
        let instance = self.instance();
        let Some(link) = &self.link else { return };
        let known = read.and_then(|said| said.agrees(&instance.agreed).map(|()| said));
        let said = match known {
            // Another instance's, on the same interface.
            Err(Error::Router(_)) => return,
            Err(error) => {
                return self.discard(&instance, envelope, error.kind(), &error.to_string());
            }
            Ok(_) if envelope.source == link.interface.source => {
                let why = "it comes from this host's own address: another host has it too";
                return self.discard(&instance, envelope, "source", why);
            }
            Ok(_) if !self.is_peer(&instance, envelope.source) => {
                let why = "it comes from none of unicast_peers";
                return self.discard(&instance, envelope, "peer", why);
            }
            Ok(said) => said,
        };
        counter!(names::VRRP_RECEIVED, "instance" => instance.name.clone()).increment(1);
        self.compare(&instance, envelope, &said);
        let heard =
            Heard { from: envelope.source, priority: said.priority, interval: said.interval };
        let now = self.now();
        if let Some(link) = &mut self.link {
            let actions = link.machine.hear(now, heard);
            self.act(actions);
        }
    }
}

/// An advertisement, or something that is none.
struct Came {
    envelope: Envelope,
    read: Result<Advertisement, Error>,
}

async fn receive(link: &mut Option<Link>) -> io::Result<Option<Came>> {
    match link {
        Some(link) => Ok(link.channel.receive().await?.map(|(envelope, bytes)| Came {
            envelope,
            read: Advertisement::read(bytes, envelope),
        })),
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
