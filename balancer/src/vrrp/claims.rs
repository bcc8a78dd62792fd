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
    held: Arc<Mutex<Sockets>>,
    /// Those of the process before this one, until they are wanted here.
    inherited: Arc<Mutex<Sockets>>,
}

type Sockets = BTreeMap<String, UnixDatagram>;

impl Claims {
    /// With those of the process before this one, where there is one.
    #[must_use]
    pub fn resumed(predecessor: Option<&chassis::Predecessor>) -> Self {
        let handed = predecessor.map(|it| it.take_all(CLAIM)).unwrap_or_default().into_iter();
        let inherited = handed.filter_map(|(name, mut it)| Some((name, it.pop()?.into())));
        Self { held: Arc::default(), inherited: Arc::new(Mutex::new(inherited.collect())) }
    }

    /// Claims an instance for this process.
    ///
    /// # Errors
    /// Another process of this host has it.
    pub fn make(&self, instance: &Instance) -> Result<(), Fault> {
        let name = name(instance);
        let claim = match lock(&self.inherited).remove(&name) {
            Some(inherited) => Ok(inherited),
            None => {
                SocketAddr::from_abstract_name(&name).and_then(|it| UnixDatagram::bind_addr(&it))
            }
        };
        let claim = claim.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Fault::Twice,
            _ => Fault::of("claim the instance", &error),
        })?;
        lock(&self.held).insert(name, claim);
        Ok(())
    }

    /// Gives a claim up.
    pub fn end(&self, instance: &Instance) {
        lock(&self.held).remove(&name(instance));
    }

    /// All of them, for a successor.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn handed(&self) -> io::Result<Vec<Handed>> {
        lock(&self.held).iter().map(|(name, claim)| Handed::one(CLAIM, name, claim)).collect()
    }

    /// Gives up what the process before this one had and this one does not want.
    pub fn settled(&self) {
        lock(&self.inherited).clear();
    }

    /// Gives all of them up.
    pub fn clear(&self) {
        lock(&self.held).clear();
    }
}

fn lock(sockets: &Mutex<Sockets>) -> MutexGuard<'_, Sockets> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(instance: &Instance) -> String {
    let family = if instance.addresses.iter().all(|net| net.addr().is_ipv4()) { 4 } else { 6 };
    format!("shoal/vrrp/{}/{}/{family}", instance.interface, instance.agreed.virtual_router_id)
}
