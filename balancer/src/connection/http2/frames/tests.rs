use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let length = u32::try_from(payload).expect("small").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    bytes.resize(HEADER + payload, 7);
    bytes
}

fn greeted() -> Frames {
    let mut frames = Frames::new(Duration::ZERO);
    assert!(frames.is_in_head(), "the preface is waited for as a head is");
    frames.received(PREFACE, Duration::ZERO).expect("a preface");
    assert!(!frames.is_in_head());
    // Its place in the budget is free.
    frames.received(&frame(SETTINGS, 0, 6), Duration::ZERO).expect("settings");
    frames.idle.give(1);
    frames
}

/// How many of them there may be at once, and so much later again; and what is said of one more.
fn at_most(bytes: &[u8], later: Duration) -> (u32, u32, Offence) {
    let mut frames = greeted();
    let mut first = 0;
    // It is not looked at any more after its first error.
    while greeted().received(&bytes.repeat(first as usize + 1), Duration::ZERO).is_ok() {
        first += 1;
        frames.received(bytes, Duration::ZERO).expect("as many as just now");
    }
    for second in 0..10_000 {
        if let Err(excess) = frames.received(bytes, later) {
            return (first, second, excess);
        }
    }
    panic!("without end");
}

#[test]
fn what_brings_nothing_about_is_bounded() {
    for (kind, flags, payload) in [
        (SETTINGS, 0, 6),
        (SETTINGS, 1, 0),
        (PING, 0, 8),
        (PRIORITY, 0, 5),
        (WINDOW_UPDATE, 0, 4),
        (CONTINUATION, 0, 1),
        (DATA, 0, 0),
        (99, 0, 3),
    ] {
        let bytes = frame(kind, flags, payload);
        let bounded = at_most(&bytes, Duration::from_secs(2));
        assert_eq!(bounded, (IDLE_BURST, 2 * IDLE_RATE, Offence::Idle), "{kind}");
    }
}

#[test]
fn settings_come_first() {
    for kind in [DATA, HEADERS, RST_STREAM, PING, 99] {
        let mut frames = Frames::new(Duration::ZERO);
        let bytes = [&PREFACE[..], &frame(kind, 0, 8)].concat();
        assert_eq!(frames.received(&bytes, Duration::ZERO), Err(Offence::NoSettings), "{kind}");
    }
}

#[test]
fn sizes_are_what_they_are() {
    for (kind, flags, right, wrong) in [
        (PRIORITY, 0, 5, 4),
        (RST_STREAM, 0, 4, 5),
        (SETTINGS, 0, 12, 13),
        (SETTINGS, 1, 0, 6),
        (PING, 0, 8, 0),
        (WINDOW_UPDATE, 0, 4, 3),
    ] {
        let received = |size| greeted().received(&frame(kind, flags, size), Duration::ZERO);
        assert_eq!((received(right), received(wrong)), (Ok(()), Err(Offence::Size)), "{kind}");
    }
}

#[test]
fn resets_are_bounded_and_counted() {
    let rapid = [frame(HEADERS, END_HEADERS, 20), frame(RST_STREAM, 0, 4)].concat();
    let later = Duration::from_secs(60 * 60);
    let bounded = at_most(&rapid, later);
    assert_eq!(bounded, (RESET_BURST, RESET_BURST, Offence::Resets), "no more than at first");
    let mut frames = greeted();
    frames.received(&rapid.repeat(3), Duration::ZERO).expect("a few");
    assert_eq!((frames.take_resets(), frames.take_resets()), (3, 0));
}

#[test]
fn what_is_asked_and_sent_is_not() {
    let mut frames = greeted();
    let work = [
        frame(HEADERS, END_HEADERS | END_STREAM, 30),
        frame(WINDOW_UPDATE, 0, 4),
        frame(WINDOW_UPDATE, 0, 4),
        frame(DATA, 0, 100),
        frame(DATA, END_STREAM, 0),
        frame(PING, 0, 8),
    ]
    .concat();
    for _ in 0..100_000 {
        frames.received(&work, Duration::ZERO).expect("work");
    }
    // A download without end, whose client opens its windows again and again.
    let acknowledged = [frame(WINDOW_UPDATE, 0, 4), frame(WINDOW_UPDATE, 0, 4)].concat();
    for _ in 0..100_000 {
        frames.sent(1024);
        frames.received(&acknowledged, Duration::ZERO).expect("an acknowledgement");
    }
}

#[test]
fn heads_are_seen_however_the_bytes_are_cut() {
    let mut frames = greeted();
    let bytes = [
        (frame(SETTINGS, 0, 6), false),
        (frame(HEADERS, END_STREAM, 40), true),
        (frame(CONTINUATION, 0, 3), true),
        (frame(CONTINUATION, END_HEADERS, 0), false),
        (frame(DATA, 0, 5), false),
        (frame(HEADERS, END_HEADERS, 1), false),
    ];
    for (bytes, in_head) in &bytes {
        for (at, byte) in bytes.iter().enumerate() {
            frames.received(std::slice::from_ref(byte), Duration::ZERO).expect("a frame");
            let of_head = matches!(bytes[3], HEADERS | CONTINUATION);
            if of_head && (HEADER..bytes.len() - 1).contains(&(at + 1)) {
                assert!(frames.is_in_head(), "in the middle of its payload");
            }
        }
        assert_eq!(frames.is_in_head(), *in_head, "{bytes:?}");
    }
}
