//! Who reads what of a body, and what its memory counts for meanwhile.

use std::task::{Context, Waker};

use super::*;
use crate::cache::content::Next;

fn poll(reader: &mut Reader) -> Poll<Next> {
    reader.poll_next(&mut Context::from_waker(Waker::noop()))
}

fn drain(reader: &mut Reader) -> (Vec<u8>, Poll<Next>) {
    let mut bytes = Vec::new();
    loop {
        match poll(reader) {
            Poll::Ready(Next::Segment(segment)) => bytes.extend_from_slice(&segment),
            other => return (bytes, other),
        }
    }
}

fn room(body: &Body) -> Poll<Result<(), Unwanted>> {
    std::pin::pin!(body.room()).poll(&mut Context::from_waker(Waker::noop()))
}

fn append(body: &Body, bytes: &[u8]) {
    body.append(bytes, None, |size| body.budget.try_hold(size));
}

fn account() -> Arc<Budget> {
    Budget::new(10 << 20)
}

#[test]
fn readers_follow_the_writer_and_late_ones_get_all() {
    let body = Body::new(&account());
    let mut early = Reader::new(&body).unwrap();
    assert!(poll(&mut early).is_pending());
    append(&body, b"one ");
    append(&body, b"two");
    let mut middle = Reader::new(&body).unwrap();
    assert_eq!(drain(&mut early), (b"one two".to_vec(), Poll::Pending));
    append(&body, b" three");
    body.complete();
    let mut late = Reader::new(&body).unwrap();
    assert_eq!(drain(&mut early), (b" three".to_vec(), Poll::Ready(Next::End)));
    assert_eq!(drain(&mut middle), (b"one two three".to_vec(), Poll::Ready(Next::End)));
    assert_eq!(drain(&mut late), (b"one two three".to_vec(), Poll::Ready(Next::End)));
    assert_eq!(body.whole().unwrap().len(), 1, "small pieces share a segment");
    let mut part = Reader::new(&body).unwrap();
    part.go_to(4);
    assert_eq!(drain(&mut part).0, b"two three");
}

#[test]
fn a_reader_in_the_middle_goes_on_in_the_whole() {
    let body = Body::new(&account());
    let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let mut reader = Reader::new(&body).unwrap();
    let mut got = Vec::new();
    for (number, piece) in bytes.chunks(10_007).enumerate() {
        append(&body, piece);
        if number % 3 == 0
            && let Poll::Ready(Next::Segment(segment)) = poll(&mut reader)
        {
            got.extend_from_slice(&segment);
        }
    }
    body.complete();
    let (rest, end) = drain(&mut reader);
    got.extend(rest);
    assert!(got == bytes && end == Poll::Ready(Next::End));
    assert!(
        body.matches(12_345, &bytes[12_345..400_000])
            && !body.matches(12_346, &bytes[12_345..400_000])
    );
    assert!(
        !body.matches(799_999, &[bytes[799_999], 0]),
        "beyond the end nothing is as it should be"
    );
}

#[test]
fn a_failure_reaches_readers_after_what_there_is() {
    let body = Body::new(&account());
    let mut reader = Reader::new(&body).unwrap();
    append(&body, b"half");
    body.fail();
    body.complete();
    assert_eq!(drain(&mut reader), (b"half".to_vec(), Poll::Ready(Next::Failed)));
    assert!(body.whole().is_none());
}

#[test]
fn what_is_not_retained_waits_for_the_slowest_reader() {
    let budget = account();
    let body = Body::new(&budget);
    let chunk = vec![7; 100_000];
    let (mut fast, mut slow) = (Reader::new(&body).unwrap(), Reader::new(&body).unwrap());
    append(&body, &chunk);
    body.stop_retaining();
    assert!(Reader::new(&body).is_none(), "nobody new may begin");
    append(&body, &chunk);
    append(&body, &chunk);
    assert!(room(&body).is_pending());
    assert_eq!(drain(&mut fast).0.len(), 300_000);
    assert!(room(&body).is_pending(), "the slow one holds it");
    assert!(matches!(poll(&mut slow), Poll::Ready(Next::Segment(_))));
    assert_eq!(room(&body), Poll::Ready(Ok(())));
    append(&body, &chunk);
    assert!(room(&body).is_pending());
    drop(slow);
    assert_eq!(room(&body), Poll::Ready(Ok(())));
    drop(fast);
    assert_eq!(room(&body), Poll::Ready(Err(Unwanted)));
    drop(body);
    assert_eq!((budget.held(), budget.at_work()), (0, 0));
}

#[test]
fn who_makes_others_wait_is_cut() {
    let body = Body::new(&account());
    let (mut fast, mut slow) = (Reader::new(&body).unwrap(), Reader::new(&body).unwrap());
    append(&body, &[1; 400_000]);
    body.stop_retaining();
    body.cut_laggards();
    assert_eq!(
        drain(&mut fast).0.len(),
        400_000,
        "as long as nobody has read all of it, nobody is cut"
    );
    assert!(room(&body).is_pending());
    body.cut_laggards();
    assert_eq!(room(&body), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut slow), Poll::Ready(Next::Failed));
    append(&body, b"more");
    assert_eq!(drain(&mut fast), (b"more".to_vec(), Poll::Pending));
}

#[test]
fn memory_counts_until_its_last_reader_lets_go() {
    let budget = account();
    let body = Body::new(&budget);
    append(&body, &[1; 200_000]);
    body.complete();
    let mut reader = Reader::new(&body).unwrap();
    let Poll::Ready(Next::Segment(first)) = poll(&mut reader) else { panic!("a segment") };
    let all = budget.held();
    assert!((200_000..225_000).contains(&all), "{all}");
    assert_eq!(body.charged(), all);
    drop((body, reader));
    assert_eq!(budget.held(), first.len() as u64, "what is being written to somebody");
    drop(first);
    assert_eq!(budget.held(), 0);
}

#[test]
fn where_there_is_no_memory_it_is_only_passed_on() {
    let budget = Budget::new(100_000);
    let body = Body::new(&budget);
    let mut reader = Reader::new(&body).unwrap();
    for _ in 0..4 {
        append(&body, &[1; 50_000]);
    }
    assert!(!body.retains() && budget.held() <= 100_000 && budget.at_work() > 0);
    assert!(room(&body).is_ready());
    append(&body, &[1; 100_000]);
    assert!(room(&body).is_pending());
    let (got, end) = drain(&mut reader);
    assert_eq!((got.len(), end), (300_000, Poll::Pending));
    assert_eq!(budget.held(), 0, "what has been passed on is not kept");
    body.complete();
    assert!(poll(&mut reader) == Poll::Ready(Next::End) && body.whole().is_none());
}

#[test]
fn byte_by_byte_costs_hardly_more_than_at_once() {
    let budget = account();
    let body = Body::new(&budget);
    let mut reader = Reader::new(&body).unwrap();
    let mut got = Vec::new();
    for number in 0..100_000u32 {
        append(&body, &[number.to_le_bytes()[0]]);
        if number % 100 == 0 {
            got.extend(drain(&mut reader).0);
        }
    }
    body.complete();
    got.extend(drain(&mut reader).0);
    assert!(got.len() == 100_000 && body.matches(0, &got));
    assert_eq!(body.whole().unwrap().len(), 2);
    assert!(budget.held() < 112_500, "{}", budget.held());
}
