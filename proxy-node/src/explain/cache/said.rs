//! What the configuration says of a URL.

use crate::{
    cache::{key::Key, policy::RefreshPattern},
    config::Generation,
    explain::Explanation,
};

/// Which refresh pattern is for a URL, if any.
pub(super) fn pattern(told: &mut Explanation, generation: &Generation, key: &Key) {
    let patterns = &generation.refresh_patterns;
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
