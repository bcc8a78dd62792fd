//! Where a request or a connection goes: to a backend, or to the balancer itself. Decided by what
//! the bundle says of its frontend, by who asks and by what is asked for, and by nothing else; live
//! requests and explanations ask the same function.
//!
//! Built once with the generation: the conditions of all frontends with their lists, and for each
//! frontend its rules, of which the first that matches decides. [`Route::backend`] is what is left.

mod acl;

use std::{io, sync::Arc};

use cluster_config::{
    FileReference,
    document::balancer::{BalancerDocument, Frontend},
};
use relay::{head::Request, method::Method, target::Target};

pub use acl::Question;
use acl::{Acl, Subject};

/// Where browsers look for the proxy auto-configuration file: the usual path, and that of WPAD.
const PAC_PATHS: [&str; 2] = ["/proxy.pac", "/wpad.dat"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The balancer is asked whether it serves.
    Health,
    /// It is asked for its statistics.
    Stats,
    /// It is asked which proxy to use.
    Pac,
    /// The backend with this index, in the order of the bundle.
    Backend(usize),
}

/// The conditions of a generation, by name.
type Acls = Arc<[(String, Acl)]>;

/// The routes of one frontend.
#[derive(Clone, Debug)]
pub struct Route {
    health_path: Option<String>,
    /// Of the statistics page.
    stats: Option<String>,
    /// Browsers read here which proxy to ask.
    pac: bool,
    acls: Acls,
    rules: Vec<Rule>,
    /// Index of the backend of all requests that no rule sends elsewhere.
    pub backend: usize,
}

#[derive(Clone, Debug)]
struct Rule {
    /// As in the bundle.
    text: String,
    /// Index of an ACL, and whether it must not match.
    terms: Vec<(usize, bool)>,
    backend: usize,
}

/// Those of every frontend of a document, in its order. `read` gives the content of a file of the
/// bundle.
///
/// # Errors
/// Every list that cannot be used, and every name that is not there.
pub fn build(
    document: &BalancerDocument,
    read: impl Fn(&FileReference) -> io::Result<Vec<u8>>,
) -> Result<Vec<Route>, Vec<String>> {
    let (mut acls, mut problems) = (Vec::new(), Vec::new());
    for (name, written) in &document.acls {
        match Acl::build(written, &read) {
            Ok(acl) => acls.push((name.clone(), acl)),
            Err(problem) => problems.push(format!("acl {name}: {problem}")),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let (acls, mut routes) = (Acls::from(acls), Vec::new());
    for frontend in &document.frontends {
        match Route::build(frontend, document, &acls) {
            Ok(route) => routes.push(route),
            Err(problem) => problems.push(format!("frontend {}: {problem}", frontend.name)),
        }
    }
    if problems.is_empty() { Ok(routes) } else { Err(problems) }
}

impl Route {
    fn build(
        frontend: &Frontend,
        document: &BalancerDocument,
        acls: &Acls,
    ) -> Result<Self, String> {
        let backend = |name: &str| {
            let index = document.backends.iter().position(|it| it.name == name);
            index.ok_or_else(|| format!("there is no backend {name:?}"))
        };
        let mut rules = Vec::with_capacity(frontend.use_backend.len());
        for rule in &frontend.use_backend {
            let mut terms = Vec::with_capacity(rule.when.len());
            for term in &rule.when {
                // A term that was left out would widen its rule.
                let index = acls.iter().position(|(name, _)| *name == term.acl);
                let index = index.ok_or_else(|| format!("there is no acl {:?}", term.acl))?;
                terms.push((index, term.negated));
            }
            rules.push(Rule { text: rule.to_string(), terms, backend: backend(&rule.backend)? });
        }
        Ok(Self {
            health_path: frontend.health_path.clone(),
            stats: frontend.stats.as_ref().map(|page| page.uri.clone()),
            pac: frontend.pac.is_some(),
            acls: Arc::clone(acls),
            rules,
            backend: backend(&frontend.backend)?,
        })
    }

    #[must_use]
    pub fn choose(&self, question: Question<'_>) -> Destination {
        if let Some(request) = question.request {
            // One that may go no further is answered as a request is (RFC 9110 §7.6.2).
            if self.asks_for_health(request) && request.max_forwards() != Some(0) {
                return Destination::Health;
            }
            if self.stats.is_some() && self.asks_for_stats(request) {
                return Destination::Stats;
            }
            if self.pac && asks_for_pac(request) {
                return Destination::Pac;
            }
        }
        Destination::Backend(match self.rule(question) {
            Some(index) => self.rules[index].backend,
            None => self.backend,
        })
    }

    /// The first rule that matches.
    fn rule(&self, question: Question<'_>) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        let subject = Subject::new(question);
        let holds =
            |(acl, negated): &(usize, bool)| self.acls[*acl].1.matches(&subject) != *negated;
        self.rules.iter().position(|rule| rule.terms.iter().all(holds))
    }

    /// Whether a rule looks at the name that a TLS client asks for.
    #[must_use]
    pub fn looks_at_sni(&self) -> bool {
        let is_sni = |(acl, _): &(usize, bool)| matches!(self.acls[*acl].1, Acl::Sni(_));
        self.rules.iter().any(|rule| rule.terms.iter().any(is_sni))
    }

    /// Which rule decides, and what the ones before it lack, in words.
    #[must_use]
    pub fn explain(&self, question: Question<'_>) -> Vec<String> {
        let subject = Subject::new(question);
        let mut lines = Vec::new();
        for (number, rule) in self.rules.iter().enumerate() {
            let lacking = rule
                .terms
                .iter()
                .find(|(acl, negated)| self.acls[*acl].1.matches(&subject) == *negated);
            let (number, text) = (number + 1, &rule.text);
            match lacking {
                None => {
                    let unsaid = rule.terms.iter().find_map(|(acl, _)| {
                        let (name, acl) = &self.acls[*acl];
                        Some(format!(
                            ", unless {name} holds: {} is not known",
                            acl.lacks(&question)?
                        ))
                    });
                    let unsaid = unsaid.unwrap_or_default();
                    lines.push(format!("use_backend rule {number}, {text}: matches{unsaid}"));
                    return lines;
                }
                Some((acl, negated)) => {
                    let (name, acl) = &self.acls[*acl];
                    let how = match acl.lacks(&question) {
                        Some(what) => format!(
                            "{name} looks at {what}, which nobody has said here: taken as not so"
                        ),
                        None if *negated => format!("{name} holds"),
                        None => format!("{name} does not hold"),
                    };
                    lines.push(format!("use_backend rule {number}, {text}: does not match, {how}"));
                }
            }
        }
        if !lines.is_empty() {
            lines.push("no rule of use_backend matches".to_owned());
        }
        lines
    }

    /// Whether the page's path is asked for, with HAProxy's options behind it or without.
    fn asks_for_stats(&self, request: Request<'_>) -> bool {
        matches!(request.method(), Method::Get | Method::Head)
            && !request.head().names_authority()
            && stats_options(self.stats.as_deref(), request.target_text()).is_some()
    }

    /// `OPTIONS *`, or the frontend's health path. Where there is none, everything is for the
    /// servers.
    fn asks_for_health(&self, request: Request<'_>) -> bool {
        // Nearly every request names a host, and goes on.
        let (false, Some(health_path)) =
            (request.head().names_authority(), self.health_path.as_deref())
        else {
            return false;
        };
        let method = request.method();
        match request.target_text().as_bytes() {
            b"*" => true,
            [b'/', ..] if matches!(method, Method::Get | Method::Head | Method::Options) => {
                let Target::Origin(path) = request.target() else { return false };
                path.split('?').next() == Some(health_path)
            }
            _ => false,
        }
    }
}

/// Whether a browser asks for the proxy auto-configuration file, whatever query it has added so
/// that nobody answers from a cache.
fn asks_for_pac(request: Request<'_>) -> bool {
    let path = request.target_text().split('?').next().unwrap_or_default();
    matches!(request.method(), Method::Get | Method::Head)
        && !request.head().names_authority()
        && PAC_PATHS.contains(&path)
}

/// What stands behind the path of the statistics page; none: another one is asked for.
#[must_use]
pub fn stats_options<'a>(uri: Option<&str>, target: &'a str) -> Option<&'a str> {
    let options = target.strip_prefix(uri?)?;
    (options.is_empty() || options.starts_with([';', '?'])).then_some(options)
}

#[cfg(test)]
mod tests;
