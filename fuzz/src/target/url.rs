//! Cache keys and Location: one spelling per resource, and no answer touches another origin's.

use proxy_node::cache::key::Key;

use crate::Target;

/// See the module.
pub const TARGET: Target = Target {
    name: "url",
    check,
    words: &[
        b"http://",
        b"HTTP://",
        b"https://",
        b"a.example",
        b"[::1]",
        b"[::ffff:1.2.3.4]",
        b":80",
        b":080",
        b":65536",
        b"/",
        b"//",
        b"?",
        b"#",
        b"@",
        b"%2f",
        b"..",
        b"\n",
        b"127.1",
        b"0x7f.1",
        b"\xc3\xa9",
        b"xn--",
    ],
    executions: 60_000,
};

/// A line with a URL, and a line with a Location that came for it.
fn check(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let Some(key) = lines.next().and_then(|url| std::str::from_utf8(url).ok()).and_then(Key::parse)
    else {
        return;
    };
    let text = key.to_string();
    assert_eq!(Key::parse(&text), Some(key.clone()), "a key is its own normal form: {text:?}");
    let scheme = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    assert!(scheme && !text.contains(['#', '\n', ' ']), "{text:?}");
    let Some(sibling) = lines.next().and_then(|location| key.sibling(location)) else { return };
    assert_eq!(sibling.origin(), key.origin(), "{sibling} is another origin's than {key}");
    assert_eq!(
        sibling.as_bytes().get(key.origin().len()),
        Some(&b'/'),
        "{sibling} begins like {key} and is another host's"
    );
}
