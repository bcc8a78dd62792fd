//! What a purge concerns, and what it does not.

use proptest::prelude::*;

use super::*;

fn tagged(tags: &str) -> Tags {
    Tags::of([(&b"cache-tag"[..], tags.as_bytes())].into_iter())
}

#[test]
fn a_purge_concerns_what_it_names_and_nothing_else() {
    let url = |text| Scope::url(text).unwrap();
    let prefix = |text| Scope::prefix(text).unwrap();
    let host = |text| Scope::host(text).unwrap();
    let tag = |text| Scope::tag(text).unwrap();
    let regex = |text| Scope::regex(text).unwrap();
    for (scope, stored, tags, concerned) in [
        (url("HTTP://A.example:80/x/../%41"), "http://a.example/A", "", true),
        (url("http://a.example/A"), "http://a.example/A?", "", false),
        (url("http://a.example/A"), "https://a.example/A", "", false),
        (url("http://a.example"), "http://a.example/", "", true),
        (prefix("http://A.example/%41"), "http://a.example/Abc", "", true),
        (prefix("http://a.example/a"), "http://a.example/b/a", "", false),
        (prefix("https://"), "https://any.example/", "", true),
        (host("a.example"), "http://a.example/x", "", true),
        (host("A.Example."), "https://a.example:8443/x", "", true),
        (host("a.example"), "http://b.a.example/", "", false),
        (host("a.example"), "http://a.example.com/", "", false),
        (host("a.example"), "http://xa.example/", "", false),
        (host("a.example"), "http://b.example/http://a.example/", "", false),
        (host(".a.example"), "http://a.example/", "", true),
        (host(".a.example"), "http://c.b.a.example/", "", true),
        (host("*.a.example"), "http://b.a.example/", "", true),
        (host(".a.example"), "http://ba.example/", "", false),
        (host("a.example:8080"), "http://a.example:8080/", "", true),
        (host("a.example:8080"), "http://a.example/", "", false),
        (host("a.example:80"), "http://a.example/", "", true),
        (host("a.example:443"), "https://a.example/", "", true),
        (host("[2001:DB8::1]"), "http://[2001:db8::1]:81/", "", true),
        (host("[2001:db8::1]:81"), "http://[2001:db8::1]:81/", "", true),
        (host("[2001:db8::1]:82"), "http://[2001:db8::1]:81/", "", false),
        (tag("news"), "http://a.example/", "sport, News", true),
        (tag("news"), "http://a.example/news", "newspaper", false),
        (regex(r"\.(png|jpe?g)$"), "http://a.example/x.jpg", "", true),
        (regex(r"\.(png|jpe?g)$"), "http://a.example/x.jpg?y", "", false),
        (regex(r"^https:"), "http://a.example/https:", "", false),
        (Scope::Everything, "http://a.example/", "", true),
    ] {
        assert_eq!(scope.matches(stored.as_bytes(), &tagged(tags)), concerned, "{scope}: {stored}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_remedy() {
    for (refused, says) in [
        (Scope::url("example.com"), "absolute http URL"),
        (Scope::url("ftp://a.example/"), "absolute http URL"),
        (Scope::prefix(""), "purge everything"),
        (Scope::host(""), "is not a host"),
        (Scope::host("a.example/x"), "is not a host"),
        (Scope::host("u@a.example"), "is not a host"),
        (Scope::host("a.example:x"), "is not a host"),
        (Scope::host("http://a.example"), "is not a host"),
        (Scope::tag(" "), "is not a tag"),
        (Scope::tag("a,b"), "is not a tag"),
        (Scope::regex("("), "cannot be used"),
        (Scope::regex(""), "empty"),
        (Scope::regex(r"(\pL{1000}){1000}"), "cannot be used"),
        (Scope::prefix(&"x".repeat(MOST_TEXT + 1)), "2048"),
    ] {
        let problem = refused.unwrap_err().to_string();
        assert!(problem.contains(says), "{problem}");
    }
}

fn scopes() -> impl Strategy<Value = Scope> {
    prop_oneof![
        "[a-z]{1,3}".prop_map(|path| Scope::url(&format!("http://a.example/{path}")).unwrap()),
        "[ -~]{1,30}".prop_map(|text| Scope::prefix(&text).unwrap()),
        "\\.?[a-z]{1,9}\\.[a-z]{1,9}(:[1-9][0-9]{0,3})?"
            .prop_map(|text| Scope::host(&text).unwrap()),
        "[!-+--~]{1,30}".prop_map(|text| Scope::tag(&text).unwrap()),
        "[a-z.]{1,30}".prop_map(|text| Scope::regex(&text).unwrap()),
        Just(Scope::Everything),
    ]
}

proptest! {
    #[test]
    fn what_is_written_down_is_read_again(scope in scopes()) {
        let (kind, text) = scope.parts();
        prop_assert_eq!(Scope::written(kind, &text), Some(scope));
    }

    #[test]
    fn what_covers_a_url_matches_it_whatever_its_tags(
        scope in scopes(),
        path in "/[a-z]{0,3}",
        tags in "[a-z, ]{0,20}",
    ) {
        let url = format!("http://a.example{path}");
        let matches = scope.matches(url.as_bytes(), &tagged(&tags));
        prop_assert!(matches || !scope.covers(url.as_bytes()));
        if !matches!(scope, Scope::Tag(_)) {
            prop_assert_eq!(matches, scope.covers(url.as_bytes()));
        }
    }

    #[test]
    fn nothing_that_anybody_writes_panics(
        kind in any::<u8>(),
        text in proptest::collection::vec(any::<u8>(), 0..80),
        url in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Some(scope) = Scope::written(kind % 8, &text) {
            prop_assert!(scope.matches(&url, &Tags::default()) || !scope.covers(&url));
        }
        let text = String::from_utf8_lossy(&text);
        drop((Scope::url(&text), Scope::host(&text), Scope::tag(&text), Scope::regex(&text)));
        drop(Scope::prefix(&text));
    }
}
