use proptest::prelude::*;
use relay::target::Scheme;

use super::*;

fn rule(url: &str) -> KeyRule {
    KeyRule {
        url: Regex::new(url).unwrap(),
        query: Query::default(),
        to: None,
        merges: Vec::new(),
        immutable: false,
    }
}

fn host(name: &str) -> Host {
    Host { name: name.trim_start_matches('.').into(), subdomains: name.starts_with('.') }
}

fn keyed(rules: &[KeyRule], url: &str) -> Keyed {
    apply(rules, Key::parse(url).unwrap())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn queries_lose_what_makes_no_difference_and_the_origin_does_not_see_it() {
    let without = Parameters::Without(names(&["utm_*", "id"]));
    let only = Parameters::Only(names(&["q", "page"]));
    for (parameters, sorted, url, want) in [
        (&without, false, "http://h/a?utm_x=1&b=2&utm_y&id=3", "http://h/a?b=2"),
        (&without, false, "http://h/a?utm_x=1", "http://h/a"),
        (&without, false, "http://h/a?idx=1", "http://h/a?idx=1"),
        (&without, false, "http://h/a", "http://h/a"),
        (&only, false, "http://h/a?x=1&page=2&q=3", "http://h/a?page=2&q=3"),
        (&only, true, "http://h/a?q=3&x=1&page=2", "http://h/a?page=2&q=3"),
        (&Parameters::All, true, "http://h/a?b=2&a=2&b=1&a", "http://h/a?a=2&a&b=2&b=1"),
        (&Parameters::All, false, "http://h/a?b=2&a=1", "http://h/a?b=2&a=1"),
    ] {
        let query = Query { parameters: parameters.clone(), sorted };
        let rules = [KeyRule { query, ..rule("^http://h/") }];
        let found = keyed(&rules, url);
        assert_eq!(found.key.to_string(), want, "{url}");
        assert_eq!(found.asked.map(|asked| asked.to_string()), (url != want).then(|| want.into()));
        assert_eq!(keyed(&rules, "http://other/?utm_x=1").key.to_string(), "http://other/?utm_x=1");
    }
}

#[test]
fn hosts_are_put_together_only_where_the_rule_names_both() {
    let to = Some(b"http://cdn.example.com/$path".to_vec().into_boxed_slice());
    let all = rule(r"^https?://[^/]+/(?<path>.*)$");
    let merges = vec![host(".example.com"), host("mirror.test")];
    let named = [KeyRule { to: to.clone(), merges, ..all.clone() }];
    let nobody = [KeyRule { to, ..all }];
    for (url, merged) in [
        ("http://a.example.com/x", true),
        ("https://b.example.com:8443/x", true),
        ("http://mirror.test/x", true),
        ("http://example.com/x", true),
        ("http://a.mirror.test/x", false),
        ("http://badexample.com/x", false),
        ("http://evil.test/x", false),
        // A host that only looks like one of them in another place of the URL.
        ("http://evil.test/http://a.example.com/x", false),
        ("http://a.example.com.evil.test/x", false),
    ] {
        let found = keyed(&named, url);
        let want = if merged { "http://cdn.example.com/x" } else { url };
        assert_eq!(
            (found.key.to_string().as_str(), found.refused.is_none()),
            (want, merged),
            "{url}"
        );
        assert_eq!(found.asked, None, "the origin is asked for what was asked");
        let alone = keyed(&nobody, url);
        assert_eq!(alone.key.to_string(), url);
        assert!(alone.refused.is_some());
    }
    let same = keyed(&nobody, "http://cdn.example.com/x");
    assert_eq!((same.key.to_string().as_str(), same.refused), ("http://cdn.example.com/x", None));
}

#[test]
fn paths_of_one_host_become_one_another_freely_and_the_first_rule_counts() {
    let to = |text: &str| Some(text.as_bytes().to_vec().into_boxed_slice());
    let rules = [
        KeyRule { to: to("/$1"), ..rule(r"/session-[0-9]+/(.*)$") },
        KeyRule { to: to("/other"), ..rule(r"/.*$") },
    ];
    let found = keyed(&rules, "http://h/session-12/a/b");
    assert_eq!((found.key.to_string().as_str(), found.rule), ("http://h/a/b", Some(0)));
    let broken = [KeyRule { to: to("nothing like a URL"), ..rule("^.*$") }];
    assert_eq!(keyed(&broken, "http://h/a").key.to_string(), "http://h/a");
}

#[test]
fn a_digest_is_checked_against_the_body() {
    // SHA-256 of "hello" (FIPS 180-4).
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let blobs = rule(r"/blobs/sha256:(?<sha256>[0-9a-f]+)$");
    let rules = [KeyRule { immutable: true, ..blobs }];
    let digest = keyed(&rules, &format!("http://h/v2/x/blobs/sha256:{hello}")).digest.unwrap();
    let check = |body: &str| {
        let mut check = digest.check();
        body.as_bytes().chunks(2).for_each(|piece| check.update(piece));
        check.holds()
    };
    assert!(check("hello") && !check("hello ") && !check("hell") && !check(""));
    for other in [&hello[1..], "", "zz"] {
        let url = format!("http://h/blobs/sha256:{other}");
        assert_eq!(keyed(&rules, &url).digest, None, "{url}");
    }
}

proptest! {
    /// Whatever is asked of other hosts, it never becomes a key of one that no rule names.
    #[test]
    fn no_url_gets_into_another_host(
        other in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}",
        path in "/[ -~&&[^#]]{0,40}",
        to in "(http://[a-z.]{1,9}/)?[$0-9a-z{}/?&=]{0,20}",
        port in 1u16..,
    ) {
        let url = Key::new(Scheme::Http, &other, port, path.as_bytes());
        let rules = [KeyRule {
            to: Some(to.into_bytes().into()),
            merges: vec![host(".named.example")],
            query: Query { parameters: Parameters::Without(names(&["a*"])), sorted: true },
            ..rule("^(.*?)([a-z]*)(.*)$")
        }];
        let found = apply(&rules, url.clone());
        prop_assert_eq!(found.key.origin(), url.origin());
    }
}
