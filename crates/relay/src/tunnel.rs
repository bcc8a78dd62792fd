//! A tunnel: bytes both ways between two connections until both have said that they are done.
//!
//! Little at a time is copied through a worker's read buffer (two system calls); a stream of bytes
//! goes through a pipe with splice(2) and never enters this process. Pipes belong to the worker and
//! are held only while bytes are moving, so an idle tunnel costs two connections and nothing else.

mod flow;
mod frame;
mod pipe;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

pub(crate) use pipe::Pipe;
pub use pipe::Pipes;

use self::flow::Flow;
use crate::fault::Fault;
use crate::stream::Stream;
use crate::wheel::{Kind, Timer};

/// How long a tunnel lives without traffic, and what carries it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Without a byte in either direction for this time, the tunnel ends.
    pub idle: Duration,
    /// What is in frames.
    pub framed: Framed,
}

/// What a balancer says in Shoal-Tunnel to ask for frames, and a node to agree.
pub const FRAMED: &[u8] = b"framed";

/// Which of the two connections carries the tunnel in frames, so that it is free for another
/// request when the tunnel has [finished](End::Finished).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framed {
    /// Both end with the tunnel.
    #[default]
    Neither,
    /// The first one outlives it.
    A,
    /// The second one outlives it.
    B,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both directions were closed in order.
    Finished,
    /// Nothing moved for the idle time.
    Idle,
    /// The first connection failed.
    A(Fault),
    /// The second connection failed.
    B(Fault),
    /// It was asked to end.
    Stopped,
}

/// What went through a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Bytes from the first connection to the second.
    pub a_to_b: u64,
    /// Bytes from the second connection to the first.
    pub b_to_a: u64,
    /// Why it ended.
    pub end: End,
}

/// Runs a tunnel to its end. What either connection has received already goes first; a direction
/// that ends is closed towards the other side, and the opposite one goes on. When that has ended
/// too, both are to be dropped, which closes it, but for one that carried frames.
pub async fn run(a: &mut Stream, b: &mut Stream, options: &Options) -> Report {
    run_until(a, b, options, std::future::pending()).await
}

/// As [`run`], and ends when `stop` does, whatever is under way.
pub async fn run_until(
    a: &mut Stream,
    b: &mut Stream,
    options: &Options,
    stop: impl Future<Output = ()>,
) -> Report {
    let mut stop = pin!(stop);
    let pipes = a.worker().pipes().clone();
    let timer = Timer::new(a.worker().wheel());
    let (there, back) = (Flow::new(&pipes), Flow::new(&pipes));
    let (mut there, mut back) = match options.framed {
        Framed::Neither => (there, back),
        Framed::A => (there.out_of_frames(), back.into_frames()),
        Framed::B => (there.into_frames(), back.out_of_frames()),
    };
    timer.arm(Kind::Other, options.idle);
    let end = poll_fn(|cx| {
        let before = there.moved() + back.moved();
        let one = there.poll(cx, a, b, back.is_closed());
        let one = one.map_err(|failed| failed.end(End::A, End::B));
        let two = back.poll(cx, b, a, there.is_closed());
        let two = two.map_err(|failed| failed.end(End::B, End::A));
        let finished = match (one, two) {
            (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => return Poll::Ready(end),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => true,
            _ => false,
        };
        if finished {
            return Poll::Ready(End::Finished);
        }
        if there.moved() + back.moved() > before {
            timer.arm(Kind::Other, options.idle);
        }
        if stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Stopped);
        }
        timer.poll(cx).map(|_| End::Idle)
    })
    .await;
    if end == End::Idle {
        there.end_now(b);
        back.end_now(a);
    }
    Report { a_to_b: there.moved(), b_to_a: back.moved(), end }
}

#[cfg(test)]
mod tests;
