//! Access rules and egress.

mod stores;

use super::{Context, ListKind, shadow, unknown};
use crate::document::{
    Access, Acl, Egress, Rule, Term, UrlPattern, Verdict, caching::StoreRule, egress::EgressAllow,
    egress::EgressTarget,
};
use crate::schema::proxy as schema;
use crate::yaml::{Node, Value};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// Names that need no definition, as in Squid.
pub const BUILT_IN: [&str; 4] = ["all", "localhost", "to_localhost", "to_linklocal"];

fn built_in(name: &str) -> Option<Acl> {
    let networks =
        |texts: &[&str]| texts.iter().filter_map(|text| text.parse::<IpNet>().ok()).collect();
    match name {
        "all" => Some(Acl::All),
        "localhost" => Some(Acl::Src(networks(&["127.0.0.0/8", "::1/128"]))),
        "to_localhost" => {
            Some(Acl::Dst(networks(&["127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128"])))
        }
        "to_linklocal" => Some(Acl::Dst(networks(&["169.254.0.0/16", "fe80::/10"]))),
        _ => None,
    }
}

/// `access` of a proxy-node.
///
/// With it the rules of `cache`, which name the same ACLs.
pub fn compile(
    context: &mut Context,
    written: schema::Access,
    stores: Vec<schema::StoreRule>,
    purgers: &[Vec<String>],
    direct: &[Vec<String>],
) -> (Access, Others) {
    let acls = acls(context, written.acls);
    let mut rules = Vec::new();
    let mut paths = Vec::new();
    for (index, rule) in written.rules.into_iter().enumerate() {
        let path = format!("access/rules/{index}");
        if let Some(rule) = self::rule(context, rule, &acls, &path) {
            rules.push(rule);
            paths.push(path);
        }
    }
    shadow::warn(context, &rules, &paths, &acls);
    let stores = stores::compile(context, stores, &acls);
    let purgers = stores::lists(context, "cache/purge/allow", purgers, &acls);
    let direct = stores::lists(context, "hierarchy/direct/always", direct, &acls);
    let terms = || {
        let rules = rules.iter().flat_map(|rule| &rule.terms);
        let stores = stores.iter().flat_map(|store| &store.terms);
        rules.chain(stores).chain(purgers.iter().chain(&direct).flatten())
    };
    let used = |name: &String| terms().any(|term| term.acl == *name);
    let acls = acls.into_iter().filter(|(name, _)| used(name)).collect();
    let access = Access { acls, rules, egress: egress(context, written.egress) };
    (access, Others { stores, purgers, direct })
}

/// Rules of other sections that name the same ACLs.
pub struct Others {
    /// `cache.rules`.
    pub stores: Vec<StoreRule>,
    /// `cache.purge.allow`.
    pub purgers: Vec<Vec<Term>>,
    /// `hierarchy.direct.always`.
    pub direct: Vec<Vec<Term>>,
}

fn acls(context: &mut Context, written: BTreeMap<String, schema::Acl>) -> BTreeMap<String, Acl> {
    let mut acls: BTreeMap<String, Acl> =
        BUILT_IN.iter().filter_map(|name| Some(((*name).to_owned(), built_in(name)?))).collect();
    for (name, acl) in written {
        let path = format!("access/acls/{name}");
        if BUILT_IN.contains(&name.as_str()) {
            context.error(&path, format!("`{name}` is built in"), "choose another name");
        } else if let Err(invalid) = crate::schema::notation::Name::parse(&name) {
            context.error(
                &path,
                format!("the name of an ACL: {}", invalid.message),
                invalid.remedy,
            );
        } else if let Some(acl) = self::acl(context, &path, &name, acl) {
            acls.insert(name, acl);
        }
    }
    acls
}

fn acl(context: &mut Context, path: &str, name: &str, written: schema::Acl) -> Option<Acl> {
    let declared = context
        .written
        .get("access")
        .and_then(|access| access.get("acls"))
        .and_then(|acls| acls.get(name));
    let keys = declared.map(Node::keys).unwrap_or_default();
    one_kind(context, path, &keys)?;
    let empty = declared.is_some_and(|acl| {
        acl.pairs()
            .iter()
            .any(|entry| matches!(&entry.node.value, Value::List(values) if values.is_empty()))
    });
    if empty {
        context.warning(
            path,
            "an ACL without values never matches",
            "give it a value, or remove it",
        );
    }
    everything(context, path, &written);
    kind(context, path, written)
}

/// An ACL has one kind of condition.
pub(super) fn one_kind(context: &mut Context, path: &str, keys: &[String]) -> Option<()> {
    match keys {
        [_] => Some(()),
        [] => {
            context.error(
                path,
                "an ACL without a condition",
                "give it one, as in {src: [192.168.1.0/24]}",
            );
            None
        }
        _ => {
            let message = format!("an ACL of {} kinds: {}", keys.len(), keys.join(", "));
            context.error(
                path,
                message,
                "write one ACL per kind and name both in the rule: a rule \
                matches when all of its ACLs do",
            );
            None
        }
    }
}

/// Texts unlike each other: what matches them all matches whatever comes.
const UNLIKE: [&str; 9] = [
    "!",
    "~",
    "q",
    "Z",
    "7",
    "/",
    "http://q.example/7?x=y",
    "https://b.test:8443/",
    "w.example:443",
];

/// Warns of patterns that match every request.
fn everything(context: &mut Context, path: &str, written: &schema::Acl) {
    let Some(patterns) = &written.url_regex else { return };
    let (patterns, single) = match patterns {
        schema::OneOrMany::One(pattern) => (std::slice::from_ref(pattern), true),
        schema::OneOrMany::Many(patterns) => (patterns.as_slice(), false),
    };
    for (index, pattern) in patterns.iter().enumerate() {
        if regex::Regex::new(&pattern.value)
            .is_ok_and(|regex| UNLIKE.iter().all(|text| regex.is_match(text)))
        {
            let path = if single {
                format!("{path}/url_regex")
            } else {
                format!("{path}/url_regex/{index}")
            };
            let remedy = "remove the part that matches nothing in particular, such as what is \
                empty beside `|`; `all` says that every request is meant";
            context.warning(&path, format!("`{}` matches every request", pattern.text()), remedy);
        }
    }
}

fn kind(context: &mut Context, path: &str, written: schema::Acl) -> Option<Acl> {
    fn values<T, U>(written: Option<schema::OneOrMany<T>>, value: fn(T) -> U) -> Option<Vec<U>> {
        written.map(|written| written.into_vec().into_iter().map(value).collect())
    }
    if let Some(name) = written.src_list {
        return list(context, &format!("{path}/src_list"), &name.value, ListKind::Networks)
            .map(Acl::SrcList);
    }
    if let Some(name) = written.dst_list {
        return list(context, &format!("{path}/dst_list"), &name.value, ListKind::Networks)
            .map(Acl::DstList);
    }
    if let Some(name) = written.dstdomain_list {
        return list(context, &format!("{path}/dstdomain_list"), &name.value, ListKind::Domains)
            .map(Acl::DstdomainList);
    }
    values(written.src, |value| value.value)
        .map(Acl::Src)
        .or_else(|| values(written.dst, |value| value.value).map(Acl::Dst))
        .or_else(|| values(written.dstdomain, |value| value.value).map(Acl::Dstdomain))
        .or_else(|| values(written.port, |value| value.value).map(Acl::Port))
        .or_else(|| values(written.method, |value| value.value).map(Acl::Method))
        .or_else(|| values(written.time, |value| value.value).map(Acl::Time))
        .or_else(|| {
            values(written.url_regex, |value| UrlPattern { regex: value.value }).map(Acl::UrlRegex)
        })
}

pub(super) fn list(
    context: &mut Context,
    path: &str,
    name: &str,
    kind: ListKind,
) -> Option<crate::FileReference> {
    let reference = context.file(path, "lists", name, "txt")?;
    context.lists.insert((reference.path.clone(), kind));
    Some(reference)
}

fn rule(
    context: &mut Context,
    written: schema::Rule,
    acls: &BTreeMap<String, Acl>,
    path: &str,
) -> Option<Rule> {
    let (verdict, key, names) = match (written.allow, written.deny) {
        (Some(names), None) => (Verdict::Allow, "allow", names),
        (None, Some(names)) => (Verdict::Deny, "deny", names),
        (Some(_), Some(_)) => {
            context.error(
                path,
                "a rule that both allows and denies",
                "make two rules of it; the first that matches counts",
            );
            return None;
        }
        (None, None) => {
            let place = context.place(path);
            if !context.written.place_keys(&place).iter().any(|key| key == "allow" || key == "deny")
            {
                context.error(
                    path,
                    "a rule without `allow` or `deny`",
                    "write {allow: [names]} or {deny: [names]}",
                );
            }
            return None;
        }
    };
    let terms = terms(context, &names, acls, &format!("{path}/{key}"));
    let page = written.page.and_then(|page| {
        if verdict == Verdict::Allow {
            context.warning(
                &format!("{path}/page"),
                "a page on a rule that allows is never shown",
                "remove it",
            );
        }
        context.file(&format!("{path}/page"), "pages", &page.value, "html")
    });
    Some(Rule { verdict, terms: terms?, page })
}

/// The terms that these names are. `None`: something was wrong with them.
pub(super) fn terms(
    context: &mut Context,
    names: &[String],
    acls: &BTreeMap<String, Acl>,
    path: &str,
) -> Option<Vec<Term>> {
    if names.is_empty() {
        context.error(
            path,
            "a rule without ACLs",
            "name at least one; `all` matches every request",
        );
        return None;
    }
    let mut resolved = true;
    let mut terms = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let (acl, negated) = match name.strip_prefix('!') {
            Some(acl) => (acl.trim(), true),
            None => (name.as_str(), false),
        };
        resolved &= resolve(context, acl, acls, &format!("{path}/{index}"));
        terms.push(Term { acl: acl.to_owned(), negated });
    }
    resolved.then_some(terms)
}

/// Whether an ACL can be used. One that is defined but wrong has been reported where it is defined.
fn resolve(context: &mut Context, name: &str, acls: &BTreeMap<String, Acl>, path: &str) -> bool {
    if acls.contains_key(name) {
        return true;
    }
    let written = context.written;
    let declared = written
        .get("access")
        .and_then(|access| access.get("acls"))
        .map(|acls| acls.pairs())
        .unwrap_or_default();
    if !declared.iter().any(|entry| entry.key == name) {
        let known = declared.iter().map(|entry| entry.key.as_str()).chain(BUILT_IN);
        context.error(path, format!("unknown ACL `{name}`"), unknown(name, known));
    }
    false
}

fn egress(context: &mut Context, written: schema::Egress) -> Egress {
    let mut allow = Vec::new();
    for (index, entry) in written.allow.into_iter().enumerate() {
        let to: Vec<EgressTarget> = entry.to.into_iter().map(|to| to.value).collect();
        if to.contains(&EgressTarget::ClusterPorts) {
            let message =
                "clients of the proxy will reach the cluster's own ports, control plane included";
            context.warning(
                &format!("access/egress/allow/{index}"),
                message,
                "name only the addresses that are needed",
            );
        }
        allow.push(EgressAllow {
            to,
            ports: entry.ports.into_iter().map(|ports| ports.value).collect(),
            clients: entry.clients.into_iter().map(|network| network.value).collect(),
        });
    }
    Egress { allow, deny: written.deny.into_iter().map(|network| network.value).collect() }
}
