//! `cache.default_ttls` and `cache.keys`.

use super::{Context, refresh};
use crate::{
    document::caching::{DefaultTtl, KeyRule},
    schema::proxy as schema,
    units,
};

/// Statuses that a cache may keep by itself (RFC 9110 §15.1).
const CACHEABLE: [u16; 12] = [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];

/// One for each of the statuses.
pub(super) fn default_ttls(
    context: &mut Context,
    written: Vec<schema::DefaultTtl>,
) -> Vec<DefaultTtl> {
    let mut ttls = Vec::new();
    for (index, entry) in written.into_iter().enumerate() {
        let path = format!("cache/default_ttls/{index}");
        let ttl = entry.ttl.value;
        for status in entry.status.into_vec() {
            let (first, last) = status.value;
            if first < 200 || last > 599 || (first..=last).contains(&206) && first == last {
                let message = format!("`{}` is no status that is kept", status.text());
                context.error(&format!("{path}/status"), message, "name some from 200 to 599");
                continue;
            }
            let odd = (first..=last).any(|status| !CACHEABLE.contains(&status));
            if odd && !ttl.is_zero() {
                let message = format!(
                    "`{}` has statuses that RFC 9110 §15.1 lets no cache keep by itself: what went \
                     wrong for one client everybody gets for {}",
                    status.text(),
                    units::format_duration(ttl)
                );
                let remedy = "keep it to seconds, or name 404 and 410 alone";
                context.warning(&format!("{path}/status"), message, remedy);
            }
            ttls.push(DefaultTtl { first, last, ttl });
        }
    }
    ttls
}

/// The rules of keys.
pub(super) fn keys(context: &mut Context, written: Vec<schema::KeyRule>) -> Vec<KeyRule> {
    let rules = written.into_iter().enumerate();
    rules.filter_map(|(index, rule)| key(context, index, rule)).collect()
}

fn key(context: &mut Context, index: usize, written: schema::KeyRule) -> Option<KeyRule> {
    let path = format!("cache/keys/{index}");
    let by_regex = written.url_regex.is_some();
    let url_regex = refresh::urls(context, &path, written.url_regex, written.url_glob)?;
    let groups = regex::Regex::new(&url_regex).ok()?;
    if !written.drop_query.is_empty() && written.keep_query.is_some() {
        let message = "`drop_query` and `keep_query` in one rule";
        context.error(&format!("{path}/keep_query"), message, "write one of them");
    }
    if let Some(to) = &written.to {
        let at = format!("{path}/to");
        if !by_regex {
            let message = "`to` has nothing to take parts from: a glob has no groups";
            context.error(&at, message, "write a `url_regex` with groups");
        }
        for name in references(to).filter(|name| !has_group(&groups, name)) {
            let message = format!("`url_regex` has no group `{name}`");
            context.error(&at, message, "write ${1} where letters or digits follow a reference");
        }
        if to.contains("://") && written.merge_hosts.is_empty() {
            let message = "`to` names a host, and nothing is put together of several without \
                `merge_hosts`";
            context.warning(&at, message, "name the hosts that answer for each other");
        }
    } else if !written.merge_hosts.is_empty() {
        let message = "`merge_hosts` without `to` changes nothing";
        context.warning(&format!("{path}/merge_hosts"), message, "say what the URLs become");
    }
    if written.immutable && !["sha256", "sha512"].iter().any(|name| has_group(&groups, name)) {
        let message = "`immutable` without a digest: nobody could tell whether it is so";
        let remedy = "give `url_regex` a group of that name, as in \
            /blobs/sha256:(?<sha256>[0-9a-f]{64})$";
        context.error(&format!("{path}/immutable"), message, remedy);
    }
    let idle = written.drop_query.is_empty()
        && written.keep_query.is_none()
        && !written.sort_query
        && written.to.is_none()
        && !written.immutable;
    if idle {
        let message = "a key rule that changes nothing keeps the others from these URLs";
        context.warning(&path, message, "remove it, unless that is what it is for");
    }
    Some(KeyRule {
        url_regex,
        drop_query: written.drop_query,
        keep_query: written.keep_query,
        sort_query: written.sort_query,
        to: written.to,
        merge_hosts: written.merge_hosts.into_iter().map(|host| host.value).collect(),
        immutable: written.immutable,
    })
}

/// Names and numbers of the groups that a replacement names, as the regex crate reads it.
fn references(to: &str) -> impl Iterator<Item = &str> {
    let mut rest = to;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('$')?;
            if let Some(literal) = after.strip_prefix('$') {
                rest = literal;
                continue;
            }
            let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            if let Some((name, behind)) = braced {
                rest = behind;
                return Some(name);
            }
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let length = after.bytes().take_while(|byte| word(*byte)).count();
            let (name, behind) = after.split_at(length);
            rest = behind;
            if !name.is_empty() {
                return Some(name);
            }
        }
    })
}

fn has_group(regex: &regex::Regex, name: &str) -> bool {
    match name.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => regex.capture_names().flatten().any(|known| known == name),
    }
}
