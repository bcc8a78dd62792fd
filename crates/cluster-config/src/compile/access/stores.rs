//! `cache.rules`: where answers are kept, by the ACLs of `access`.

use std::collections::BTreeMap;

use super::Context;
use crate::{
    document::{
        Acl, Term,
        caching::{StoreRule, Where},
    },
    schema::proxy as schema,
};

/// The rules that are right.
pub(super) fn compile(
    context: &mut Context,
    written: Vec<schema::StoreRule>,
    acls: &BTreeMap<String, Acl>,
) -> Vec<StoreRule> {
    let rules = written.into_iter().enumerate();
    rules.filter_map(|(index, rule)| self::rule(context, index, rule, acls)).collect()
}

fn rule(
    context: &mut Context,
    index: usize,
    written: schema::StoreRule,
    acls: &BTreeMap<String, Acl>,
) -> Option<StoreRule> {
    let path = format!("cache/rules/{index}");
    let mut said: Vec<_> = [
        ("never", Where::Never, written.never),
        ("memory", Where::Memory, written.memory),
        ("disk", Where::Disk, written.disk),
        ("anywhere", Where::Anywhere, written.anywhere),
    ]
    .into_iter()
    .filter_map(|(key, store, names)| Some((key, store, names?)))
    .collect();
    let (key, store, names) = match (said.pop(), said.is_empty()) {
        (Some(one), true) => one,
        (Some(_), false) => {
            let message = "a rule that says two things of where to keep";
            context.error(&path, message, "make two of it; the first that matches counts");
            return None;
        }
        (None, _) => {
            let message = "a rule that does not say where to keep";
            context.error(&path, message, "write {never: [names]}, {memory: …} or {disk: …}");
            return None;
        }
    };
    let terms = self::terms(context, &names, acls, &format!("{path}/{key}"))?;
    Some(StoreRule { store, terms })
}

/// Lists of ACLs, of which all hold where a list does: `cache.purge.allow` (who may purge) and
/// `hierarchy.direct.always` (what goes past the parents).
pub(super) fn lists(
    context: &mut Context,
    place: &str,
    written: &[Vec<String>],
    acls: &BTreeMap<String, Acl>,
) -> Vec<Vec<Term>> {
    let lists = written.iter().enumerate();
    lists
        .filter_map(|(index, names)| {
            let path = format!("{place}/{index}");
            if names.is_empty() {
                let message = "a list without a name would be for everybody";
                context.error(&path, message, "name an ACL; everybody is `all`");
                return None;
            }
            terms(context, names, acls, &path)
        })
        .collect()
}

/// The terms of a rule that looks at no address of the destination.
fn terms(
    context: &mut Context,
    names: &[String],
    acls: &BTreeMap<String, Acl>,
    path: &str,
) -> Option<Vec<Term>> {
    let terms = super::terms(context, names, acls, path)?;
    let by_address = |acl: &str| matches!(acls.get(acl), Some(Acl::Dst(_) | Acl::DstList(_)));
    if let Some(at) = terms.iter().position(|term| by_address(&term.acl)) {
        let message = format!(
            "`{}` looks at the address of the destination, which is not known yet where an answer \
             is looked for",
            terms[at].acl
        );
        context.error(&format!("{path}/{at}"), message, "use `dstdomain` or `url_regex`");
        return None;
    }
    Some(terms)
}
