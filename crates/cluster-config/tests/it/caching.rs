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
        ("{min: 1h}", "it is for no URL"),
        ("{url_regex: x, url_glob: y}", "not both at once"),
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

#[test]
fn what_an_operator_says_of_places_lifetimes_and_keys() {
    let (there, said) = cache(
        "{disk: 1GiB, rules: [{never: [localhost]}, {memory: [\"!all\"]}, {disk: [all]}], \
         default_ttls: [{status: [404, 410], ttl: 1m}], authorization: public, keys: [{url_glob: \
         'http://h/*', drop_query: [utm_*], sort_query: true}, {url_regex: \
         '^http://([a-z]+)\\.h\\.test/(?<sha256>.*)$', to: 'http://h.test/$sha256', merge_hosts: \
         [.h.test], immutable: true}]}",
    );
    assert_eq!(said, Vec::<String>::new());
    let policy = there.expect("a cache").policy;
    let rules: Vec<String> = policy.rules.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["never: [localhost]", "memory: [\"!all\"]", "disk: [all]"]);
    assert_eq!(policy.default_ttls.len(), 2);
    assert_eq!(policy.keys[1].merge_hosts[0].to_string(), ".h.test");
}

#[test]
fn what_is_wrong_with_them_is_said() {
    for (written, severity, want) in [
        ("{rules: [{never: [nobody]}]}", "error", "unknown ACL `nobody`"),
        ("{rules: [{never: []}]}", "error", "a rule without ACLs"),
        ("{rules: [{never: [all], disk: [all]}]}", "error", "two things"),
        ("{rules: [{}]}", "error", "does not say where"),
        ("{rules: [{never: [to_localhost]}]}", "error", "the address of the destination"),
        ("{rules: [{disk: [all]}]}", "warning", "not kept at all"),
        ("{default_ttls: [{status: 199, ttl: 1m}]}", "error", "`199` is no status"),
        ("{default_ttls: [{status: 500-599, ttl: 1m}]}", "warning", "RFC 9110 §15.1"),
        ("{keys: [{drop_query: [a]}]}", "error", "it is for no URL"),
        ("{keys: [{url_regex: x, drop_query: [a], keep_query: [b]}]}", "error", "in one rule"),
        ("{keys: [{url_regex: 'x(y)', to: '$2'}]}", "error", "no group `2`"),
        ("{keys: [{url_regex: 'x(y)', to: '$1z'}]}", "error", "no group `1z`"),
        ("{keys: [{url_glob: x, to: y}]}", "error", "a glob has no groups"),
        ("{keys: [{url_regex: x, to: 'http://h/'}]}", "warning", "merge_hosts"),
        ("{keys: [{url_regex: x, sort_query: true, merge_hosts: [h]}]}", "warning", "without `to`"),
        ("{keys: [{url_regex: x, immutable: true}]}", "error", "without a digest"),
        ("{keys: [{url_regex: x}]}", "warning", "changes nothing"),
    ] {
        let (there, said) = cache(written);
        assert_eq!(there.is_some(), severity == "warning", "{written}: {said:?}");
        let [one] = &said[..] else { panic!("{written}: {said:?}") };
        assert!(one.contains(severity) && one.contains(want), "{written}: {one}");
    }
}

#[test]
fn who_may_purge_is_said_by_acls_that_there_are() {
    let (there, said) = cache("{purge: {allow: [[localhost], [\"!localhost\", all]]}}");
    let purge = there.unwrap_or_else(|| panic!("{said:?}")).purge;
    let terms: Vec<String> = purge.allow.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(
        (terms, purge.everywhere),
        (["localhost", "\"!localhost\"", "all"].map(str::to_owned).into(), false)
    );
    assert_eq!(cache("{}").0.map(|cache| cache.purge.allow.len()), Some(0), "nobody");
    for (wrong, says) in [
        ("[[editors]]", "editors"),
        ("[[]]", "for everybody"),
        ("[[to_localhost]]", "address of the destination"),
    ] {
        let (there, said) = cache(&format!("{{purge: {{allow: {wrong}}}}}"));
        let told = said.iter().any(|it| it.contains("error") && it.contains(says));
        assert!(there.is_none() && told, "{wrong}: {said:?}");
    }
}

#[test]
fn compression_is_off_until_it_names_codings() {
    let compiled = |compression: &str| {
        let text = format!(
            "version: 1\nproxy:\n  access: {{rules: [{{allow: [localhost]}}]}}\n  compression: \
             {compression}\n"
        );
        let files = BTreeMap::from([("cluster.yaml".to_owned(), text.into_bytes())]);
        let (bundle, problems) = Bundle::from_files(&files);
        let of_it = |said: &String| said.starts_with("cluster.yaml:4:");
        let said: Vec<_> = problems.iter().map(ToString::to_string).filter(of_it).collect();
        let compression = bundle.map(|bundle| {
            let node = render(&bundle, Service::ProxyNode, &sample(Service::ProxyNode));
            ProxyDocument::from_json(&node.expect("a document").document).expect("it").compression
        });
        (compression, said)
    };
    assert_eq!(compiled("{}"), (Some(None), vec![]));
    assert_eq!(compiled("{types: [text/html]}"), (Some(None), vec![]));
    let (on, said) = compiled("{codings: [br, gzip], types: [Text/*], min_size: 2KiB}");
    let on = on.flatten().unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!((on.types, on.min_size, on.max_size), (vec!["text/*".to_owned()], 2048, 8 << 20));
    for (written, severity, want) in [
        ("{codings: [deflate]}", "error", "deflate"),
        ("{codings: [br, br]}", "error", "there twice"),
        ("{codings: [br], types: [html]}", "error", "not a media type"),
        ("{codings: [br], types: ['*/*']}", "error", "not a media type"),
        ("{codings: [br], min_size: 9MiB}", "error", "min_size is larger"),
        ("{codings: [gzip], gzip_level: 10}", "error", "gzip_level"),
        ("{codings: [br], br_level: 11}", "warning", "slow"),
    ] {
        let (there, said) = compiled(written);
        assert_eq!(there.is_some(), severity == "warning", "{written}: {said:?}");
        let [one] = &said[..] else { panic!("{written}: {said:?}") };
        assert!(one.contains(severity) && one.contains(want), "{written}: {one}");
    }
}
