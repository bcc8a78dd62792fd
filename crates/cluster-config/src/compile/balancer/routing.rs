//! Which requests and connections of a frontend go to which backend.

use std::collections::BTreeMap;

use super::super::{
    Context, ListKind, access,
    shadow::{self, Acls},
    unknown,
};
use crate::{
    document::{
        FileReference, Term,
        balancer::{Acl, Backend, HeaderTest, Mode, UseBackend},
    },
    schema::{balancer as schema, notation::Name, proxy::OneOrMany},
    yaml::{Node, Value},
};

/// The named conditions, `all` among them.
pub(super) fn acls(
    context: &mut Context,
    written: BTreeMap<String, schema::Acl>,
) -> BTreeMap<String, Acl> {
    let mut acls = BTreeMap::from([("all".to_owned(), Acl::All)]);
    for (name, acl) in written {
        let path = format!("acls/{name}");
        if name == "all" {
            context.error(&path, "`all` is built in", "choose another name");
        } else if let Err(invalid) = Name::parse(&name) {
            let message = format!("the name of an ACL: {}", invalid.message);
            context.error(&path, message, invalid.remedy);
        } else if let Some(acl) = self::acl(context, &path, &name, acl) {
            acls.insert(name, acl);
        }
    }
    acls
}

fn acl(context: &mut Context, path: &str, name: &str, written: schema::Acl) -> Option<Acl> {
    let declared = context.written.get("acls").and_then(|acls| acls.get(name));
    let keys = declared.map(Node::keys).unwrap_or_default();
    access::one_kind(context, path, &keys)?;
    let empty = declared.is_some_and(|acl| {
        acl.pairs()
            .iter()
            .any(|entry| matches!(&entry.node.value, Value::List(values) if values.is_empty()))
    });
    if empty {
        let message = "an ACL without values never matches";
        context.warning(path, message, "give it a value, or remove it");
    }
    kind(context, path, written)
}

fn kind(context: &mut Context, path: &str, written: schema::Acl) -> Option<Acl> {
    fn values<T, U>(written: Option<OneOrMany<T>>, value: fn(T) -> U) -> Option<Vec<U>> {
        written.map(|written| written.into_vec().into_iter().map(value).collect())
    }
    let mut list = |name: Option<Name>, key: &str, kind: ListKind| -> Option<FileReference> {
        access::list(context, &format!("{path}/{key}"), &name?.value, kind)
    };
    let listed = list(written.src_list, "src_list", ListKind::Networks)
        .map(Acl::SrcList)
        .or(list(written.dstdomain_list, "dstdomain_list", ListKind::Domains)
            .map(Acl::DstdomainList))
        .or(list(written.sni_list, "sni_list", ListKind::Domains).map(Acl::SniList));
    listed
        .or_else(|| values(written.src, |it| it.value).map(Acl::Src))
        .or_else(|| values(written.dstdomain, |it| it.value).map(Acl::Dstdomain))
        .or_else(|| values(written.port, |it| it.value).map(Acl::Port))
        .or_else(|| values(written.method, |it| it.value).map(Acl::Method))
        .or_else(|| values(written.path, |it| it.value).map(Acl::Path))
        .or_else(|| values(written.path_prefix, |it| it.value).map(Acl::PathPrefix))
        .or_else(|| values(written.path_regex, |it| it.value).map(Acl::PathRegex))
        .or_else(|| values(written.sni, |it| it.value).map(Acl::Sni))
        .or_else(|| {
            written.header.map(|header| {
                Acl::Header(HeaderTest {
                    name: header.name.value,
                    values: values(header.value, |it| it).unwrap_or_default(),
                    prefixes: values(header.prefix, |it| it).unwrap_or_default(),
                    regexes: values(header.regex, |it| it.value).unwrap_or_default(),
                })
            })
        })
}

/// What a frontend sees of what passes through.
#[derive(Clone, Copy)]
pub(super) struct Sees {
    pub(super) requests: bool,
    /// The names that clients of TLS ask for.
    pub(super) names: bool,
}

/// The rules of one frontend. What names something unknown, or something that its mode cannot see,
/// is an error; what is never reached, a warning.
pub(super) fn rules(
    context: &mut Context,
    written: Vec<schema::UseBackend>,
    acls: &BTreeMap<String, Acl>,
    sees: Sees,
    path: &str,
) -> Vec<UseBackend> {
    let (mut rules, mut paths) = (Vec::new(), Vec::new());
    for (index, rule) in written.into_iter().enumerate() {
        let path = format!("{path}/use_backend/{index}");
        if let Some(rule) = self::rule(context, rule, acls, sees, &path) {
            rules.push(rule);
            paths.push(path);
        }
    }
    shadow::unreached(context, &rules, |rule| &rule.when, &paths, acls);
    rules
}

fn rule(
    context: &mut Context,
    written: schema::UseBackend,
    acls: &BTreeMap<String, Acl>,
    sees: Sees,
    path: &str,
) -> Option<UseBackend> {
    if written.when.is_empty() {
        let remedy = "name at least one; what matches no rule goes to `backend` of the frontend";
        context.error(&format!("{path}/when"), "a rule without ACLs", remedy);
        return None;
    }
    let mut good = true;
    let mut when = Vec::with_capacity(written.when.len());
    for (index, name) in written.when.iter().enumerate() {
        let place = format!("{path}/when/{index}");
        let (name, negated) =
            name.strip_prefix('!').map_or((name.as_str(), false), |name| (name.trim(), true));
        good &= resolve(context, name, acls, sees, &place);
        when.push(Term { acl: name.to_owned(), negated });
    }
    good.then_some(UseBackend { when, backend: written.backend.value })
}

/// Whether an ACL can be used here. One that is defined but wrong has been reported where it is
/// defined.
fn resolve(
    context: &mut Context,
    name: &str,
    acls: &BTreeMap<String, Acl>,
    sees: Sees,
    path: &str,
) -> bool {
    let Some(acl) = acls.get(name) else {
        let declared = context.written.get("acls").map(Node::pairs).unwrap_or_default();
        if !declared.iter().any(|entry| entry.key == name) {
            let known = declared.iter().map(|entry| entry.key.as_str()).chain(["all"]);
            let remedy = unknown(name, known);
            context.error(path, format!("unknown ACL `{name}`"), remedy);
        }
        return false;
    };
    let kind = acl.kind();
    match sees {
        Sees { requests: false, .. } if acl.needs_request() => context.error(
            path,
            format!("`{name}` looks at {kind}, and a frontend of mode tcp reads no requests"),
            "route by src or sni, or make it a frontend of mode http",
        ),
        Sees { names: false, .. } if acl.needs_sni() => context.error(
            path,
            format!("`{name}` looks at {kind}, and no TLS passes through this frontend"),
            "route by dstdomain, or make it a frontend of mode tcp without `tls`",
        ),
        _ => return true,
    }
    false
}

impl Acls for BTreeMap<String, Acl> {
    fn is_all(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Acl::All))
    }

    fn within(&self, narrow: &str, wide: &str) -> bool {
        let (Some(narrow), Some(wide)) = (self.get(narrow), self.get(wide)) else { return false };
        let same = |narrow: &String, wide: &String| narrow == wide;
        match (narrow, wide) {
            (_, Acl::All) => true,
            (Acl::Src(narrow), Acl::Src(wide)) => {
                shadow::every(narrow, wide, |narrow, wide| wide.contains(narrow))
            }
            (Acl::Dstdomain(narrow), Acl::Dstdomain(wide)) | (Acl::Sni(narrow), Acl::Sni(wide)) => {
                shadow::every(narrow, wide, shadow::domain_within)
            }
            (Acl::Port(narrow), Acl::Port(wide)) => shadow::every(narrow, wide, |narrow, wide| {
                wide.first <= narrow.first && narrow.last <= wide.last
            }),
            (Acl::Method(narrow), Acl::Method(wide))
            | (Acl::Path(narrow), Acl::Path(wide))
            | (Acl::PathRegex(narrow), Acl::PathRegex(wide)) => shadow::every(narrow, wide, same),
            (Acl::Path(narrow) | Acl::PathPrefix(narrow), Acl::PathPrefix(wide)) => {
                shadow::every(narrow, wide, |narrow, wide| narrow.starts_with(wide.as_str()))
            }
            (Acl::Header(narrow), Acl::Header(wide)) => narrow == wide,
            (Acl::SrcList(narrow), Acl::SrcList(wide))
            | (Acl::DstdomainList(narrow), Acl::DstdomainList(wide))
            | (Acl::SniList(narrow), Acl::SniList(wide)) => narrow.sha256 == wide.sha256,
            _ => false,
        }
    }
}

/// What a backend of mode tcp cannot do, and what its servers are told.
pub(super) fn backend_mode(context: &mut Context, backend: &Backend, path: &str) {
    if backend.mode == Mode::Tcp && backend.balance.needs_request() {
        context.error(
            &format!("{path}/balance"),
            format!(
                "`{}` needs requests or their answers, and a backend of mode tcp sees none",
                backend.balance.as_str()
            ),
            "choose round_robin, least_connections, random, first or ip_hash",
        );
    }
    if backend.send_proxy.is_some() && backend.servers.is_empty() {
        context.warning(
            &format!("{path}/send_proxy"),
            "only servers by address are sent it; proxy-nodes are always told who the client is",
            "remove it",
        );
    }
}

/// Whether the backends that a frontend uses speak what it speaks.
pub(super) fn modes(
    context: &mut Context,
    (mode, backend): (Mode, &str),
    rules: &[UseBackend],
    backends: &[Backend],
    path: &str,
) {
    let rule_of = |index: usize| format!("{path}/use_backend/{index}/backend");
    let used = std::iter::once((format!("{path}/backend"), backend))
        .chain(rules.iter().enumerate().map(|(at, it)| (rule_of(at), it.backend.as_str())));
    for (place, name) in used {
        if let Some(other) = backends.iter().find(|it| it.name == name && it.mode != mode) {
            let (mode, other) = (mode.as_str(), other.mode.as_str());
            context.error(
                &place,
                format!("a frontend of mode {mode} cannot use backend `{name}` of mode {other}"),
                format!("write `mode: {mode}` there, or use another backend"),
            );
        }
    }
}
