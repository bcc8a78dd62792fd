//! What an operator may have the cache do against the RFCs: accepted, and never without a word.

use cluster::Service;
use cluster_config::{Bundle, ProxyDocument, bundle::sample, document::caching::Overrides, render};
use std::{collections::BTreeMap, time::Duration};

/// What `proxy.cache` becomes, and what is said of it.
fn cache(cache: &str) -> (Option<cluster_config::document::proxy::Cache>, Vec<String>) {
    let text = format!(
        "version: 1\nproxy:\n  access: {{rules: [{{allow: [localhost]}}]}}\n  cache: {cache}\n"
    );
    let files = BTreeMap::from([("cluster.yaml".to_owned(), text.into_bytes())]);
    let (bundle, problems) = Bundle::from_files(&files);
    let of_cache = |said: &String| said.starts_with("cluster.yaml:4:");
    let said = problems.iter().map(ToString::to_string).filter(of_cache).collect();
    let cache = bundle.map(|bundle| {
        let node = render(&bundle, Service::ProxyNode, &sample(Service::ProxyNode));
        ProxyDocument::from_json(&node.expect("a document").document).expect("its form").cache
    });
    (cache, said)
}

#[test]
fn each_option_of_a_refresh_pattern_says_what_it_breaks() {
    for (option, rule) in [
        ("override_expire: true, min: 1m", "RFC 9111 §4.2.1"),
        ("override_lastmod: true, min: 1m", "RFC 9111 §4.2.2"),
        ("ignore_reload: true", "RFC 9111 §5.2.1.4"),
        ("ignore_no_store: true", "RFC 9111 §5.2.2.5"),
        ("ignore_private: true", "RFC 9111 §5.2.2.7"),
        ("ignore_must_revalidate: true", "RFC 9111 §5.2.2.2 and §5.2.2.8"),
        ("ignore_auth: true", "RFC 9111 §3.5"),
    ] {
        let name = option.split(':').next().unwrap_or_default();
        let (there, said) = cache(&format!("{{refresh_patterns: [{{url_regex: x, {option}}}]}}"));
        assert!(there.is_some(), "{option}: {said:?}");
        let [warning] = &said[..] else { panic!("{option}: {said:?}") };
        let wants = ["cluster.yaml:4:", "warning", name, rule];
        assert!(wants.iter().all(|want| warning.contains(want)), "{warning}");
    }
    for nothing in ["reload_into_ims: true", "ignore_no_cache: true", "override_expire: true"] {
        let (there, said) = cache(&format!("{{refresh_patterns: [{{url_regex: x, {nothing}}}]}}"));
        let told = said.iter().any(|it| it.contains("changes nothing"));
        assert!(there.is_some() && told, "{nothing}: {said:?}");
    }
    for quiet in ["store_stale: true", "refresh_ims: true", "max_stale: 1h", "min: 1h"] {
        let (there, said) = cache(&format!("{{refresh_patterns: [{{url_regex: x, {quiet}}}]}}"));
        assert!(there.is_some() && said.is_empty(), "{quiet}: {said:?}");
    }
}

#[test]
fn patterns_are_regular_expressions_or_globs() {
    let (there, said) = cache(
        "{refresh_patterns: [{url_glob: \"*.deb\", ignore_case: true, queries: true, min: 1h, \
         percent: 50, max: 2h, ignore_no_store: true, max_stale: 3h}]}",
    );
    let there = there.unwrap_or_else(|| panic!("{said:?}"));
    let pattern = &there.refresh_patterns[0];
    assert_eq!((pattern.url_regex.as_str(), pattern.queries), (r"(?i:^.*\.deb$)", Some(true)));
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!((pattern.min, pattern.percent, pattern.max), (hours(1), 50, hours(2)));
    let overrides =
        Overrides { ignore_no_store: true, max_stale: Some(hours(3)), ..Overrides::default() };
    assert_eq!(pattern.overrides, overrides);
    for (pattern, want) in [
        ("{min: 1h}", "a refresh pattern without URLs"),
        ("{url_regex: x, url_glob: y}", "not both"),
        ("{url_regex: x, min: 2h, max: 1h}", "min is longer than max"),
        ("{url_glob: 'a\\'}", "ends with a backslash"),
        ("{url_regex: x, ignore_privat: true}", "did you mean `ignore_private`?"),
    ] {
        let (there, said) = cache(&format!("{{refresh_patterns: [{pattern}]}}"));
        assert!(
            there.is_none() && said.len() == 1 && said[0].contains(want),
            "{pattern}: {said:?}"
        );
    }
}
