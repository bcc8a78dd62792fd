//! Addresses that move between balancers.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::units;

/// One virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vrrp {
    /// Unique.
    pub name: String,
    /// Network interface.
    pub interface: String,
    /// 1 to 255.
    pub virtual_router_id: u8,
    /// 2 or 3.
    pub version: u8,
    /// By the balancer's name, 1 to 255.
    pub priority: BTreeMap<String, u8>,
    /// Whole seconds in version 2, steps of 10 ms in version 3.
    #[serde(with = "units::duration")]
    pub advert_interval: Duration,
    /// Name of the secret, of version 2 alone.
    #[serde(default)]
    pub auth_pass: Option<String>,
    /// At least one; all of one family. With the bits beyond the prefix.
    pub addresses: Vec<IpNet>,
    /// Whether the addresses are taken from a lesser balancer that is well.
    pub preempt: bool,
    /// After this long.
    #[serde(with = "units::duration")]
    pub preempt_delay: Duration,
    /// Names out of `priority`, or addresses of the family; none: multicast.
    #[serde(default)]
    pub unicast_peers: Vec<String>,
    /// What an unhealthy balancer's priority is less.
    pub track_weight: u8,
}
