//! Whether a client may ask for what it asks for: named ACLs, and rules over them in first-match
//! order. When no rule matches, no.
//!
//! Pure: the same code decides for live requests and for `shoal explain`. Names are never resolved
//! in here: a rule that needs the addresses of the destination says so, and is asked again with
//! them.

pub mod domains;
pub mod networks;

use std::{fmt, io, net::IpAddr, sync::Arc};

use cluster_config::{
    FileReference,
    document::{Access, Acl as AclDocument, PortRange, TimeWindow, Verdict, egress::Faces},
    lists,
};
use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::admit::{domains::Domains, networks::Networks};

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Address of the client.
    pub client: IpAddr,
    /// Host of the target: lower case, no brackets, no dot at the end.
    pub host: &'a str,
    /// Port of the target.
    pub port: u16,
    /// Method, as sent.
    pub method: &'a str,
    /// The absolute URL, or `host:port` of a CONNECT, in its normal form.
    pub url: &'a [u8],
    /// The addresses of the host; `None` until somebody has resolved it. Of more than
    /// [`MOST_ADDRESSES`] the others are never used.
    pub addresses: Option<&'a [IpAddr]>,
    /// Weekday in the node's time zone; 0 is Monday.
    pub day: u8,
    /// Minute of that day.
    pub minute: u16,
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Decided.
    Decided(Decision),
    /// A rule asks for the addresses of the destination: resolve the host and ask again.
    NeedsAddresses,
}

/// So many addresses of a name are looked at.
pub const MOST_ADDRESSES: usize = 128;

impl Answer {
    /// Decided, and let through.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Decided(Decision { allowed: true, .. }))
    }
}

/// The decision, and the rule that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The request may go on.
    pub allowed: bool,
    /// Index of the rule; `None` when none matched.
    pub rule: Option<usize>,
    /// The addresses for which the rule matched, where it was asked with any: the request may go to
    /// these and to no other.
    pub among: Among,
}

impl Decision {
    /// Of the addresses that it was made of, those that the request may go to.
    #[must_use]
    pub fn narrow(self, addresses: Arc<[IpAddr]>) -> Arc<[IpAddr]> {
        if self.among.is_all(addresses.len()) {
            addresses
        } else {
            self.among.of(&addresses).into()
        }
    }
}

/// Some of the addresses of a question, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Among(u128);

impl Among {
    /// All of them.
    pub const ALL: Self = Self(u128::MAX);

    /// The first `count`.
    const fn first(count: usize) -> Self {
        if count >= MOST_ADDRESSES { Self::ALL } else { Self((1 << count) - 1) }
    }

    /// Those of these that `holds` says.
    fn filter(self, addresses: &[IpAddr], holds: impl Fn(IpAddr) -> bool) -> Self {
        let places = addresses.iter().take(MOST_ADDRESSES).enumerate();
        let kept = places.filter(|(place, address)| self.0 & (1 << place) != 0 && holds(**address));
        Self(kept.fold(0, |mask, (place, _)| mask | (1 << place)))
    }

    /// Picks them out.
    #[must_use]
    pub fn of(self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let places = addresses.iter().take(MOST_ADDRESSES).enumerate();
        places
            .filter(|(place, _)| self.0 & (1 << place) != 0)
            .map(|(_, address)| *address)
            .collect()
    }

    /// Whether these are all of so many.
    #[must_use]
    pub const fn is_all(self, count: usize) -> bool {
        count <= MOST_ADDRESSES && self.0 & Self::first(count).0 == Self::first(count).0
    }
}

/// A rule, ready to be asked.
#[derive(Debug)]
pub struct Rule {
    /// What a match means.
    pub verdict: Verdict,
    /// As written in the bundle.
    pub text: String,
    /// Page for a denial.
    pub page: Option<Arc<str>>,
    terms: Vec<Term>,
}

#[derive(Clone, Copy, Debug)]
struct Term {
    acl: usize,
    negated: bool,
}

#[derive(Debug)]
enum Acl {
    All,
    Src(Networks),
    Dst(Networks),
    Dstdomain(Domains),
    Port(Vec<PortRange>),
    Method(Vec<String>),
    Time(Vec<TimeWindow>),
    Url(RegexSet),
}

/// All rules of one configuration.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    acls: Vec<(String, Acl)>,
    timed: bool,
}

/// A part of the access rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A list or a page is missing or unreadable.
    #[error("{path} cannot be read: {cause}")]
    File {
        /// In the bundle.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// A line of a list is no entry.
    #[error("{path}, line {line}: {message}; {remedy}")]
    Line {
        /// In the bundle.
        path: String,
        /// From 1.
        line: u32,
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// A list is beyond all bounds.
    #[error("{path}: {cause}")]
    List {
        /// In the bundle.
        path: String,
        /// Why.
        cause: domains::TooLarge,
    },
    /// A regular expression does not compile.
    #[error("acl {acl}: {cause}")]
    Regex {
        /// Name of the ACL.
        acl: String,
        /// Why.
        cause: Box<regex::Error>,
    },
    /// A rule names an ACL that is not there.
    #[error("the rule `{rule}` names the acl {acl}, which is not defined")]
    UnknownAcl {
        /// As written.
        rule: String,
        /// The name.
        acl: String,
    },
}

impl Rules {
    /// Builds the rules of a document. `read` gives the content of a file of the bundle. Slow with
    /// large lists: not for a worker.
    pub fn build(
        access: &Access,
        read: impl Fn(&FileReference) -> io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<Unusable>> {
        let mut problems = Vec::new();
        let read = |file: &FileReference| {
            read(file).map_err(|cause| Unusable::File { path: file.path.clone(), cause })
        };
        let mut acls = Vec::new();
        for (name, document) in &access.acls {
            match build_acl(name, document, &read) {
                Ok(acl) => acls.push((name.clone(), acl)),
                Err(problem) => problems.push(problem),
            }
        }
        let mut rules = Vec::new();
        for document in &access.rules {
            match build_rule(document, &acls, &read) {
                Ok(rule) => rules.push(rule),
                // A rule over an ACL that failed above says nothing new.
                Err(Unusable::UnknownAcl { acl, .. }) if access.acls.contains_key(&acl) => {}
                Err(problem) => problems.push(problem),
            }
        }
        let timed = acls.iter().any(|(_, acl)| matches!(acl, Acl::Time(_)));
        if problems.is_empty() { Ok(Self { rules, acls, timed }) } else { Err(problems) }
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Answer {
        self.walk(question, |_| {})
    }

    /// Decides, and tells what every rule on the way said.
    ///
    /// A name may have addresses of which a rule matches some. A rule that denies then denies; one
    /// that allows lets the request go to those alone ([`Decision::among`]).
    pub fn walk(&self, question: &Question<'_>, mut told: impl FnMut(Step<'_>)) -> Answer {
        for (index, rule) in self.rules.iter().enumerate() {
            match self.ask(rule, question) {
                Asked::NeedsAddresses => return Answer::NeedsAddresses,
                Asked::Fails(acl, negated) => {
                    told(Step { index, rule, failed: Some((acl, negated)) })
                }
                Asked::Matches(among) => {
                    told(Step { index, rule, failed: None });
                    return Answer::Decided(Decision {
                        allowed: rule.verdict == Verdict::Allow,
                        rule: Some(index),
                        among,
                    });
                }
            }
        }
        Answer::Decided(Decision { allowed: false, rule: None, among: Among::ALL })
    }

    /// Whether all terms of a rule hold, and for which of the addresses.
    fn ask(&self, rule: &Rule, question: &Question<'_>) -> Asked<'_> {
        let mut among = Among::ALL;
        for term in &rule.terms {
            let Some((name, acl)) = self.acls.get(term.acl) else { continue };
            let holds = match acl {
                Acl::Dst(networks) => {
                    let literal = question.host.parse::<IpAddr>().ok();
                    let Some(addresses) =
                        literal.as_ref().map(std::slice::from_ref).or(question.addresses)
                    else {
                        return Asked::NeedsAddresses;
                    };
                    // In doubt a rule that denies matches, and one that allows does not: an address
                    // may stand for another ([`Faces`]).
                    let widely = (rule.verdict == Verdict::Deny) != term.negated;
                    let within = |address| {
                        if widely {
                            networks.contains_any(Faces::of(address).iter())
                        } else {
                            networks.contains(address)
                        }
                    };
                    among = among.filter(addresses, |address| within(address) != term.negated);
                    among.0 != 0
                }
                other => other.matches(question) != term.negated,
            };
            if !holds {
                return Asked::Fails(name, term.negated);
            }
        }
        Asked::Matches(among)
    }

    /// The rule at an index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// A decision in words: `deny: [blocked] (rule 2)`.
    #[must_use]
    pub fn describe(&self, decision: Decision) -> String {
        match decision.rule.and_then(|index| Some((index, self.rules.get(index)?))) {
            Some((index, rule)) => format!("{} (rule {})", rule.text, index + 1),
            None => "no rule matches, and what nothing allows is denied".to_owned(),
        }
    }

    /// Whether any rule looks at the time, so that the question needs the weekday and the minute.
    #[must_use]
    pub const fn timed(&self) -> bool {
        self.timed
    }
}

/// What one rule says.
enum Asked<'a> {
    Matches(Among),
    /// The first term that does not hold, and whether it is negated.
    Fails(&'a str, bool),
    NeedsAddresses,
}

/// One rule that was looked at.
#[derive(Debug)]
pub struct Step<'a> {
    /// Index of the rule.
    pub index: usize,
    /// The rule.
    pub rule: &'a Rule,
    /// The first term that did not hold and whether it is negated; `None`: the rule matched.
    pub failed: Option<(&'a str, bool)>,
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rule {}, {}: ", self.index + 1, self.rule.text)?;
        match self.failed {
            None => formatter.write_str("matches"),
            Some((acl, false)) => write!(formatter, "does not match, {acl} does not hold"),
            Some((acl, true)) => write!(formatter, "does not match, {acl} holds"),
        }
    }
}

impl Acl {
    fn matches(&self, question: &Question<'_>) -> bool {
        match self {
            // Asked of each address.
            Self::Dst(_) => false,
            Self::All => true,
            Self::Src(networks) => networks.contains(question.client),
            Self::Dstdomain(domains) => domains.contains(question.host),
            Self::Port(ranges) => ranges.iter().any(|range| range.contains(question.port)),
            Self::Method(methods) => methods.iter().any(|method| method == question.method),
            Self::Time(windows) => {
                windows.iter().any(|window| window.contains(question.day, question.minute))
            }
            Self::Url(patterns) => patterns.is_match(question.url),
        }
    }
}

fn build_acl(
    name: &str,
    document: &AclDocument,
    read: &impl Fn(&FileReference) -> Result<Vec<u8>, Unusable>,
) -> Result<Acl, Unusable> {
    Ok(match document {
        AclDocument::All => Acl::All,
        AclDocument::Src(networks) => Acl::Src(networks.iter().copied().collect()),
        AclDocument::SrcList(file) => Acl::Src(load_networks(file, &read(file)?)?),
        AclDocument::Dst(networks) => Acl::Dst(networks.iter().copied().collect()),
        AclDocument::DstList(file) => Acl::Dst(load_networks(file, &read(file)?)?),
        AclDocument::Dstdomain(patterns) => {
            let mut domains = Domains::with_capacity(patterns.len(), 0);
            for pattern in patterns {
                domains
                    .insert(pattern)
                    .map_err(|cause| Unusable::List { path: name.to_owned(), cause })?;
            }
            Acl::Dstdomain(domains)
        }
        AclDocument::DstdomainList(file) => {
            let content = read(file)?;
            Acl::Dstdomain(load_domains(&content).map_err(|problem| problem.at(&file.path))?)
        }
        AclDocument::Port(ranges) => Acl::Port(ranges.clone()),
        AclDocument::Method(methods) => Acl::Method(methods.clone()),
        AclDocument::Time(windows) => Acl::Time(windows.clone()),
        AclDocument::UrlRegex(patterns) => {
            let set = RegexSetBuilder::new(patterns.iter().map(|pattern| &pattern.regex)).build();
            Acl::Url(set.map_err(|cause| Unusable::Regex {
                acl: name.to_owned(),
                cause: Box::new(cause),
            })?)
        }
    })
}

fn build_rule(
    document: &cluster_config::document::Rule,
    acls: &[(String, Acl)],
    read: &impl Fn(&FileReference) -> Result<Vec<u8>, Unusable>,
) -> Result<Rule, Unusable> {
    let text = document.to_string();
    let mut terms = Vec::with_capacity(document.terms.len());
    for term in &document.terms {
        // A term that was dropped would widen its rule.
        let Some(acl) = acls.iter().position(|(name, _)| *name == term.acl) else {
            return Err(Unusable::UnknownAcl { rule: text, acl: term.acl.clone() });
        };
        terms.push(Term { acl, negated: term.negated });
    }
    let page = match &document.page {
        Some(file) => Some(String::from_utf8_lossy(&read(file)?).into()),
        None => None,
    };
    Ok(Rule { verdict: document.verdict, text, page, terms })
}

/// A list of domains that cannot be used.
#[derive(Debug)]
pub enum BadDomains {
    /// One of its lines.
    Line(lists::BadLine),
    /// All of it.
    TooLarge(domains::TooLarge),
}

impl BadDomains {
    fn at(self, path: &str) -> Unusable {
        match self {
            Self::Line(bad) => bad_line(path, bad),
            Self::TooLarge(cause) => Unusable::List { path: path.to_owned(), cause },
        }
    }
}

/// Reads a list of domains.
pub fn load_domains(content: &[u8]) -> Result<Domains, BadDomains> {
    let lines = content.iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut domains = Domains::with_capacity(lines, content.len());
    for pattern in lists::domains(content) {
        domains.insert(&pattern.map_err(BadDomains::Line)?).map_err(BadDomains::TooLarge)?;
    }
    domains.shrink();
    Ok(domains)
}

fn load_networks(file: &FileReference, content: &[u8]) -> Result<Networks, Unusable> {
    lists::networks(content)
        .map(|network| network.map_err(|bad| bad_line(&file.path, bad)))
        .collect()
}

fn bad_line(path: &str, bad: lists::BadLine) -> Unusable {
    Unusable::Line {
        path: path.to_owned(),
        line: bad.line,
        message: bad.message,
        remedy: bad.remedy,
    }
}

#[cfg(test)]
mod tests;
