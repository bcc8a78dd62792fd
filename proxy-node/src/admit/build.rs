//! How the rules of a document become ready to be asked.

use std::io;

use cluster_config::{
    FileReference,
    document::{Access, Acl as AclDocument},
    lists,
};
use dataplane::list::{self, Domains, domains};
use regex::bytes::RegexSetBuilder;

use super::{Acl, Rule, Rules, Term};

/// A part of the access rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A list or a page is missing or unreadable.
    #[error("{path} cannot be read: {cause}")]
    File {
        /// In the bundle.
        path: String,
        cause: io::Error,
    },
    /// A line of a list is no entry.
    #[error("{path}, line {line}: {message}; {remedy}")]
    Line {
        /// In the bundle.
        path: String,
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
        cause: domains::TooLarge,
    },
    /// A regular expression does not compile.
    #[error("acl {acl}: {cause}")]
    Regex {
        /// Name of the ACL.
        acl: String,
        cause: Box<regex::Error>,
    },
    /// A rule names an ACL that is not there.
    #[error("the rule `{rule}` names the acl {acl}, which is not defined")]
    UnknownAcl { rule: String, acl: String },
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
}

fn build_acl(
    name: &str,
    document: &AclDocument,
    read: &impl Fn(&FileReference) -> Result<Vec<u8>, Unusable>,
) -> Result<Acl, Unusable> {
    Ok(match document {
        AclDocument::All => Acl::All,
        AclDocument::Src(networks) => Acl::Src(networks.iter().copied().collect()),
        AclDocument::SrcList(file) => Acl::Src(load(file, list::networks(&read(file)?))?),
        AclDocument::Dst(networks) => Acl::Dst(networks.iter().copied().collect()),
        AclDocument::DstList(file) => Acl::Dst(load(file, list::networks(&read(file)?))?),
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
            Acl::Dstdomain(load(file, list::domains(&read(file)?))?)
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

/// A list, or what is wrong with it and where.
fn load<T>(file: &FileReference, list: Result<T, list::Unusable>) -> Result<T, Unusable> {
    let path = file.path.clone();
    list.map_err(|unusable| match unusable {
        list::Unusable::Line(lists::BadLine { line, message, remedy }) => {
            Unusable::Line { path, line, message, remedy }
        }
        list::Unusable::TooLarge(cause) => Unusable::List { path, cause },
    })
}
