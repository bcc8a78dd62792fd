//! How many watches one certificate has open. Each takes little (some 11 KiB), and who has stolen a
//! node's certificate may ask for as many as it can open streams: 256 connections with 200 each
//! took 600 MB.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use chassis::Peer;

/// More than all processes with one certificate have.
pub(super) const OF_ONE: usize = 2048;

/// Whose a watch is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Certificate(String),
    /// On a plaintext port.
    Address(IpAddr),
}

#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<Who, usize>>);

/// One watch; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    all: Arc<Watches>,
    who: Who,
}

impl Watches {
    /// One more for this peer; none: it has as many as it may.
    pub(super) fn open(self: &Arc<Self>, peer: &Peer) -> Option<Watch> {
        let certificate =
            peer.identity.as_ref().map(|identity| Who::Certificate(identity.to_string()));
        let who = certificate.unwrap_or_else(|| Who::Address(peer.address.ip().to_canonical()));
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(who.clone()).or_default();
        if *count >= OF_ONE {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Watch { all: Arc::clone(self), who })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut open = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.who) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chassis::{Identity, Role};
    use cluster::Service;

    use super::*;

    fn peer(name: Option<&str>, port: u16) -> Peer {
        let identity = name.map(|name| Identity::new(Role::Service(Service::ProxyNode), name));
        Peer { identity, address: ([192, 0, 2, 1], port).into(), hosts: Vec::new() }
    }

    #[test]
    fn one_certificate_has_so_many_and_others_have_theirs() {
        let watches = Arc::default();
        for (one, other) in
            [(peer(Some("a"), 1), peer(Some("b"), 1)), (peer(None, 1), peer(Some("a"), 1))]
        {
            let mut open: Vec<_> =
                (0..OF_ONE).map(|_| Watches::open(&watches, &one).expect("its share")).collect();
            // Wherever it comes from.
            let elsewhere = Peer { address: (one.address.ip(), 2).into(), ..one };
            assert!(Watches::open(&watches, &elsewhere).is_none());
            assert!(Watches::open(&watches, &other).is_some());
            open.pop();
            assert!(Watches::open(&watches, &elsewhere).is_some());
        }
        assert!(watches.0.lock().expect("not poisoned").is_empty());
    }
}
