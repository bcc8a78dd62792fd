//! What a certificate says: a role and a name, in its URI SAN `spiffe://shoal/<role>/<name>`.

use std::{fmt, net::SocketAddr, str::FromStr};

use cluster::{Service, instance::may_be_named};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// Who somebody is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A person with the `shoal` command.
    Operator,
    /// A process.
    Service(Service),
}

impl Role {
    /// As in certificates.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Service(service) => service.as_str(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "operator" {
            return Ok(Self::Operator);
        }
        text.parse().map(Self::Service).map_err(|_| {
            let services: Vec<_> = Service::ALL.iter().map(|service| service.as_str()).collect();
            format!("there is no role {text:?}; roles are operator, {}", services.join(", "))
        })
    }
}

/// A role with a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it may do.
    pub role: Role,
    /// Who it is.
    pub name: String,
    /// How many processes may be registered with it: with 1 only under its own name, with more also
    /// under that name followed by `-` and more.
    pub replicas: u32,
}

/// Processes of a certificate that is named after its service, as deployments with replicas have
/// them, where it does not say how many.
pub const REPLICAS: u32 = 64;
/// How a certificate says it, in a URI SAN beside the identity.
const REPLICAS_URI: &str = "shoal:replicas:";

impl Identity {
    /// One process of that name; several where the name is the service's own.
    #[must_use]
    pub fn new(role: Role, name: impl Into<String>) -> Self {
        let name = name.into();
        let replicas = if matches!(role, Role::Service(service) if service.as_str() == name) {
            REPLICAS
        } else {
            1
        };
        Self { role, name, replicas }
    }

    /// What a certificate has to say beside [`uri`](Self::uri): nothing where the name says it.
    #[must_use]
    pub fn replicas_uri(&self) -> Option<String> {
        (self.replicas != Self::new(self.role, self.name.as_str()).replicas)
            .then(|| format!("{REPLICAS_URI}{}", self.replicas))
    }

    /// Whether a process with this certificate may be called that.
    #[must_use]
    pub fn may_be_named(&self, name: &str) -> bool {
        name == self.name || (self.replicas > 1 && may_be_named(&self.name, name))
    }

    /// `spiffe://shoal/<role>/<name>`
    #[must_use]
    pub fn uri(&self) -> String {
        format!("spiffe://shoal/{}/{}", self.role, self.name)
    }

    /// Reads a URI back; none when it is not one of ours.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        let (role, name) = uri.strip_prefix("spiffe://shoal/")?.split_once('/')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good = (1..=63).contains(&name.len()) && name.chars().all(plain);
        good.then(|| role.parse().ok().map(|role| Self::new(role, name))).flatten()
    }

    /// Reads a certificate (DER).
    ///
    /// # Errors
    /// It is no certificate, or does not hold exactly one identity of ours.
    pub fn of_certificate(der: &[u8]) -> Result<Self, NoIdentity> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NoIdentity::Malformed)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| NoIdentity::Malformed)?
            .ok_or(NoIdentity::Absent)?;
        let mut found = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Self::from_uri(uri),
            _ => None,
        });
        let mut said = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(REPLICAS_URI)?.parse::<u32>().ok(),
            _ => None,
        });
        match (found.next(), found.next()) {
            (Some(identity), None) => {
                Ok(Self { replicas: said.next().unwrap_or(identity.replicas).max(1), ..identity })
            }
            (None, _) => Err(NoIdentity::Absent),
            (Some(_), Some(_)) => Err(NoIdentity::Several),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.role, self.name)
    }
}

/// Why a certificate identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// Not X.509, or a broken extension.
    #[error("it is malformed")]
    Malformed,
    /// No usable URI.
    #[error("it names no role (a URI spiffe://shoal/<role>/<name>)")]
    Absent,
    /// More than one.
    #[error("it names more than one role")]
    Several,
}

/// Who is at the other end of a gRPC connection. In every request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// From its certificate; none on a plaintext port.
    pub identity: Option<Identity>,
    /// Where it connects from.
    pub address: SocketAddr,
    /// Host names and addresses that its certificate was issued for, beside those that every
    /// certificate has.
    pub hosts: Vec<String>,
}

impl Peer {
    /// The peer of a request, as put there by the chassis's gRPC server.
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_else(Self::nobody)
    }

    /// A peer without any right: what a request is from that did not come through the chassis.
    #[must_use]
    pub fn nobody() -> Self {
        let identity = Identity::new(Role::Service(Service::Console), "");
        Self {
            identity: Some(identity),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            hosts: Vec::new(),
        }
    }

    /// The certificate's name; `anonymous` on a plaintext port.
    #[must_use]
    pub fn name(&self) -> &str {
        self.identity.as_ref().map_or("anonymous", |identity| &identity.name)
    }

    /// The certificate's role; none on a plaintext port.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.identity.as_ref().map(|identity| identity.role)
    }

    /// Whether it may register (or report) as `name`: its certificate's name, or, where that is for
    /// several processes, that followed by `-` and more. Anybody may on a plaintext port.
    #[must_use]
    pub fn may_be_named(&self, name: &str) -> bool {
        self.identity.as_ref().is_none_or(|identity| identity.may_be_named(name))
    }

    /// Whether it may act as `service` (an operator may not). Anybody may on a plaintext port.
    #[must_use]
    pub fn is_service(&self, service: Service) -> bool {
        self.role().is_none_or(|role| role == Role::Service(service))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.identity {
            Some(identity) => identity.fmt(formatter),
            None => write!(formatter, "anonymous at {}", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_certificate_for_several_is_for_other_names() {
        let node = Role::Service(Service::ProxyNode);
        let several = Identity { replicas: 3, ..Identity::new(node, "edge") };
        for (identity, name, may) in [
            (Identity::new(node, "proxy-node-1"), "proxy-node-1", true),
            (Identity::new(node, "proxy-node-1"), "proxy-node-1-x", false),
            (Identity::new(node, "proxy-node"), "proxy-node-1", true),
            (Identity::new(node, "balancer"), "balancer-1", false),
            (several.clone(), "edge", true),
            (several.clone(), "edge-1", true),
            (several.clone(), "edges", false),
        ] {
            assert_eq!(identity.may_be_named(name), may, "{identity} as {name}");
        }
        assert_eq!(several.replicas_uri().as_deref(), Some("shoal:replicas:3"));
        assert_eq!(
            (
                Identity::new(node, "proxy-node").replicas,
                Identity::new(node, "proxy-node").replicas_uri()
            ),
            (REPLICAS, None)
        );
    }

    #[test]
    fn uris() {
        for (uri, expected) in [
            (
                "spiffe://shoal/proxy-node/node-1",
                Some((Role::Service(Service::ProxyNode), "node-1")),
            ),
            ("spiffe://shoal/operator/ann", Some((Role::Operator, "ann"))),
            ("spiffe://shoal/operator/", None),
            ("spiffe://shoal/root/ann", None),
            ("spiffe://other/operator/ann", None),
            ("spiffe://shoal/operator/a/b", None),
            ("https://shoal/operator/ann", None),
        ] {
            let found = Identity::from_uri(uri);
            assert_eq!(
                found.as_ref().map(|identity| (identity.role, identity.name.as_str())),
                expected,
                "{uri}"
            );
            if let Some(identity) = found {
                assert_eq!(identity.uri(), uri);
            }
        }
    }
}
