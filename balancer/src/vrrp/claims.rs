//! Whose an instance is on this host, within its network namespace: a socket without a file, so
//! that the claim ends with the process, however that ends; or with its successor, to which it is
//! handed.

use std::{
    collections::BTreeMap,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chassis::takeover::Handed;

use super::{address::Fault, settings::Instance};

/// What a claim is handed over as.
const CLAIM: &str = "vrrp-claim";

/// All of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Claims {
    held: Arc<Mutex<BTreeMap<String, UnixDatagram>>>,
    predecessor: Option<chassis::Predecessor>,
}

impl Claims {
    #[must_use]
    pub fn resumed(predecessor: Option<&chassis::Predecessor>) -> Self {
        Self { held: Arc::default(), predecessor: predecessor.cloned() }
    }

    /// Claims an instance for this process.
    ///
    /// # Errors
    /// Another process of this host has it.
    pub fn make(&self, instance: &Instance) -> Result<(), Fault> {
        let name = name(instance);
        let handed = self.predecessor.as_ref().and_then(|it| it.take(CLAIM, &name).pop());
        let claim = match handed {
            Some(handed) => Ok(handed.into()),
            None => {
                SocketAddr::from_abstract_name(&name).and_then(|it| UnixDatagram::bind_addr(&it))
            }
        };
        let claim = claim.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Fault::Twice,
            _ => Fault::of("claim the instance", &error),
        })?;
        self.lock().insert(name, claim);
        Ok(())
    }

    /// Gives a claim up.
    pub fn end(&self, instance: &Instance) {
        self.lock().remove(&name(instance));
    }

    /// All of them, for a successor.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn handed(&self) -> io::Result<Vec<Handed>> {
        self.lock().iter().map(|(name, claim)| Handed::one(CLAIM, name, claim)).collect()
    }

    /// Gives all of them up.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, UnixDatagram>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(instance: &Instance) -> String {
    let family = if instance.addresses.iter().all(|net| net.addr().is_ipv4()) { 4 } else { 6 };
    format!("shoal/vrrp/{}/{}/{family}", instance.interface, instance.agreed.virtual_router_id)
}
