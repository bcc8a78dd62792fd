//! The proxy auto-configuration file of a frontend.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::document::DomainPattern;

/// Where browsers are sent by `/proxy.pac` and `/wpad.dat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pac {
    /// So many nodes that an object belongs to, before the proxies; 0: none.
    pub nodes: u32,
    /// What clients call the balancers, host and port; none: by what they asked for the file.
    pub proxies: Vec<(String, u16)>,
    /// Hosts that clients ask themselves.
    pub bypass: Vec<DomainPattern>,
    /// The same for hosts that are addresses.
    pub bypass_networks: Vec<IpNet>,
    /// The same for names without a dot.
    pub bypass_local_names: bool,
    /// Clients go there themselves when no proxy is left.
    pub direct: bool,
}
