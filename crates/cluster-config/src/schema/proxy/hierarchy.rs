//! `proxy.hierarchy`: other caches.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    document,
    schema::{
        later,
        notation::{Address, Domain, Login, Name, Network},
    },
};

/// Other caches to ask.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hierarchy {
    /// Neighbours on the same level.
    #[schemars(extend("x-no-effect" = true))]
    pub siblings: Option<later::Siblings>,
    /// A second tier, in order of preference; empty: straight to the origin.
    pub parents: Vec<Parent>,
    /// What goes straight to its origin although there are parents.
    pub direct: Direct,
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
}

impl From<Select> for document::proxy::Select {
    fn from(select: Select) -> Self {
        match select {
            Select::First => Self::First,
            Select::RoundRobin => Self::RoundRobin,
            Select::Carp => Self::Carp,
        }
    }
}
