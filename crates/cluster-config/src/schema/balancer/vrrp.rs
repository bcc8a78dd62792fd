//! Addresses that move between balancers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::notation::{Duration, InterfaceAddress, Name, Secret},
    duration,
};

/// One virtual router (what keepalived calls a `vrrp_instance`): addresses that one of several
/// balancers holds, and another one takes over when it dies, freezes or has no server to offer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vrrp {
    /// Unique.
    pub name: Name,
    /// The network interface that gets the addresses, and on which the balancers hear each other.
    pub interface: Name,
    /// The same on all balancers of this instance, and of no other one in the network.
    #[schemars(range(min = 1, max = 255))]
    pub virtual_router_id: u32,
    /// 3 (RFC 9568): IPv4 or IPv6, intervals below a second. 2 (RFC 3768): IPv4, whole seconds, and
    /// `auth_pass`, as keepalived speaks it by default.
    #[serde(default = "three")]
    #[schemars(range(min = 2, max = 3))]
    pub version: u32,
    /// By the balancer's name: 1 to 254, the highest holds the addresses; 255 for the one that owns
    /// them for good. A balancer that is not named takes no part.
    pub priority: BTreeMap<String, u8>,
    /// Between two advertisements. Three of them missing is a death. Version 3: 10ms to 40950ms in
    /// steps of 10ms; version 2: 1s to 255s.
    #[serde(default = "a_second")]
    pub advert_interval: Duration,
    /// Version 2 only: what all say in their advertisements, up to 8 bytes. Everybody on the
    /// network can read it. A reference to a file of that name, which each balancer's host has
    /// (`--secrets`).
    #[serde(default)]
    pub auth_pass: Option<Secret>,
    /// The addresses that move, each with its network's prefix; all IPv4 or all IPv6, 20 at most.
    pub addresses: Vec<InterfaceAddress>,
    /// True: a balancer that comes back does not take the addresses from one that holds them and is
    /// well.
    #[serde(default)]
    pub nopreempt: bool,
    /// How long a balancer that could take the addresses from a lesser one waits before it does.
    #[serde(default = "at_once")]
    pub preempt_delay: Duration,
    /// Names or addresses of all balancers of this instance, where the network does not carry
    /// multicast; a balancer leaves itself out.
    #[serde(default)]
    pub unicast_peers: Vec<String>,
    /// How the priority follows the balancer's own health.
    #[serde(default)]
    pub track: Track,
}

/// How the priority follows the balancer's own health: its frontends are open, and a server may get
/// requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Track {
    /// What an unhealthy balancer's priority is less; it never falls below 1. Without it just as
    /// much as puts the highest priority below the lowest. 0: health does not matter.
    #[schemars(range(min = 0, max = 253))]
    pub weight: Option<u32>,
}

fn three() -> u32 {
    3
}

fn a_second() -> Duration {
    duration("1s")
}

fn at_once() -> Duration {
    duration("0s")
}
