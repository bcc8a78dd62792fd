//! What the configuration says of a URL.

use cluster_config::document::caching::Where;

use relay::{field::Field, head::Request};

use crate::{
    admission::Subject,
    cache::{key::Key, keying, object::Object, policy::RefreshPattern},
    compress::{accept, eligible},
    config::Generation,
    explain::Explanation,
    request,
};

/// The key of a URL, and which rule made it.
pub(super) fn key(told: &mut Explanation, generation: &Generation, url: Key) -> Key {
    let rules = &generation.caching.keys;
    let keyed = keying::apply(rules, url.clone());
    let rule = keyed.rule.and_then(|index| Some((index, rules.get(index)?)));
    let Some((index, rule)) = rule else { return keyed.key };
    let named = format!("key rule {} (`{}`)", index + 1, rule.url);
    let said = match keyed.refused {
        Some(why) => format!("{named} is for this URL, but {why}: the key is {}", keyed.key),
        None if keyed.key == url => format!("key {}, as {named} leaves it", keyed.key),
        None => format!("key {}, by {named}", keyed.key),
    };
    told.steps.push(said);
    if let Some(asked) = &keyed.asked {
        told.steps.push(format!("the origin is asked for {asked}"));
    }
    if keyed.digest.is_some() {
        told.steps
            .push("the URL has the digest of what it names: kept for ever if that is so".into());
    }
    keyed.key
}

/// Where the answer is kept, and which rule says so.
pub(super) fn store(told: &mut Explanation, subject: &Subject<'_>) -> Option<Where> {
    let index = subject.kept_by()?;
    let (place, text) = subject.generation.caching.stores.places.get(index)?;
    told.steps.push(format!("kept by {text} (cache rule {})", index + 1));
    Some(*place)
}

/// Which refresh pattern is for a URL, if any.
pub(super) fn pattern(told: &mut Explanation, generation: &Generation, key: &Key) {
    let patterns = &generation.caching.refresh_patterns;
    let Some(index) = patterns.iter().position(|pattern| pattern.applies(key.as_bytes())) else {
        return;
    };
    let Some(pattern) = patterns.get(index) else { return };
    told.steps.push(format!(
        "refresh pattern {} (`{}`) is for this URL{}",
        index + 1,
        pattern.url,
        options(pattern)
    ));
}

/// The options that it has, in words.
fn options(pattern: &RefreshPattern) -> String {
    let overrides = &pattern.overrides;
    let mut options: Vec<String> = [
        ("override_expire", overrides.override_expire),
        ("override_lastmod", overrides.override_lastmod),
        ("ignore_reload", overrides.ignore_reload),
        ("ignore_no_store", overrides.ignore_no_store),
        ("ignore_private", overrides.ignore_private),
        ("ignore_must_revalidate", overrides.ignore_must_revalidate),
        ("ignore_auth", overrides.ignore_auth),
        ("store_stale", overrides.store_stale),
        ("refresh_ims", overrides.refresh_ims),
    ]
    .into_iter()
    .filter(|(_, set)| *set)
    .map(|(name, _)| name.to_owned())
    .collect();
    options.extend(overrides.max_stale.map(|most| format!("max_stale {} s", most.as_secs())));
    if options.is_empty() { String::new() } else { format!(", with {}", options.join(", ")) }
}

/// In which coding something stored would be sent, where that is for the client to say.
pub(super) fn coding(
    generation: &Generation,
    object: &Object,
    request: Request<'_>,
) -> Option<String> {
    let settings = generation.caching.compression.as_ref()?;
    let fields = request::sent_fields(request);
    let how = match accept::wanted(settings, fields, request.lines().has(Field::Range)) {
        _ if !eligible::is_negotiable(settings, object) => return None,
        Some(coding) => coding.name(),
        None => "it is",
    };
    Some(format!("sent as {how}: it is compressed for clients that want it"))
}
