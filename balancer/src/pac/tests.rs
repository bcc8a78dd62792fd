use super::*;

#[test]
fn nothing_but_one_proxy_comes_of_what_a_client_says() {
    for (host, expected) in [
        ("proxy.test", Some("proxy.test:8080")),
        ("proxy.test:3128", Some("proxy.test:3128")),
        ("10.0.0.1", Some("10.0.0.1:8080")),
        ("[2001:db8::1]", Some("[2001:db8::1]:8080")),
        ("[2001:db8::1]:81", Some("[2001:db8::1]:81")),
        ("", None),
        ("a; DIRECT", None),
        ("a\"+alert(1)+\"", None),
        ("a b", None),
        ("a/b", None),
    ] {
        assert_eq!(asked(host, 8080).as_deref(), expected, "{host}");
    }
    assert_eq!(asked(&"a".repeat(256), 1), None);
}
