use super::*;

/// What comes of an answer in these pieces, as words; and what is left.
fn events(method: Method, pieces: &[&[u8]], ends: bool) -> Result<String, Broken> {
    let (mut answer, mut input, mut out) = (Answer::to(method), BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(event) = answer.next(&mut input)? {
            out.push(told(event));
        }
    }
    if ends && !answer.is_done() {
        out.push(told(answer.end()?));
    }
    out.extend((!input.is_empty()).then(|| format!("left {}", input.len())));
    Ok(join(out))
}

/// Pieces of content that follow each other are one.
fn join(words: Vec<String>) -> String {
    words.join(" ").replace(" data ", "+").replacen('+', " data ", 1)
}

fn told(event: Event) -> String {
    let fields = |map: &HeaderMap| {
        let told = map
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.as_bytes())));
        told.collect::<Vec<_>>().join(",")
    };
    match event {
        Event::Interim(head) => format!("interim {}", head.status().as_u16()),
        Event::Head(head, ends) => {
            let end = if ends { " end" } else { "" };
            format!("{} [{}]{end}", head.status().as_u16(), fields(head.headers()))
        }
        Event::Data(content) => format!("data {}", String::from_utf8_lossy(&content)),
        Event::Trailers(map) => format!("trailers [{}]", fields(&map)),
        Event::End => "end".to_owned(),
    }
}

#[test]
fn answers_in_every_framing_however_they_are_cut() {
    use Method::{Connect, Get, Head};
    for (method, bytes, ends, want) in [
        (
            Get,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: 1\r\na: 2\r\n\r\nok",
            false,
            "200 [content-length=2,a=1,a=2] data ok",
        ),
        (Get, "HTTP/1.1 204 No\r\nX: y\r\n\r\n", false, "204 [x=y] end"),
        (Get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "200 [content-length=0] end"),
        (Head, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", false, "200 [content-length=9] end"),
        (Get, "HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", false, "304 [content-length=9] end"),
        (
            Get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            false,
            "200 [] data ok end",
        ),
        (
            Get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\
               X-Sum: 7\r\nY:\r\n\r\n",
            false,
            "200 [] data o+k trailers [x-sum=7,y=]",
        ),
        (
            Get,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n\
               HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            false,
            "interim 100 interim 103 200 [content-length=1] data x",
        ),
        (
            Get,
            "HTTP/1.1 200 OK\r\nConnection: close, a\r\nA: 1\r\nKeep-Alive: x\r\nUpgrade: h2c\r\n\
               B: 2\r\n\r\nall of it",
            true,
            "200 [b=2] data all of it end",
        ),
        (
            Connect,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nC: 3\r\n\r\ntunnel",
            true,
            "200 [c=3] data tunnel end",
        ),
        (
            Connect,
            "HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno",
            false,
            "503 [content-length=2] data no",
        ),
        (
            Get,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1",
            false,
            "200 [content-length=1] data x left 8",
        ),
    ] {
        let bytes = bytes.as_bytes();
        assert_eq!(events(method, &[bytes], ends).as_deref(), Ok(want));
        let one_by_one: Vec<_> = bytes.chunks(1).collect();
        let joined: String = want.to_owned();
        let got = events(method, &one_by_one, ends).expect("the same").replace('+', "");
        assert_eq!(got, joined.replace('+', ""), "byte by byte");
    }
}

#[test]
fn what_breaks_off_is_no_answer() {
    for bytes in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
        "HTTP/1.1 103 Hints\r\n\r\n",
    ] {
        assert_eq!(events(Method::Get, &[bytes.as_bytes()], true), Err(Broken::Cut), "{bytes:?}");
    }
    for bytes in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
    ] {
        let broken = events(Method::Get, &[bytes.as_bytes()], true);
        assert!(matches!(broken, Err(Broken::Malformed(_))), "{bytes:?}: {broken:?}");
    }
}
