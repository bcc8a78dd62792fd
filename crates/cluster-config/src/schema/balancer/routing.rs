//! Which requests and connections of a frontend go to which backend.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    notation::{Domain, Downstream, FieldName, Method, Name, Network, Ports, Regex, UrlPath},
    proxy::OneOrMany,
};
use crate::document::balancer as document;

/// What is spoken at a frontend, and with the servers of a backend.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// HTTP/1.1, proxy requests: each goes where it belongs.
    #[default]
    Http,
    /// Anything: each connection goes to one server, byte for byte.
    Tcp,
}

impl From<Mode> for document::Mode {
    fn from(written: Mode) -> Self {
        match written {
            Mode::Http => Self::Http,
            Mode::Tcp => Self::Tcp,
        }
    }
}

/// One named condition: exactly one kind, its values are alternatives.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "RoutingAcl", extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Acl {
    /// The client's address.
    pub src: Option<OneOrMany<Network>>,
    /// The client's address, from a file in lists/.
    pub src_list: Option<Name>,
    /// The host of the request's target.
    pub dstdomain: Option<OneOrMany<Domain>>,
    /// The host of the request's target, from a file in lists/.
    pub dstdomain_list: Option<Name>,
    /// The port of the request's target.
    pub port: Option<OneOrMany<Ports>>,
    /// The request's method.
    pub method: Option<OneOrMany<Method>>,
    /// The path of the request's target without its query, in its normal form.
    pub path: Option<OneOrMany<UrlPath>>,
    /// How that path begins.
    pub path_prefix: Option<OneOrMany<UrlPath>>,
    /// A regular expression over that path.
    pub path_regex: Option<OneOrMany<Regex>>,
    /// A field of the request.
    pub header: Option<HeaderTest>,
    /// The name that a TLS client asks for (SNI), in `mode: tcp`.
    pub sni: Option<OneOrMany<Domain>>,
    /// The name that a TLS client asks for, from a file in lists/.
    pub sni_list: Option<Name>,
}

/// A field of the request: one of its values is one of these; without any, it is there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderTest {
    /// The field.
    pub name: FieldName,
    /// A value, compared exactly.
    #[serde(default)]
    pub value: Option<OneOrMany<String>>,
    /// How a value begins.
    #[serde(default)]
    pub prefix: Option<OneOrMany<String>>,
    /// A regular expression over a value.
    #[serde(default)]
    pub regex: Option<OneOrMany<Regex>>,
}

/// Where what matches all of these ACLs goes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseBackend {
    /// Names of ACLs; `!name` matches when `name` does not.
    pub when: Vec<String>,
    /// A backend.
    pub backend: Name,
}

/// Whose connections begin with a PROXY header.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Load balancers in front: their connections must begin with it, in version 1 or 2. What
    /// others send is taken as it is. `unix`: whoever connects to a file of this frontend.
    #[schemars(length(min = 1))]
    pub from: Vec<Downstream>,
}

/// Which version of the PROXY protocol servers by address are spoken to with.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SendProxy {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl From<SendProxy> for document::SendProxy {
    fn from(written: SendProxy) -> Self {
        match written {
            SendProxy::V1 => Self::V1,
            SendProxy::V2 => Self::V2,
        }
    }
}
