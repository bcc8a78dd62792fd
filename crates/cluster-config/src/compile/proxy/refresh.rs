//! `cache.refresh_patterns`: what they become, and what each of their options breaks.

use super::Context;
use crate::{
    document::caching::{Overrides, RefreshPattern},
    schema::{
        notation::{Glob, Regex},
        proxy as schema,
    },
};

/// An option that is worth a word: its name, whether a pattern has it, what may come of it, and
/// what to do.
type Caution = (&'static str, fn(&schema::RefreshPattern) -> bool, &'static str, &'static str);

const ONLY_UNCHANGING: &str = "name URLs alone whose content never changes";
const NOTHING: &str = "remove it";

/// Every option that breaks a rule, or that does nothing.
const CAUTIONS: [Caution; 9] = [
    (
        "override_expire",
        |pattern| pattern.override_expire,
        "breaks RFC 9111 §4.2.1: an answer lives for `min` although its origin says a shorter \
         time, and clients may get what is out of date",
        ONLY_UNCHANGING,
    ),
    (
        "override_lastmod",
        |pattern| pattern.override_lastmod,
        "goes against RFC 9111 §4.2.2: an answer that changed a moment ago lives for `min` all \
         the same, and clients may get what is out of date",
        ONLY_UNCHANGING,
    ),
    (
        "reload_into_ims",
        |pattern| pattern.reload_into_ims,
        "changes nothing: a reload validates what is stored in any case (RFC 9111 §5.2.1.4)",
        NOTHING,
    ),
    (
        "ignore_reload",
        |pattern| pattern.ignore_reload,
        "breaks RFC 9111 §5.2.1.4: who reloads gets what is stored, so that nobody gets rid of a \
         copy that is wrong",
        "know that `shoal cache purge` is the only way then",
    ),
    (
        "ignore_no_store",
        |pattern| pattern.ignore_no_store,
        "breaks RFC 9111 §5.2.2.5: what its origin forbids to keep is kept, on the disk too, and \
         given to others",
        "name URLs alone at which nobody gets anything of his own",
    ),
    (
        "ignore_private",
        |pattern| pattern.ignore_private,
        "breaks RFC 9111 §5.2.2.7: what is for one user is kept for all; it is validated before \
         every use, but an origin that answers 304 for what another user got gives that away",
        "name URLs alone at which everybody gets the same",
    ),
    (
        "ignore_no_cache",
        |pattern| pattern.ignore_no_cache,
        "changes nothing, as in Squid since 3.2: what says no-cache is stored, and validated \
         before every use (RFC 9111 §5.2.2.4)",
        NOTHING,
    ),
    (
        "ignore_must_revalidate",
        |pattern| pattern.ignore_must_revalidate,
        "breaks RFC 9111 §5.2.2.2 and §5.2.2.8: what its origin forbids to serve stale is served \
         so where that cannot be reached, or `override_expire` says so",
        ONLY_UNCHANGING,
    ),
    (
        "ignore_auth",
        |pattern| pattern.ignore_auth,
        "breaks RFC 9111 §3.5: what somebody got by his credentials is given to everybody who \
         knows its URL",
        "name URLs alone that are no secret",
    ),
];

/// The patterns of the document.
pub(super) fn compile(
    context: &mut Context,
    written: Vec<schema::RefreshPattern>,
) -> Vec<RefreshPattern> {
    let patterns = written.into_iter().enumerate();
    patterns.filter_map(|(index, pattern)| self::pattern(context, index, pattern)).collect()
}

fn pattern(
    context: &mut Context,
    index: usize,
    written: schema::RefreshPattern,
) -> Option<RefreshPattern> {
    let path = format!("cache/refresh_patterns/{index}");
    if written.min.value > written.max.value {
        let message = "min is longer than max";
        context.error(&format!("{path}/min"), message, "let min be the shorter one");
    }
    for (name, _, breaks, remedy) in CAUTIONS.iter().filter(|(_, is_set, ..)| is_set(&written)) {
        context.warning(&format!("{path}/{name}"), format!("`{name}` {breaks}"), *remedy);
    }
    for (name, set) in [
        ("override_expire", written.override_expire),
        ("override_lastmod", written.override_lastmod),
    ] {
        if set && written.min.value.is_zero() {
            let message = format!("`{name}` without `min` changes nothing");
            context.warning(&format!("{path}/{name}"), message, "say how long with `min`");
        }
    }
    let url = urls(context, &path, written.url_regex, written.url_glob)?;
    Some(RefreshPattern {
        url_regex: if written.ignore_case { format!("(?i:{url})") } else { url },
        queries: written.queries,
        min: written.min.value,
        percent: written.percent,
        max: written.max.value,
        overrides: Overrides {
            override_expire: written.override_expire,
            override_lastmod: written.override_lastmod,
            ignore_reload: written.ignore_reload,
            ignore_no_store: written.ignore_no_store,
            ignore_private: written.ignore_private,
            ignore_must_revalidate: written.ignore_must_revalidate,
            ignore_auth: written.ignore_auth,
            store_stale: written.store_stale,
            max_stale: written.max_stale.map(|stale| stale.value),
            refresh_ims: written.refresh_ims,
        },
    })
}

/// What URLs something is for, as a regular expression.
pub(super) fn urls(
    context: &mut Context,
    path: &str,
    regex: Option<Regex>,
    glob: Option<Glob>,
) -> Option<String> {
    match (regex, glob) {
        (Some(regex), None) => Some(regex.value),
        (None, Some(glob)) => Some(glob.value),
        (Some(_), Some(_)) => {
            let message = "a `url_regex` and a `url_glob` for one thing, and not both at once";
            context.error(path, message, "make two of it");
            None
        }
        (None, None) => {
            // One that was refused has been reported.
            let place = context.place(path);
            let keys = context.written.place_keys(&place);
            if !keys.iter().any(|key| key == "url_regex" || key == "url_glob") {
                let message = "without `url_regex` or `url_glob` it is for no URL";
                context.error(path, message, "write {url_glob: \"*.deb\"}, or a `url_regex`");
            }
            None
        }
    }
}
