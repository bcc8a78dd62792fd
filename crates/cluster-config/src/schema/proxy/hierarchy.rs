//! `proxy.hierarchy`: other caches.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    document,
    schema::notation::{Address, Bind, Domain, Duration, Login, Name, Network},
};

/// Other caches to ask.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hierarchy {
    /// Where other caches ask whether this node has something (ICP v2, RFC 2186). Without it
    /// nobody is answered, and siblings are asked from a port of the system's choice.
    pub icp: Option<Icp>,
    /// Caches on the same level: on a miss they are asked by ICP whether they have it, and one that
    /// has, for it (`only-if-cached`). Not asked: for requests with credentials or `no-cache`, and
    /// where rules tell apart who may have what from which address (`dst`, egress by client).
    pub siblings: Option<Siblings>,
    /// A second tier, in order of preference; empty: straight to the origin.
    pub parents: Vec<Parent>,
    /// What goes straight to its origin although there are parents.
    pub direct: Direct,
}

/// How other caches ask this node.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Icp {
    /// UDP address and port; 3130 in most places.
    pub bind: Bind,
    /// Who is answered; everybody else hears nothing. They need a rule that lets them in for what
    /// they ask for then.
    pub allow: Vec<Network>,
    /// Questions a second that are answered; the others are left alone.
    #[serde(default = "max_rate")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_rate: u32,
}

const fn max_rate() -> u32 {
    10_000
}

/// Caches on the same level.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Siblings {
    /// By address.
    #[serde(default)]
    pub peers: Vec<Sibling>,
    /// `proxy-node`: the other nodes of this cluster that have `icp`, too. `cache.owners` does more
    /// for them.
    #[serde(default)]
    pub service: Option<Name>,
    /// How they are asked.
    #[serde(default)]
    pub protocol: SiblingProtocol,
    /// What they have is not kept here too.
    #[serde(default = "yes")]
    pub proxy_only: bool,
    /// The longest wait for answers. It is twice the smoothed round trip time of each, and one that
    /// is silent is not waited for.
    #[serde(default = "max_timeout")]
    pub max_timeout: Duration,
}

const fn yes() -> bool {
    true
}

fn max_timeout() -> Duration {
    super::duration("2s")
}

/// A cache on the same level.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sibling {
    /// Its host, and its port for clients.
    pub address: Address,
    /// Its UDP port for questions.
    #[serde(default = "icp_port")]
    #[schemars(range(min = 1))]
    pub icp_port: u16,
}

const fn icp_port() -> u16 {
    3130
}

/// How siblings are asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiblingProtocol {
    /// RFC 2186.
    #[default]
    Icp,
}

/// Destinations that no parent is asked for, in the terms of ACLs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Direct {
    /// Hosts, and domains with everything under them.
    pub dstdomain: Vec<Domain>,
    /// Addresses and networks; they are compared with addresses in requests, since the parents
    /// resolve names.
    pub dst: Vec<Network>,
    /// Requests by ACLs of `access`: lists of names, or of names with `!`, of which all hold; as
    /// in `always_direct`. No ACL of them may look at the destination's address.
    pub always: Vec<Vec<String>>,
}

/// A parent proxy, by `address`, or several by `service` and `tags`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its host and port.
    #[serde(default)]
    pub address: Option<Address>,
    /// What proves the node to it: `file:/PATH` or `env:NAME`, whose content on the node is
    /// `user:password` for Basic, or `passthrough`: the client's own Proxy-Authorization goes on to
    /// the parent, and the parent's challenge back to the client. Without it a parent that asks for
    /// credentials gets none, and the client a 502 that says so.
    #[serde(default)]
    pub login: Option<Login>,
    /// `proxy-node`: the nodes of this cluster that have `tags` are parents of all others, as the
    /// membership lists them. They need a rule that lets those others in, and count them as clients
    /// unless they are among their `trusted_downstreams`.
    #[serde(default)]
    pub service: Option<Name>,
    /// Tags that the nodes have (`--tags` at their start).
    #[serde(default)]
    pub tags: Option<Vec<Name>>,
    /// How one is picked of parents that follow each other with the same `select`. Whatever it
    /// says, the living come first, and a parent that fails, refuses a tunnel, or answers 502, 503
    /// or 504 is followed by the next one where a request may be repeated.
    #[serde(default)]
    pub select: Select,
    /// Its share among those that it is picked from with `round_robin`, `carp` or `source`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<u32>,
    /// Speak TLS with it (an HTTPS proxy): it has to show a certificate for the host of `address`
    /// by an authority of `origin_tls`. What clients ask for as `https://` in absolute form does
    /// not go through it: they use CONNECT.
    #[serde(default)]
    pub tls: bool,
}

/// How a parent is picked.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The first that lives (`default` in Squid).
    #[default]
    First,
    /// In turn.
    RoundRobin,
    /// By a hash of the URL: each URL has one parent, and loses it only with that parent.
    Carp,
    /// By a hash of the client's address: each client has one parent (`sourcehash` in Squid).
    Source,
}

impl From<Select> for document::proxy::Select {
    fn from(select: Select) -> Self {
        match select {
            Select::First => Self::First,
            Select::RoundRobin => Self::RoundRobin,
            Select::Carp => Self::Carp,
            Select::Source => Self::Source,
        }
    }
}
