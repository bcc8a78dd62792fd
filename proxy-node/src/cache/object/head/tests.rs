use super::*;

#[test]
fn a_stored_head_does_not_grow_for_ever() {
    let mut head = b"HTTP/1.1 200 OK\r\nX: y\r\n".to_vec();
    for round in 0..200 {
        let answer: String =
            (0..20).map(|field| format!("X-{round}-{field}: {}\r\n", "z".repeat(50))).collect();
        head = refreshed(&head, format!("HTTP/1.1 304 Not Modified\r\n{answer}").as_bytes());
    }
    assert!(
        fields(&head).count() <= Limits::default().fields
            && fields(&head).any(|(name, _)| name == b"X")
    );
}

#[test]
fn a_304_replaces_what_it_names_and_keeps_the_rest() {
    let stored = b"HTTP/1.1 200 OK\r\nDate: old\r\nX-A: 1\r\nContent-Type: \
        text/html\r\nCache-Control: max-age=1\r\n";
    let answer = b"HTTP/1.1 304 Not Modified\r\ndate: new\r\ncache-control: max-age=9\r\nX-B: \
        2\r\nContent-Type: x/y\r\n";
    let head = refreshed(stored, answer);
    assert_eq!(
        String::from_utf8(head).unwrap(),
        "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Type: text/html\r\ndate: new\r\ncache-control: \
         max-age=9\r\nX-B: 2\r\n"
    );
}

#[test]
fn fields_of_a_head() {
    let found: Vec<_> = fields(b"HTTP/1.1 200 OK\r\nA: b:c\r\nEmpty:\r\n").collect();
    assert_eq!(found, [(&b"A"[..], &b"b:c"[..]), (b"Empty", b"")]);
}
