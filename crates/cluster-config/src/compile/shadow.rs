//! Rules that can never decide anything: because an earlier one matches whenever they would, or
//! because they contradict themselves.

use super::Context;
use crate::document::{Acl, DomainPattern, Rule, Term};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// Warns of such rules, of a list of rules without an end, and of none at all.
pub fn warn(context: &mut Context, rules: &[Rule], paths: &[String], acls: &BTreeMap<String, Acl>) {
    for (index, rule) in rules.iter().enumerate() {
        if contradicts_itself(rule, acls) {
            context.warning(
                &paths[index],
                format!("`{rule}` can never match: it demands an ACL and its opposite"),
                "remove it, or one of its ACLs",
            );
        } else if let Some(earlier) =
            rules[..index].iter().position(|earlier| covers(earlier, rule, acls))
        {
            let line = context.place(&paths[earlier]).line;
            let message = format!(
                "`{rule}` is never reached: `{}` in line {line} matches whenever it would",
                rules[earlier]
            );
            context.warning(&paths[index], message, "move it up, or remove it");
        }
    }
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

fn is_all(term: &Term, acls: &BTreeMap<String, Acl>) -> bool {
    acls.get(&term.acl) == Some(&Acl::All)
}

fn always(rule: &Rule, acls: &BTreeMap<String, Acl>) -> bool {
    rule.terms.iter().all(|term| is_all(term, acls) && !term.negated)
}

fn contradicts_itself(rule: &Rule, acls: &BTreeMap<String, Acl>) -> bool {
    let opposite = |term: &Term| {
        rule.terms.iter().any(|other| other.acl == term.acl && other.negated != term.negated)
    };
    rule.terms.iter().any(|term| opposite(term) || (is_all(term, acls) && term.negated))
}

/// Whether `earlier` matches whenever `later` does: each of its terms is implied by one of the
/// later's.
fn covers(earlier: &Rule, later: &Rule, acls: &BTreeMap<String, Acl>) -> bool {
    earlier.terms.iter().all(|wide| {
        (is_all(wide, acls) && !wide.negated)
            || later.terms.iter().any(|narrow| implies(narrow, wide, acls))
    })
}

fn implies(narrow: &Term, wide: &Term, acls: &BTreeMap<String, Acl>) -> bool {
    if narrow.negated != wide.negated {
        return false;
    }
    if narrow.acl == wide.acl {
        return true;
    }
    let (Some(narrow_acl), Some(wide_acl)) = (acls.get(&narrow.acl), acls.get(&wide.acl)) else {
        return false;
    };
    if narrow.negated { within(wide_acl, narrow_acl) } else { within(narrow_acl, wide_acl) }
}

/// Whether everything that matches `narrow` matches `wide`, as far as their values tell. Sound, not
/// complete.
fn within(narrow: &Acl, wide: &Acl) -> bool {
    fn every<T>(narrow: &[T], wide: &[T], inside: fn(&T, &T) -> bool) -> bool {
        narrow.iter().all(|narrow| wide.iter().any(|wide| inside(narrow, wide)))
    }
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

fn domain_within(narrow: &DomainPattern, wide: &DomainPattern) -> bool {
    narrow == wide || (wide.subdomains && !wide.only_below && wide.matches(&narrow.name))
}
