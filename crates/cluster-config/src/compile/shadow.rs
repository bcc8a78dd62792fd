//! Rules that can never decide anything: because an earlier one matches whenever they would, or
//! because they contradict themselves.

use super::Context;
use crate::document::{Acl, DomainPattern, Rule, Term};
use ipnet::IpNet;
use std::{collections::BTreeMap, fmt::Display};

/// The named conditions of some rules.
pub(super) trait Acls {
    /// Whether the condition of that name holds always.
    fn is_all(&self, name: &str) -> bool;

    /// Whether everything that matches `narrow` matches `wide`, as far as their values tell. Sound,
    /// not complete.
    fn within(&self, narrow: &str, wide: &str) -> bool;
}

/// Warns of rules that can never decide anything. Each is its terms and its text.
pub(super) fn unreached<R: Display>(
    context: &mut Context,
    rules: &[R],
    terms: fn(&R) -> &[Term],
    paths: &[String],
    acls: &impl Acls,
) {
    for (index, rule) in rules.iter().enumerate() {
        if contradict(terms(rule), acls) {
            context.warning(
                &paths[index],
                format!("`{rule}` can never match: it demands an ACL and its opposite"),
                "remove it, or one of its ACLs",
            );
        } else if let Some(earlier) =
            rules[..index].iter().position(|earlier| covers(terms(earlier), terms(rule), acls))
        {
            let line = context.place(&paths[earlier]).line;
            let message = format!(
                "`{rule}` is never reached: `{}` in line {line} matches whenever it would",
                rules[earlier]
            );
            context.warning(&paths[index], message, "move it up, or remove it");
        }
    }
}

/// Warns of such access rules, of a list of them without an end, and of none at all.
pub fn warn(context: &mut Context, rules: &[Rule], paths: &[String], acls: &BTreeMap<String, Acl>) {
    unreached(context, rules, |rule| &rule.terms, paths, acls);
    let written = context
        .written
        .get("access")
        .and_then(|access| access.get("rules"))
        .map(|rules| rules.items().len())
        .unwrap_or_default();
    if written == 0 {
        context.warning(
            "access",
            "no access rules: every request is denied",
            "add rules, as in {allow: [localnet]}",
        );
    } else if written == rules.len() && !rules.iter().any(|rule| always(rule, acls)) {
        let place = format!("access/rules/{}", rules.len() - 1);
        context.warning(
            &place,
            "requests that no rule matches are denied",
            "say it with a last rule {deny: [all]}",
        );
    }
}

fn always(rule: &Rule, acls: &impl Acls) -> bool {
    rule.terms.iter().all(|term| acls.is_all(&term.acl) && !term.negated)
}

fn contradict(terms: &[Term], acls: &impl Acls) -> bool {
    let opposite = |term: &Term| {
        terms.iter().any(|other| other.acl == term.acl && other.negated != term.negated)
    };
    terms.iter().any(|term| opposite(term) || (acls.is_all(&term.acl) && term.negated))
}

/// Whether `earlier` matches whenever `later` does: each of its terms is implied by one of the
/// later's.
fn covers(earlier: &[Term], later: &[Term], acls: &impl Acls) -> bool {
    earlier.iter().all(|wide| {
        (acls.is_all(&wide.acl) && !wide.negated)
            || later.iter().any(|narrow| implies(narrow, wide, acls))
    })
}

fn implies(narrow: &Term, wide: &Term, acls: &impl Acls) -> bool {
    if narrow.negated != wide.negated {
        return false;
    }
    narrow.acl == wide.acl
        || if narrow.negated {
            acls.within(&wide.acl, &narrow.acl)
        } else {
            acls.within(&narrow.acl, &wide.acl)
        }
}

impl Acls for BTreeMap<String, Acl> {
    fn is_all(&self, name: &str) -> bool {
        self.get(name) == Some(&Acl::All)
    }

    fn within(&self, narrow: &str, wide: &str) -> bool {
        let (Some(narrow), Some(wide)) = (self.get(narrow), self.get(wide)) else { return false };
        within(narrow, wide)
    }
}

/// Whether each of the narrow values is inside one of the wide ones.
pub(super) fn every<T>(narrow: &[T], wide: &[T], inside: fn(&T, &T) -> bool) -> bool {
    narrow.iter().all(|narrow| wide.iter().any(|wide| inside(narrow, wide)))
}

fn within(narrow: &Acl, wide: &Acl) -> bool {
    let network = |narrow: &IpNet, wide: &IpNet| wide.contains(narrow);
    match (narrow, wide) {
        (_, Acl::All) => true,
        // Any of several destination addresses may match, so containment carries over for `dst`
        // too.
        (Acl::Src(narrow), Acl::Src(wide)) | (Acl::Dst(narrow), Acl::Dst(wide)) => {
            every(narrow, wide, network)
        }
        (Acl::Dstdomain(narrow), Acl::Dstdomain(wide)) => every(narrow, wide, domain_within),
        (Acl::Port(narrow), Acl::Port(wide)) => every(narrow, wide, |narrow, wide| {
            wide.first <= narrow.first && narrow.last <= wide.last
        }),
        (Acl::Method(narrow), Acl::Method(wide)) => {
            every(narrow, wide, |narrow, wide| narrow == wide)
        }
        (Acl::Time(narrow), Acl::Time(wide)) => every(narrow, wide, |narrow, wide| {
            narrow.days & !wide.days == 0 && wide.from <= narrow.from && narrow.until <= wide.until
        }),
        (Acl::UrlRegex(narrow), Acl::UrlRegex(wide)) => {
            every(narrow, wide, |narrow, wide| narrow == wide)
        }
        (Acl::SrcList(narrow), Acl::SrcList(wide))
        | (Acl::DstList(narrow), Acl::DstList(wide))
        | (Acl::DstdomainList(narrow), Acl::DstdomainList(wide)) => narrow.sha256 == wide.sha256,
        _ => false,
    }
}

pub(super) fn domain_within(narrow: &DomainPattern, wide: &DomainPattern) -> bool {
    narrow == wide || (wide.subdomains && !wide.only_below && wide.matches(&narrow.name))
}
