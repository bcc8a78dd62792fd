//! Who may reach what: ACLs, rules, egress, passwords.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};

use super::super::notation::{Domain, EgressTo, Method, Name, Network, Ports, Regex, Time};

/// Who may ask for what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Named conditions. Built in: `all`, `localhost`, `to_localhost`, `to_linklocal`.
    pub acls: BTreeMap<String, Acl>,
    /// First match wins; when none matches the request is denied.
    pub rules: Vec<Rule>,
    /// What the node may connect to.
    pub egress: Egress,
}

/// One named condition: exactly one kind, its values are alternatives.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Acl {
    /// The client's address.
    pub src: Option<OneOrMany<Network>>,
    /// The client's address, from a file in lists/.
    pub src_list: Option<Name>,
    /// An address of the destination. Of several, any makes a rule match that denies; one that
    /// allows lets the request go to those alone that match. Where they cannot be found out, the
    /// request fails.
    pub dst: Option<OneOrMany<Network>>,
    /// An address of the destination, from a file in lists/.
    pub dst_list: Option<Name>,
    /// The destination's host.
    pub dstdomain: Option<OneOrMany<Domain>>,
    /// The destination's host, from a file in lists/.
    pub dstdomain_list: Option<Name>,
    /// The destination's port.
    pub port: Option<OneOrMany<Ports>>,
    /// The request's method.
    pub method: Option<OneOrMany<Method>>,
    /// Time of day in the node's time zone.
    pub time: Option<OneOrMany<Time>>,
    /// The request's URL in its normal form: scheme and host in lower case, no default port, no dot
    /// segments, no needless escapes.
    pub url_regex: Option<OneOrMany<Regex>>,
}

/// A value, or a list of them. Whether it is a list decides what it is read as, not what can be
/// made of it.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Some.
    Many(Vec<T>),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = serde_json::Value::deserialize(deserializer)?;
        match written {
            serde_json::Value::Array(values) => values
                .into_iter()
                .map(serde_json::from_value)
                .collect::<Result<_, _>>()
                .map(Self::Many)
                .map_err(D::Error::custom),
            value => serde_json::from_value(value).map(Self::One).map_err(D::Error::custom),
        }
    }
}

impl<T> OneOrMany<T> {
    /// Always a list, to look at.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    /// Always a list.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

/// Either `allow` or `deny`; all ACLs named must match, `!name` matches when `name` does not.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Names of ACLs.
    pub allow: Option<Vec<String>>,
    /// Names of ACLs.
    pub deny: Option<Vec<String>>,
    /// A file in pages/, without `.html`.
    pub page: Option<Name>,
}

/// Loopback, link-local, metadata services and the cluster's own ports are denied unless an entry
/// allows them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Exceptions.
    pub allow: Vec<EgressAllow>,
    /// Further addresses that are not connected to.
    pub deny: Vec<Network>,
}

/// An exception.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressAllow {
    /// Where to: loopback, link_local, metadata, cluster_ports, or networks.
    #[schemars(length(min = 1))]
    pub to: Vec<EgressTo>,
    /// Only these ports.
    #[serde(default)]
    pub ports: Vec<Ports>,
    /// Only for these clients.
    #[serde(default)]
    pub clients: Vec<Network>,
}

/// Proof of who the client is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// RFC 7617.
    pub basic: Option<Basic>,
}

/// Basic authentication.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// A file in users/.
    pub htpasswd: Name,
    /// What clients are shown.
    #[serde(default)]
    pub realm: Option<String>,
}
