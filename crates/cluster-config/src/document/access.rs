//! Access rules: named ACLs, and rules over them in first-match order. When no rule matches, the
//! answer is deny.

use super::{Egress, FileReference};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Who may ask for what, and what the node may connect to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// Every ACL that a rule names, built-in ones (`all`, `localhost`, …) included; others are left
    /// out.
    pub acls: BTreeMap<String, Acl>,
    /// First match wins; none: deny.
    pub rules: Vec<Rule>,
    /// Which addresses the node may connect to, checked after name resolution.
    pub egress: Egress,
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
    /// Address of the destination. Of several that its name resolves to any makes a rule match that
    /// denies; one that allows lets the request go to those that match, and to no other.
    Dst(Vec<IpNet>),
    /// The same from a list file.
    DstList(FileReference),
    /// Host of the request's target, whatever its spelling.
    Dstdomain(Vec<DomainPattern>),
    /// The same from a list file; read it with [`crate::lists::domains`].
    DstdomainList(FileReference),
    /// Port of the request's target.
    Port(Vec<PortRange>),
    /// Method; compared exactly.
    Method(Vec<String>),
    /// Time of day in the node's time zone.
    Time(Vec<TimeWindow>),
    /// The request's target in its normal form: the absolute URL, or `host:port` of a CONNECT.
    UrlRegex(Vec<UrlPattern>),
}

/// `example.com` (only this host), `.example.com` (the domain and everything under it), or, from a
/// list, only what is under it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DomainPattern {
    /// Lower case, no dot at either end. May be an IP address.
    pub name: String,
    /// Whether everything under it matches too.
    pub subdomains: bool,
    /// Whether, of those, the name itself does not match: the wildcards of DNS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_below: bool,
}

impl DomainPattern {
    /// Whether a host matches: lower case, without a trailing dot.
    pub fn matches(&self, host: &str) -> bool {
        if host == self.name {
            return !self.only_below;
        }
        self.subdomains
            && host.strip_suffix(self.name.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = match (self.only_below, self.subdomains) {
            (true, _) => "*.",
            (false, true) => ".",
            (false, false) => "",
        };
        write!(f, "{before}{}", self.name)
    }
}

/// Ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// Lowest.
    pub first: u16,
    /// Highest.
    pub last: u16,
}

impl PortRange {
    /// Whether the port is in it.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// Some weekdays and a part of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWindow {
    /// Bit 0 is Monday, bit 6 Sunday.
    pub days: u8,
    /// First minute of the day, 0 to 1439.
    pub from: u16,
    /// The minute after the last, 1 to 1440; greater than `from`.
    pub until: u16,
}

impl TimeWindow {
    /// Whether a moment lies in it. `day`: 0 is Monday; `minute`: of the day.
    pub fn contains(&self, day: u8, minute: u16) -> bool {
        day < 7 && self.days & (1 << day) != 0 && (self.from..self.until).contains(&minute)
    }
}

/// A regular expression over the request's target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlPattern {
    /// In the syntax of the `regex` crate; it compiles, within the crate's default size limit.
    pub regex: String,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The request may go on.
    Allow,
    /// It is answered with 403.
    Deny,
}

/// It matches when all of its terms do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What a match means.
    pub verdict: Verdict,
    /// At least one.
    pub terms: Vec<Term>,
    /// HTML page for a denial, with [`crate::pages`]' placeholders; none: the built-in one.
    pub page: Option<FileReference>,
}

impl fmt::Display for Rule {
    /// As in the bundle: `deny: [connect, "!ssl_ports"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        let terms: Vec<String> = self.terms.iter().map(Term::to_string).collect();
        write!(f, "{verdict}: [{}]", terms.join(", "))
    }
}

/// An ACL, or its opposite.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// A key of [`Access::acls`].
    pub acl: String,
    /// Written `!name`: matches when the ACL does not.
    pub negated: bool,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negated { write!(f, "\"!{}\"", self.acl) } else { f.write_str(&self.acl) }
    }
}
