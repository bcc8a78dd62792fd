//! Where a frontend listens.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An address, or a file of the balancer's host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// Port 0 stands for any.
    Ip(SocketAddr),
    /// An absolute path.
    Unix(String),
}

impl Bind {
    /// The address, if it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether it names one place: any port is another one each time.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        match self {
            Self::Ip(address) => address.port() != 0,
            Self::Unix(_) => true,
        }
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{path}"),
        }
    }
}

impl FromStr for Bind {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Self::Unix(path.to_owned())),
            None => text.parse().map(Self::Ip),
        }
    }
}

impl Serialize for Bind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Who may connect to its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixFiles {
    /// Their mode.
    pub mode: u32,
    /// Name of their user; none: the balancer's own.
    pub user: Option<String>,
    /// Name of their group; none: the balancer's own.
    pub group: Option<String>,
}

impl Default for UnixFiles {
    /// For the balancer's user and group.
    fn default() -> Self {
        Self { mode: 0o660, user: None, group: None }
    }
}

/// Binds as documents have them: one as a value, which balancers of the version before read as
/// well, several as a list.
pub(super) mod binds {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(Bind),
        Many(Vec<Bind>),
    }

    pub(crate) fn serialize<S: Serializer>(binds: &[Bind], to: S) -> Result<S::Ok, S::Error> {
        match binds {
            [one] => one.serialize(to),
            many => many.serialize(to),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bind>, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::One(bind) => vec![bind],
            Written::Many(binds) => binds,
        })
    }
}
