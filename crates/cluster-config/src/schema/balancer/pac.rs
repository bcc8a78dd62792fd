//! The proxy auto-configuration file of a frontend.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::notation::{Address, Domain, Network};
use crate::document::balancer as document;

/// `/proxy.pac` and `/wpad.dat`: a script that tells browsers which proxy to ask. For each object
/// first the proxy-nodes that it belongs to by its hash (so that one copy serves everybody), then
/// the balancers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pac {
    /// So many nodes before the balancers; 0: browsers do not ask nodes, which needs no way from
    /// clients to nodes.
    #[schemars(range(max = 8))]
    pub nodes: u32,
    /// Under which addresses clients reach the balancers. Without it by the one under which they
    /// asked for the file.
    #[schemars(length(max = 16))]
    pub proxies: Vec<Address>,
    /// Hosts that clients ask without a proxy.
    #[schemars(length(max = 1000))]
    pub bypass: Vec<Domain>,
    /// Networks whose addresses clients ask without a proxy, where a URL has an address for its
    /// host; names are not resolved for it.
    #[schemars(length(max = 1000))]
    pub bypass_networks: Vec<Network>,
    /// Hosts without a dot in their names are asked without a proxy, too.
    pub bypass_local_names: bool,
    /// When no proxy answers, clients ask origins themselves.
    pub direct: bool,
}

impl Default for Pac {
    fn default() -> Self {
        Self {
            nodes: 2,
            proxies: Vec::new(),
            bypass: Vec::new(),
            bypass_networks: Vec::new(),
            bypass_local_names: true,
            direct: false,
        }
    }
}

impl From<Pac> for document::Pac {
    fn from(written: Pac) -> Self {
        Self {
            nodes: written.nodes,
            proxies: written.proxies.into_iter().map(|it| it.value).collect(),
            bypass: written.bypass.into_iter().map(|it| it.value).collect(),
            bypass_networks: written.bypass_networks.into_iter().map(|it| it.value).collect(),
            bypass_local_names: written.bypass_local_names,
            direct: written.direct,
        }
    }
}
