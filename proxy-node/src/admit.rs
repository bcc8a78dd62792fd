//! Whether a client may ask for what it asks for: named ACLs, and rules over them in first-match
//! order. When no rule matches, no.
//!
//! Pure: the same code decides for live requests and for `shoal explain`. Names are never resolved
//! in here: a rule that needs the addresses of the destination says so, and is asked again with
//! them.

mod build;
mod decision;

use std::{fmt, net::IpAddr, sync::Arc};

use cluster_config::document::{PortRange, TimeWindow, Verdict, egress::Faces};
use dataplane::list::{Domains, Networks};
use regex::bytes::RegexSet;

pub use build::Unusable;
pub use decision::{Among, Answer, Decision, MOST_ADDRESSES};

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

impl Rules {
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
                Said::NeedsAddresses => return Answer::NeedsAddresses,
                Said::Fails(acl, negated) => {
                    told(Step { index, rule, failed: Some((acl, negated)) })
                }
                Said::Matches(among) => {
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
    fn ask(&self, rule: &Rule, question: &Question<'_>) -> Said<'_> {
        let mut among = Among::ALL;
        for term in &rule.terms {
            let Some((name, acl)) = self.acls.get(term.acl) else { continue };
            let holds = match acl {
                Acl::Dst(networks) => {
                    let literal = question.host.parse::<IpAddr>().ok();
                    let Some(addresses) =
                        literal.as_ref().map(std::slice::from_ref).or(question.addresses)
                    else {
                        return Said::NeedsAddresses;
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
                    !among.is_empty()
                }
                other => other.matches(question) != term.negated,
            };
            if !holds {
                return Said::Fails(name, term.negated);
            }
        }
        Said::Matches(among)
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
enum Said<'a> {
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
            // Said of each address.
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

#[cfg(test)]
mod tests;
