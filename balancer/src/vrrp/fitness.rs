//! Whether this balancer is well enough to hold the addresses: its frontends are open, and some
//! server may get their requests. Who is not steps behind those who are, and does not leave: if no
//! balancer has a server, the addresses answer 503 at once rather than not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cluster::Service;
use dataplane::listen::Open;
use tokio::sync::watch;

use super::{Handle, instance::Peers};
use crate::{listen, roster, snapshot::Snapshot};

/// How often it is judged.
pub const EVERY: Duration = Duration::from_millis(100);
/// Judgements in a row that it takes, so that a server that flaps does not move addresses.
const FALL: u32 = 3;
const RISE: u32 = 20;

/// A judgement: none, or what is wrong.
pub type Ailment = Option<String>;

/// Judges by the newest snapshot and the names of the frontends that are open.
#[must_use]
pub fn judge(snapshot: &Snapshot, open: &BTreeSet<String>) -> Ailment {
    let frontends = &snapshot.generation.document.frontends;
    if frontends.is_empty() {
        return Some("no frontend is configured".to_owned());
    }
    if let Some(closed) = frontends.iter().find(|it| !open.contains(&it.name)) {
        return Some(format!("frontend {} is not open", closed.name));
    }
    let serves =
        |backend: &str| snapshot.pool(backend).is_some_and(|pool| pool.plan.has_others(|_| false));
    if frontends.iter().any(|it| serves(&it.backend)) {
        return None;
    }
    let backends: BTreeSet<_> = frontends.iter().map(|it| it.backend.as_str()).collect();
    let backends: Vec<_> = backends.into_iter().collect();
    Some(format!("no usable server in {}", backends.join(", ")))
}

/// Where the judgement comes from, and where it goes.
pub struct Inputs {
    pub roster: roster::Handle,
    pub open: watch::Receiver<Open<listen::Frontend>>,
    pub membership: chassis::membership::Watch,
    pub addresses: Handle,
}

/// Judges for ever, and tells where other balancers are.
pub async fn follow(inputs: &Inputs) {
    let mut tick = tokio::time::interval(EVERY);
    let mut damper = Damper::beginning_with(inputs.addresses.ailment_at_first());
    loop {
        tick.tick().await;
        if !inputs.addresses.takes_part() {
            continue;
        }
        let open = inputs.open.borrow().iter().map(|it| it.served().name.clone()).collect();
        inputs.addresses.judge(damper.add(judge(&inputs.roster.snapshot(), &open)));
        inputs.addresses.meet(peers(&inputs.membership.borrow()));
    }
}

/// The hosts on which the balancers are.
fn peers(membership: &chassis::membership::Membership) -> Peers {
    let host = |it: &cluster::InstanceStatus| -> Option<(String, IpAddr)> {
        let mut known = it.instance.endpoints.iter();
        let host = known.find_map(|(_, address)| Some(address.parse::<SocketAddr>().ok()?.ip()))?;
        Some((it.instance.name.clone(), host))
    };
    let known: BTreeMap<_, _> = membership.of(Service::Balancer).filter_map(host).collect();
    Arc::new(known)
}

/// Takes a judgement for true when it has stood for a while.
#[derive(Debug)]
pub struct Damper {
    believed: Ailment,
    against: u32,
}

impl Damper {
    /// With what was believed before; who is unwell is well from the first judgement on.
    #[must_use]
    pub fn beginning_with(believed: Ailment) -> Self {
        let against = if believed.is_none() { 0 } else { RISE - 1 };
        Self { believed, against }
    }

    /// Adds one, and answers what is believed.
    pub fn add(&mut self, judged: Ailment) -> &Ailment {
        if judged.is_none() == self.believed.is_none() {
            self.against = 0;
            self.believed = judged;
        } else {
            self.against += 1;
            let needed = if judged.is_none() { RISE } else { FALL };
            if self.against >= needed {
                self.against = 0;
                self.believed = judged;
            }
        }
        &self.believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flaps_is_not_believed() {
        let ill = || Some("no usable server in b".to_owned());
        let mut damper = Damper::beginning_with(Some("it is starting".to_owned()));
        assert_eq!(damper.add(None), &None, "well from the first judgement on");
        for _ in 0..10 {
            assert_eq!(damper.add(ill()), &None);
            assert_eq!(damper.add(ill()), &None);
            assert_eq!(damper.add(None), &None);
        }
        damper.add(ill());
        damper.add(ill());
        assert_eq!(damper.add(ill()), &ill());
        for _ in 0..RISE - 1 {
            assert_eq!(damper.add(None), &ill());
        }
        assert_eq!(damper.add(None), &None);
    }

    #[test]
    fn a_balancer_without_frontends_is_not_well() {
        let judged = judge(&Snapshot::empty(), &BTreeSet::new());
        assert_eq!(judged, Some("no frontend is configured".to_owned()));
    }
}
