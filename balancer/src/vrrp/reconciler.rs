//! Keeps the addresses of one instance as it is told, and tells what it sees. It runs beside the
//! thread that keeps time, because the kernel may hold an answer back for as long as somebody else
//! works on its tables.
//!
//! A control loop: woken by a timer or a change, it compares what is desired with what is there and
//! acts. What is desired ends by itself when the instance says nothing more, so that an instance
//! that hangs cannot keep its addresses.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    address::{Fault, Interface, Kernel, RENEWED},
    announce::Announcer,
    settings::Instance,
    state::OWNER,
};

/// What an instance wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Desired {
    /// Hold the addresses, and no longer than this without another word.
    pub hold_until: Option<Instant>,
    /// Grows with every announcement that is due.
    pub announcements: u64,
}

/// What an instance is told: none before the first look.
pub type Facts = Option<Result<Interface, Fault>>;

/// One instance's.
pub struct Reconciler {
    pub kernel: Kernel,
    pub instance: Arc<Instance>,
    pub desired: watch::Receiver<Desired>,
    pub facts: watch::Sender<Facts>,
}

/// After the kernel has refused an address, the instance takes no part for this long: it would win,
/// fail and leave again and again.
const REFUSED: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Kept {
    /// Why addresses cannot be had, and when that was.
    refused: Option<(Fault, Instant)>,
    /// The interface that has the addresses.
    holds: Option<Interface>,
    announced: u64,
}

impl Reconciler {
    /// Until nobody desires anything any more; then the addresses are off.
    pub async fn run(mut self) {
        let mut kept = Kept::default();
        let mut tick = time::interval(RENEWED);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look = tokio::select! {
                changed = self.desired.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => break,
                },
                _ = tick.tick() => true,
            };
            let desired = *self.desired.borrow_and_update();
            if desired.hold_until.is_some_and(|until| Instant::now() < until) {
                self.hold(&mut kept, look).await;
            } else if look || kept.holds.is_some() {
                self.release(&mut kept).await;
            }
            if kept.holds.is_some() && kept.announced != desired.announcements {
                self.announce(&kept);
            }
            kept.announced = desired.announcements;
        }
        self.release(&mut kept).await;
    }

    async fn hold(&self, kept: &mut Kept, look: bool) {
        if look {
            self.look(kept).await;
        }
        let interface = match &*self.facts.borrow() {
            Some(Ok(interface)) => interface.clone(),
            _ => return,
        };
        let fresh = kept.holds.as_ref() != Some(&interface);
        if !fresh && !look {
            return;
        }
        match self.put_all(&interface, fresh).await {
            Ok(()) => kept.holds = Some(interface),
            Err(fault) => {
                kept.refused = Some((fault.clone(), Instant::now()));
                self.tell(Err(fault));
            }
        }
    }

    /// All or an error; then what was put goes by itself.
    async fn put_all(&self, interface: &Interface, fresh: bool) -> Result<(), Fault> {
        let Instance { addresses, priority, .. } = &*self.instance;
        let owner = *priority == OWNER;
        for net in addresses {
            if owner && net.addr() == interface.source {
                continue;
            }
            if self.kernel.put(interface.index, *net, fresh).await.is_ok() {
                continue;
            }
            // It is there: left behind by a process of ours, or held by somebody else.
            self.kernel.look(&interface.name, addresses, owner).await.interface?;
            self.kernel.put(interface.index, *net, false).await?;
        }
        Ok(())
    }

    async fn release(&self, kept: &mut Kept) {
        kept.holds = None;
        for (index, net) in self.look(kept).await {
            if let Err(fault) = self.kernel.take_off(index, net).await {
                tracing::warn!(instance = %self.instance.name, "{net} goes by itself: {fault}");
            }
        }
    }

    /// Looks, tells, and answers what is there of ours.
    async fn look(&self, kept: &Kept) -> Vec<(u32, ipnet::IpNet)> {
        let Instance { interface, addresses, priority, .. } = &*self.instance;
        let mut looked = self.kernel.look(interface, addresses, *priority == OWNER).await;
        if let Some((fault, at)) = &kept.refused
            && at.elapsed() < REFUSED
        {
            looked.interface = looked.interface.and(Err(fault.clone()));
        }
        if kept.holds.is_none() || looked.interface.is_err() {
            self.tell(looked.interface);
        } else if let Ok(now) = looked.interface
            && kept.holds.as_ref() != Some(&now)
        {
            self.tell(Ok(now));
        }
        looked.ours
    }

    fn tell(&self, seen: Result<Interface, Fault>) {
        self.facts.send_if_modified(|facts| {
            let changed = facts.as_ref() != Some(&seen);
            *facts = Some(seen);
            changed
        });
    }

    fn announce(&self, kept: &Kept) {
        let Some(interface) = &kept.holds else { return };
        let Some(mac) = interface.mac else { return };
        let addresses = self.instance.addresses.iter().map(|net| net.addr());
        let told = Announcer::open(interface).and_then(|socket| socket.announce(mac, addresses));
        if let Err(error) = told {
            tracing::warn!(
                instance = %self.instance.name,
                "the network is not told where the addresses are: {}",
                Fault::of("send announcements", &error)
            );
        }
    }
}
