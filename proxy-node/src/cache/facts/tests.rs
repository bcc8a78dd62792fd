use super::{
    response::{MOST_NAME_BYTES, MOST_NAMES},
    *,
};

fn response(fields: &[(&str, &str)]) -> ResponseFacts {
    ResponseFacts::new(200, fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

#[test]
fn the_earlier_expiry_counts() {
    let early = "Sun, 06 Nov 1994 08:49:37 GMT";
    let late = "Sun, 06 Nov 1994 08:49:38 GMT";
    assert_eq!(
        response(&[("Expires", late), ("Expires", early)]).expires,
        Some(Expires::At(784_111_777))
    );
    assert_eq!(response(&[("Expires", late), ("Expires", "0")]).expires, Some(Expires::Unreadable));
    assert_eq!(response(&[("Expires", "0"), ("Expires", late)]).expires, Some(Expires::Unreadable));
}

#[test]
fn vary_is_sorted_and_a_star_wins() {
    let fields = |names: &[&str]| Vary::Fields(names.iter().map(|name| (*name).into()).collect());
    assert_eq!(
        response(&[("Vary", "Cookie, accept"), ("vary", "ACCEPT")]).vary,
        fields(&["accept", "cookie"])
    );
    assert_eq!(response(&[("Vary", "Cookie, *"), ("Vary", "x")]).vary, Vary::Anything);
    assert_eq!(response(&[]).vary, Vary::Nothing);
    let many =
        |count: usize| (0..count).map(|number| format!("x-{number}")).collect::<Vec<_>>().join(",");
    assert!(matches!(response(&[("Vary", &many(MOST_NAMES))]).vary, Vary::Fields(_)));
    assert_eq!(response(&[("Vary", &many(MOST_NAMES + 1))]).vary, Vary::Anything);
    assert_eq!(response(&[("Vary", &many(7000))]).vary, Vary::Anything);
    assert_eq!(response(&[("Vary", &"y".repeat(MOST_NAME_BYTES + 1))]).vary, Vary::Anything);
}

#[test]
fn tags_compare_weakly() {
    let tag = Bytes::from_static(b"W/\"a\"");
    for (value, want) in
        [("\"a\"", true), ("\"x\", W/\"a\"", true), ("*", true), ("\"A\"", false), ("", false)]
    {
        assert_eq!(none_match_names(value.as_bytes(), Some(&tag)), want, "{value}");
    }
    assert!(!none_match_names(b"\"a\"", None));
}

#[test]
fn pragma_counts_only_without_cache_control() {
    let facts = |fields: &[(&str, &str)]| {
        RequestFacts::new(b"GET", false, fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())))
    };
    assert!(facts(&[("Pragma", "no-cache")]).directives.no_cache);
    assert!(!facts(&[("Pragma", "no-cache"), ("Cache-Control", "max-age=1")]).directives.no_cache);
}
