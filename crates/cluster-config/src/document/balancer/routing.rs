//! Which requests and connections of a frontend go to which backend.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::super::{DomainPattern, FileReference, PortRange, Term};

/// What is spoken at a frontend, and with the servers of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// HTTP/1.1, proxy requests: each goes where it belongs.
    #[default]
    Http,
    /// Anything: each connection goes to one server, byte for byte.
    Tcp,
}

impl Mode {
    /// As it is written in a bundle.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// One named condition. Its values are alternatives: any of them makes it match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acl {
    /// Always matches.
    All,
    /// Address of the client.
    Src(Vec<IpNet>),
    /// The same from a list file; read it with [`crate::lists::networks`].
    SrcList(FileReference),
    /// Host of the request's target, whatever its spelling.
    Dstdomain(Vec<DomainPattern>),
    /// The same from a list file; read it with [`crate::lists::domains`].
    DstdomainList(FileReference),
    /// Port of the request's target.
    Port(Vec<PortRange>),
    /// Method; compared exactly.
    Method(Vec<String>),
    /// The path without its query, in its normal form, compared exactly.
    Path(Vec<String>),
    /// How that path begins.
    PathPrefix(Vec<String>),
    /// Regular expressions over that path.
    PathRegex(Vec<String>),
    /// A field of the request.
    Header(HeaderTest),
    /// The name that a TLS client asks for.
    Sni(Vec<DomainPattern>),
    /// The same from a list file.
    SniList(FileReference),
}

impl Acl {
    /// Whether it is about a request, which nobody sees where bytes are passed on.
    #[must_use]
    pub const fn needs_request(&self) -> bool {
        !matches!(
            self,
            Self::All | Self::Src(_) | Self::SrcList(_) | Self::Sni(_) | Self::SniList(_)
        )
    }

    /// Whether it is about the name that a TLS client asks for.
    #[must_use]
    pub const fn needs_sni(&self) -> bool {
        matches!(self, Self::Sni(_) | Self::SniList(_))
    }

    /// What it looks at, as it is written in a bundle.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Src(_) => "src",
            Self::SrcList(_) => "src_list",
            Self::Dstdomain(_) => "dstdomain",
            Self::DstdomainList(_) => "dstdomain_list",
            Self::Port(_) => "port",
            Self::Method(_) => "method",
            Self::Path(_) => "path",
            Self::PathPrefix(_) => "path_prefix",
            Self::PathRegex(_) => "path_regex",
            Self::Header(_) => "header",
            Self::Sni(_) => "sni",
            Self::SniList(_) => "sni_list",
        }
    }
}

/// A field of the request: one of its values is one of these, begins with one of them, or is
/// matched by one of them; without any, it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderTest {
    /// The field.
    pub name: String,
    /// Compared exactly.
    #[serde(default)]
    pub values: Vec<String>,
    /// How a value begins.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Regular expressions over a value.
    #[serde(default)]
    pub regexes: Vec<String>,
}

/// It matches when all of its terms do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseBackend {
    /// At least one.
    pub when: Vec<Term>,
    /// Name of a backend.
    pub backend: String,
}

impl fmt::Display for UseBackend {
    /// As in the bundle: `when: [office, "!big"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<_> = self.when.iter().map(ToString::to_string).collect();
        write!(f, "when: [{}]", terms.join(", "))
    }
}
