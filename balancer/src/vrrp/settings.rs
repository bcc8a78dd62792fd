//! What an instance goes by, from the bundle's document for this balancer.

use std::{net::IpAddr, path::Path, time::Duration};

use cluster_config::document::balancer::Vrrp;
use ipnet::IpNet;

use super::packet::{Agreed, Password, Version};

/// Octets of a secret's file that are looked at.
const SECRET: usize = 4096;

/// One instance, as this balancer takes part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub name: String,
    pub interface: String,
    pub agreed: Agreed,
    /// Of this balancer, while it is well.
    pub priority: u8,
    /// What it is less while it is not.
    pub track_weight: u8,
    pub addresses: Vec<IpNet>,
    pub preempt: bool,
    pub preempt_delay: Duration,
    /// None: multicast.
    pub peers: Vec<Peer>,
}

/// Who hears advertisements where there is no multicast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    At(IpAddr),
    /// A balancer, wherever the registry has seen it.
    Named(String),
}

/// Why a document's instance cannot be taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vrrp {instance}: {why}")]
pub struct Error {
    pub instance: String,
    pub why: String,
}

impl Instance {
    /// The instances of a balancer; secrets are read from a directory of its host.
    ///
    /// # Errors
    /// Every instance that cannot be taken up, with the remedy.
    pub fn all(written: &[Vrrp], balancer: &str, secrets: &Path) -> Result<Vec<Self>, Vec<Error>> {
        let (mut instances, mut errors) = (Vec::new(), Vec::new());
        for it in written {
            let Some(priority) = it.priority.get(balancer).copied() else { continue };
            match Self::of(it, balancer, priority, secrets) {
                Ok(instance) => instances.push(instance),
                Err(why) => errors.push(Error { instance: it.name.clone(), why }),
            }
        }
        if errors.is_empty() { Ok(instances) } else { Err(errors) }
    }

    fn of(it: &Vrrp, balancer: &str, priority: u8, secrets: &Path) -> Result<Self, String> {
        let version = match it.version {
            2 => Version::V2,
            3 => Version::V3,
            other => return Err(format!("this version does not speak version {other} of VRRP")),
        };
        if priority == 0 || it.addresses.is_empty() {
            return Err("it has no priority or no address".to_owned());
        }
        let password = it.auth_pass.as_deref().map(|name| password(secrets, name)).transpose()?;
        let peer = |peer: &String| match peer.parse() {
            Ok(address) => Peer::At(address),
            Err(_) => Peer::Named(peer.clone()),
        };
        Ok(Self {
            name: it.name.clone(),
            interface: it.interface.clone(),
            agreed: Agreed {
                version,
                virtual_router_id: it.virtual_router_id,
                interval: it.advert_interval,
                password,
            },
            priority,
            track_weight: it.track_weight,
            addresses: it.addresses.clone(),
            preempt: it.preempt,
            preempt_delay: it.preempt_delay,
            peers: it.unicast_peers.iter().filter(|it| *it != balancer).map(peer).collect(),
        })
    }

    /// Whether nothing but the priority differs, so that it can go on as it is.
    #[must_use]
    pub fn differs_in_priority_alone(&self, other: &Self) -> bool {
        let priority = (self.priority, self.track_weight);
        let owner = |it: &Self| it.priority == super::state::OWNER;
        owner(self) == owner(other)
            && *self == Self { priority: priority.0, track_weight: priority.1, ..other.clone() }
    }

    /// What it says of itself while it is well, or while it is not.
    #[must_use]
    pub const fn priority(&self, fit: bool) -> u8 {
        if fit || self.priority == super::state::OWNER {
            return self.priority;
        }
        let lessened = self.priority.saturating_sub(self.track_weight);
        if lessened == 0 { 1 } else { lessened }
    }
}

/// Reads a password of version 2: what is longer would be cut by some routers and not by others.
fn password(secrets: &Path, name: &str) -> Result<Password, String> {
    let path = secrets.join(name);
    let remedy = "write the password there, 1 to 8 bytes, or name another directory with --secrets";
    let read = std::fs::read(&path)
        .map_err(|error| format!("auth_pass: cannot read {}: {error}; {remedy}", path.display()))?;
    let text = read.get(..SECRET.min(read.len())).unwrap_or_default();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() || text.len() > 8 {
        let length = text.len();
        return Err(format!("auth_pass: {} has {length} bytes; {remedy}", path.display()));
    }
    let mut password = Password::default();
    password[..text.len()].copy_from_slice(text);
    Ok(password)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn written() -> Vrrp {
        Vrrp {
            name: "VI_1".to_owned(),
            interface: "eth0".to_owned(),
            virtual_router_id: 51,
            version: 2,
            priority: BTreeMap::from([("b-1".to_owned(), 100), ("b-2".to_owned(), 90)]),
            advert_interval: Duration::from_secs(1),
            auth_pass: Some("vrrp_auth".to_owned()),
            addresses: vec!["192.168.1.100/24".parse().unwrap()],
            preempt: true,
            preempt_delay: Duration::ZERO,
            unicast_peers: ["b-1", "b-2", "10.0.0.9"].map(str::to_owned).to_vec(),
            track_weight: 11,
        }
    }

    #[test]
    fn each_balancer_has_its_own_priority_and_leaves_itself_out() {
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("vrrp_auth"), "1234\n").unwrap();
        let of = |name: &str| Instance::all(&[written()], name, secrets.path()).unwrap();
        assert_eq!(of("b-3"), []);
        let [instance] = &of("b-2")[..] else { panic!("one") };
        assert_eq!(instance.agreed.password, Some(*b"1234\0\0\0\0"));
        let peers = [Peer::Named("b-1".to_owned()), Peer::At("10.0.0.9".parse().unwrap())];
        assert_eq!(instance.peers, peers);
        assert_eq!([instance.priority(true), instance.priority(false)], [90, 79]);
        let low = Instance { priority: 5, track_weight: 200, ..instance.clone() };
        assert_eq!(low.priority(false), 1, "0 would say that it leaves");
        let owner = Instance { priority: 255, ..instance.clone() };
        assert_eq!(owner.priority(false), 255);
        assert!(low.differs_in_priority_alone(instance));
        assert!(!owner.differs_in_priority_alone(instance));
        let other = Instance { preempt: false, ..instance.clone() };
        assert!(!other.differs_in_priority_alone(instance));
    }

    #[test]
    fn a_password_that_cannot_be_said_is_refused_with_its_file() {
        let secrets = tempfile::tempdir().unwrap();
        let told = |content: Option<&str>| {
            let file = secrets.path().join("vrrp_auth");
            match content {
                Some(content) => std::fs::write(&file, content).unwrap(),
                None => drop(std::fs::remove_file(&file)),
            }
            let errors = Instance::all(&[written()], "b-1", secrets.path()).unwrap_err();
            errors[0].to_string()
        };
        assert!(told(None).starts_with("vrrp VI_1: auth_pass: cannot read "));
        assert!(told(Some("123456789")).contains("vrrp_auth has 9 bytes; write the password"));
        assert!(told(Some("\n")).contains("has 0 bytes"));
    }
}
