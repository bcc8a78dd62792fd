//! Whole exchanges between scripted peers, well-behaved and not, over everything that can carry
//! them.

use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Deadlines, Error, Exchange, Phase, REPLAY_LIMIT, Side, Upload};
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::head::{Limits, RequestHead, ResponseHead};
use crate::media::{Medium, from_client, over_every_medium, to_server};
use crate::stream::{Io, Patience, Stream};
use crate::wheel::Kind;
use crate::worker::block_on;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);
const PATIENCE: Patience = Patience { idle_kind: Kind::Idle, idle: LONG, head: LONG };

fn patient() -> Deadlines {
    Deadlines { late: LONG, first_byte: LONG, head: LONG, body: LONG, write: LONG, hold: LONG }
}

/// Both connections, each with its far end in the test's hands.
struct Scene {
    client: Stream,
    upstream: Stream,
    browser: Io,
    server: Io,
}

fn with_scene<F: Future<Output = ()>>(medium: Medium, body: impl FnOnce(Scene) -> F) {
    block_on(|worker| async move {
        let (client, browser) = from_client(&worker, medium).await;
        let (upstream, server) = to_server(&worker, medium).await;
        tokio::time::timeout(2 * LONG, body(Scene { client, upstream, browser, server }))
            .await
            .expect("the exchange hangs");
    });
}

/// What came of an exchange, with the connections for what follows.
struct Outcome {
    result: Result<bool, Error>,
    client: Stream,
    upstream: Stream,
    upload: Upload,
}

/// One exchange as a balancer runs it, heads unchanged.
async fn relay(mut client: Stream, mut upstream: Stream, deadlines: Deadlines) -> Outcome {
    let (mut request, mut response) = (RequestHead::new(), ResponseHead::new());
    let limits = Limits::default();
    let bytes = client.read_request(&mut request, &limits, &PATIENCE).await.unwrap().unwrap();
    let mut upload = Upload::new(request.framing(), request.expects_continue());
    let mut exchange = Exchange::new(&mut client, &mut upstream, &mut upload, &deadlines);
    let result = async {
        exchange.send(&bytes).await?;
        let head = loop {
            let head = exchange.response(&mut response, &limits, pending::<()>).await?;
            if !response.is_interim() {
                break head;
            }
            exchange.interim(&head).await?;
        };
        let framing = response.framing(request.method());
        exchange.finish(&head, framing, framing).await.map(|done| done.upload_done)
    }
    .await;
    Outcome { result, client, upstream, upload }
}

/// Runs the relay beside the peers' script.
async fn play<T>(
    client: Stream,
    upstream: Stream,
    deadlines: Deadlines,
    script: impl Future<Output = T>,
) -> (Outcome, T) {
    tokio::join!(relay(client, upstream, deadlines), script)
}

async fn expect(stream: &mut Io, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(expected));
}

over_every_medium! {
    a_client_that_takes_nothing_has_little_waiting_for_it
    an_upstream_that_takes_nothing_has_little_waiting_for_it
    keep_alive_and_pipelined_requests_are_answered_in_order
    every_framing_survives_dripping_peers
    a_response_without_length_ends_with_its_connection_or_in_chunks
    an_upstream_that_goes_is_told_by_how_far_things_had_come
    malformed_responses_are_the_upstreams_fault
    the_body_is_sent_again_while_it_is_small
    a_100_is_relayed_and_ends_the_possibility_of_another_attempt
    an_early_answer_is_relayed_although_the_body_is_not_wanted
    a_half_closed_client_gets_its_answer
    a_client_that_stops_or_leaves_in_its_body_is_the_clients_fault
    a_client_that_resets_while_a_slow_upstream_works_is_noticed
    a_silent_upstream_is_late_then_released_or_timed_out
    an_upstream_owes_nothing_before_it_has_the_whole_request
    a_slow_small_body_is_streamed_when_it_was_held_long_enough
    more_than_was_announced_is_not_relayed_and_spoils_the_connection
    a_long_body_is_handed_on_whole_and_nothing_behind_it
    a_long_body_that_breaks_off_is_cut
    a_long_body_that_stalls_or_is_not_taken_ends_by_its_deadline
    a_preamble_goes_out_with_the_first_write
    a_client_that_leaves_while_it_waits_is_noticed
    a_client_that_resets_while_its_answer_pauses_is_noticed
    a_client_that_has_only_finished_sending_gets_its_answer_whole
    a_peer_that_only_closes_as_a_whole_has_left_when_it_closes
}

const GET: &[u8] = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";

fn keep_alive_and_pipelined_requests_are_answered_in_order(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene.browser.write_all(&[GET, GET, GET].concat()).await.unwrap();
        let (mut client, mut upstream) = (scene.client, scene.upstream);
        for body in ["one", "two", "three"] {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let (outcome, ()) = play(client, upstream, patient(), async {
                expect(&mut scene.server, GET).await;
                scene.server.write_all(answer.as_bytes()).await.unwrap();
                expect(&mut scene.browser, answer.as_bytes()).await;
            })
            .await;
            assert_eq!(outcome.result, Ok(true));
            (client, upstream) = (outcome.client, outcome.upstream);
            assert!(!upstream.looks_dead());
        }
        assert_eq!((client.uses(), upstream.uses()), (3, 3));
    });
}

fn every_framing_survives_dripping_peers(medium: Medium) {
    let long = "x".repeat(70_000);
    let bodies = [
        "Content-Length: 5\r\n\r\nhello".to_owned(),
        format!("Content-Length: {}\r\n\r\n{long}", long.len()),
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: t\r\n\r\n"
            .to_owned(),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len()),
    ];
    for body in bodies {
        let request = format!("POST http://a/ HTTP/1.1\r\nHost: a\r\n{body}");
        let response = format!("HTTP/1.1 200 OK\r\n{body}");
        let drip = request.len().div_ceil(300);
        with_scene(medium, |mut scene| async move {
            let (mut outcome, ()) = play(scene.client, scene.upstream, patient(), async {
                let (mut browser_in, mut browser_out) = tokio::io::split(&mut scene.browser);
                let (mut server_in, mut server_out) = tokio::io::split(&mut scene.server);
                let speak = async {
                    for piece in request.as_bytes().chunks(drip) {
                        browser_out.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                };
                let answer = async {
                    let mut read = vec![0; request.len()];
                    server_in.read_exact(&mut read).await.unwrap();
                    assert!(read == request.as_bytes());
                    for piece in response.as_bytes().chunks(drip) {
                        server_out.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                };
                let listen = async {
                    let mut read = vec![0; response.len()];
                    browser_in.read_exact(&mut read).await.unwrap();
                    assert!(read == response.as_bytes());
                };
                tokio::join!(speak, answer, listen);
            })
            .await;
            assert_eq!(outcome.result, Ok(true));
            assert!(!outcome.upstream.looks_dead() && !outcome.client.looks_dead());
        });
    }
}

fn a_response_without_length_ends_with_its_connection_or_in_chunks(medium: Medium) {
    for chunked in [false, true] {
        with_scene(medium, |mut scene| async move {
            let (mut client, mut upstream) = (scene.client, scene.upstream);
            let deadlines = patient();
            let mut upload = Upload::new(BodyFraming::Empty, false);
            let mut exchange = Exchange::new(&mut client, &mut upstream, &mut upload, &deadlines);
            let outgoing = if chunked { BodyFraming::Chunked } else { BodyFraming::UntilClose };
            scene.server.write_all(b"HTTP/1.1 200 OK\r\n\r\nsome").await.unwrap();
            let mut response = ResponseHead::new();
            exchange.send(GET).await.unwrap();
            exchange.response(&mut response, &Limits::default(), pending::<()>).await.unwrap();
            let finish = async {
                exchange.finish(b"HEAD", BodyFraming::UntilClose, outgoing).await.unwrap()
            };
            let (_, read) = tokio::join!(finish, async {
                expect(
                    &mut scene.browser,
                    if chunked { b"HEAD4\r\nsome\r\n" } else { b"HEADsome" },
                )
                .await;
                scene.server.write_all(b"body").await.unwrap();
                expect(&mut scene.browser, if chunked { b"4\r\nbody\r\n" } else { b"body" }).await;
                scene.server.shutdown().await.unwrap();
                let mut rest = vec![0; if chunked { 5 } else { 0 }];
                scene.browser.read_exact(&mut rest).await.unwrap();
                rest
            });
            assert_eq!(read, if chunked { b"0\r\n\r\n".to_vec() } else { Vec::new() });
        });
    }
}

fn an_upstream_that_goes_is_told_by_how_far_things_had_come(medium: Medium) {
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf";
    let cases = [
        ("", Phase::Written),
        ("HTTP/1.1 20", Phase::Written),
        (short, Phase::Written),
        (long, Phase::ResponseRelayed),
        (chunked, Phase::ResponseRelayed),
    ];
    for (sent, phase) in cases {
        for reset in [false, true] {
            with_scene(medium, |mut scene| async move {
                scene.browser.write_all(GET).await.unwrap();
                let (outcome, ()) = play(scene.client, scene.upstream, patient(), async {
                    expect(&mut scene.server, GET).await;
                    scene.server.write_all(sent.as_bytes()).await.unwrap();
                    if phase == Phase::ResponseRelayed {
                        expect(&mut scene.browser, sent.as_bytes()).await;
                    }
                    if reset {
                        scene.server.reset();
                    }
                })
                .await;
                let failure = outcome.result.unwrap_err();
                assert_eq!((failure.side, failure.phase), (Side::Upstream, phase), "{sent:?}");
                assert_eq!(
                    failure.fault,
                    if reset { Fault::Reset } else { Fault::Closed },
                    "{sent:?}"
                );
                let mut upload = outcome.upload;
                assert!(upload.rewind());
                if phase == Phase::Written {
                    assert!(!scene.browser.has_spoken());
                }
            });
        }
    }
}

fn malformed_responses_are_the_upstreams_fault(medium: Medium) {
    for sent in [
        "HTTP/9.9 200 OK\r\n\r\n",
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        with_scene(medium, |mut scene| async move {
            scene.browser.write_all(GET).await.unwrap();
            scene.server.write_all(sent.as_bytes()).await.unwrap();
            let failure = relay(scene.client, scene.upstream, patient()).await.result.unwrap_err();
            assert_eq!((failure.side, failure.phase), (Side::Upstream, Phase::Written));
            assert!(matches!(failure.fault, Fault::Malformed(_)), "{sent:?} {failure}");
        });
    }
}

fn the_body_is_sent_again_while_it_is_small(medium: Medium) {
    for (length, replayable) in
        [(10, true), (REPLAY_LIMIT, true), (REPLAY_LIMIT + 1, false), (1 << 20, false)]
    {
        with_scene(medium, |mut scene| async move {
            let body = vec![b'b'; length];
            let head =
                format!("PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            let message = [head.as_bytes(), &body].concat();
            let worker = scene.client.worker().clone();
            let (outcome, ()) = play(scene.client, scene.upstream, patient(), async {
                let (sent, ()) = tokio::join!(
                    scene.browser.write_all(&message),
                    expect(&mut scene.server, &message)
                );
                sent.unwrap();
                drop(scene.server);
            })
            .await;
            assert!(matches!(
                outcome.result,
                Err(Error { side: Side::Upstream, phase: Phase::Written, .. })
            ));
            let (mut client, mut upload) = (outcome.client, outcome.upload);
            assert_eq!(upload.rewind(), replayable, "{length}");
            if !replayable {
                return;
            }
            let (mut upstream, mut server) = to_server(&worker, medium).await;
            let deadlines = patient();
            let mut exchange = Exchange::new(&mut client, &mut upstream, &mut upload, &deadlines);
            let mut response = ResponseHead::new();
            let again = async {
                exchange.send(head.as_bytes()).await.unwrap();
                exchange.response(&mut response, &Limits::default(), pending::<()>).await.unwrap();
            };
            tokio::join!(again, async {
                expect(&mut server, &message).await;
                server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            });
            assert!(upload.is_done());
        });
    }
}

fn a_100_is_relayed_and_ends_the_possibility_of_another_attempt(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        let head = b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: \
            4\r\n\r\n";
        scene.browser.write_all(head).await.unwrap();
        // A client that waits for the 100 owes nothing, however short the deadline for bodies is.
        let deadlines = Deadlines { body: Duration::ZERO, ..patient() };
        let (outcome, ()) = play(scene.client, scene.upstream, deadlines, async {
            expect(&mut scene.server, head).await;
            tokio::time::sleep(SHORT).await;
            scene.server.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            expect(&mut scene.browser, b"HTTP/1.1 100 Continue\r\n\r\n").await;
            scene.browser.write_all(b"body").await.unwrap();
            expect(&mut scene.server, b"body").await;
            drop(scene.server);
        })
        .await;
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.phase, Phase::ResponseRelayed, "{failure}");
    });
}

fn an_early_answer_is_relayed_although_the_body_is_not_wanted(medium: Medium) {
    for reset in [false, true] {
        with_scene(medium, |mut scene| async move {
            let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
            scene
                .browser
                .write_all(
                    b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nfirst",
                )
                .await
                .unwrap();
            let (outcome, ()) = play(scene.client, scene.upstream, patient(), async {
                let mut part = [0; 60];
                scene.server.read_exact(&mut part).await.unwrap();
                scene.server.write_all(answer).await.unwrap();
                if reset {
                    scene.server.shutdown().await.unwrap();
                }
                expect(&mut scene.browser, answer).await;
            })
            .await;
            assert_eq!(outcome.result, Ok(false));
            // The client is still sending; it gets the answer all the same, and an end.
            let (_, ()) = tokio::join!(outcome.client.close(1 << 20, LONG), async {
                scene.browser.write_all(&[0; 1000]).await.unwrap();
                assert_eq!(scene.browser.read(&mut [0]).await.unwrap(), 0);
                drop(scene.browser);
            });
        });
    }
}

fn a_half_closed_client_gets_its_answer(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene.browser.write_all(GET).await.unwrap();
        scene.browser.shutdown().await.unwrap();
        let deadlines = Deadlines { late: SHORT, ..patient() };
        let (outcome, ()) = play(scene.client, scene.upstream, deadlines, async {
            expect(&mut scene.server, GET).await;
            tokio::time::sleep(2 * SHORT).await;
            scene.server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            expect(&mut scene.browser, b"HTTP/1.1 204 No Content\r\n\r\n").await;
        })
        .await;
        assert_eq!(outcome.result, Ok(true));
    });
}

fn a_client_that_stops_or_leaves_in_its_body_is_the_clients_fault(medium: Medium) {
    for (deadline, leaves, fault) in
        [(LONG, true, Fault::Closed), (SHORT, false, Fault::Timeout(Kind::Body))]
    {
        with_scene(medium, |mut scene| async move {
            scene
                .browser
                .write_all(b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
                .await
                .unwrap();
            if leaves {
                scene.browser.shutdown().await.unwrap();
            }
            let _server = scene.server;
            let outcome =
                relay(scene.client, scene.upstream, Deadlines { body: deadline, ..patient() })
                    .await;
            assert_eq!(
                outcome.result,
                Err(Error { side: Side::Client, fault, phase: Phase::Written })
            );
        });
    }
}

fn a_client_that_resets_while_a_slow_upstream_works_is_noticed(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene.browser.write_all(GET).await.unwrap();
        let deadlines = Deadlines { late: SHORT, ..patient() };
        let (outcome, ()) = play(scene.client, scene.upstream, deadlines, async {
            expect(&mut scene.server, GET).await;
            scene.browser.reset();
        })
        .await;
        assert_eq!(
            outcome.result,
            Err(Error { side: Side::Client, fault: Fault::Reset, phase: Phase::Written })
        );
    });
}

fn a_silent_upstream_is_late_then_released_or_timed_out(medium: Medium) {
    for release in [true, false] {
        with_scene(medium, |mut scene| async move {
            let (mut client, mut upstream) = (scene.client, scene.upstream);
            let deadlines = Deadlines { late: SHORT, first_byte: 3 * SHORT, ..patient() };
            let mut upload = Upload::new(BodyFraming::Length(4), false);
            scene.browser.write_all(b"body").await.unwrap();
            let told = Rc::new(Cell::new(0));
            let late = || {
                told.set(told.get() + 1);
                async move {
                    match release {
                        true => ready(()).await,
                        false => pending().await,
                    }
                }
            };
            let mut exchange = Exchange::new(&mut client, &mut upstream, &mut upload, &deadlines);
            exchange.send(b"HEAD").await.unwrap();
            let failure = exchange
                .response(&mut ResponseHead::new(), &Limits::default(), late)
                .await
                .unwrap_err();
            let fault = if release { Fault::Released } else { Fault::Timeout(Kind::FirstByte) };
            assert_eq!(failure, Error { side: Side::Upstream, fault, phase: Phase::Written });
            assert_eq!(told.get(), 1);
            assert!(upload.rewind());
            expect(&mut scene.server, b"HEADbody").await;
        });
    }
}

fn an_upstream_owes_nothing_before_it_has_the_whole_request(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene
            .browser
            .write_all(b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha")
            .await
            .unwrap();
        let deadlines =
            Deadlines { late: Duration::ZERO, first_byte: Duration::from_millis(1), ..patient() };
        let (outcome, ()) = play(scene.client, scene.upstream, deadlines, async {
            tokio::time::sleep(2 * SHORT).await;
            scene.server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            expect(&mut scene.browser, b"HTTP/1.1 204 No Content\r\n\r\n").await;
        })
        .await;
        assert_eq!(outcome.result, Ok(false));
    });
}

fn a_slow_small_body_is_streamed_when_it_was_held_long_enough(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene.browser.write_all(GET).await.unwrap();
        let deadlines = Deadlines { hold: SHORT, ..patient() };
        let (outcome, ()) = play(scene.client, scene.upstream, deadlines, async {
            scene
                .server
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
                .await
                .unwrap();
            expect(&mut scene.browser, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").await;
            scene.server.write_all(b"half").await.unwrap();
            expect(&mut scene.browser, b"half").await;
        })
        .await;
        assert_eq!(outcome.result, Ok(true));
    });
}

fn more_than_was_announced_is_not_relayed_and_spoils_the_connection(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene.browser.write_all(GET).await.unwrap();
        scene
            .server
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1 200 OK\r\n\r\n")
            .await
            .unwrap();
        let mut outcome = relay(scene.client, scene.upstream, patient()).await;
        assert_eq!(outcome.result, Ok(true));
        expect(&mut scene.browser, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody").await;
        assert!(outcome.upstream.looks_dead());
    });
}

fn a_long_body_is_handed_on_whole_and_nothing_behind_it(medium: Medium) {
    for (length, excess) in
        [(40_000, ""), (70_000, "HTTP/1.1 200 OK\r\n\r\n"), (3_000_000, ""), (3_000_001, "x")]
    {
        with_scene(medium, |mut scene| async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let answer = [head.as_bytes(), &body, excess.as_bytes()].concat();
            scene.browser.write_all(GET).await.unwrap();
            let (mut outcome, received) = play(scene.client, scene.upstream, patient(), async {
                expect(&mut scene.server, GET).await;
                let send = async {
                    // In two pieces, so that the connection runs dry once.
                    let (first, rest) = answer.split_at(20_000);
                    scene.server.write_all(first).await.unwrap();
                    tokio::task::yield_now().await;
                    scene.server.write_all(rest).await.unwrap();
                };
                let receive = async {
                    let mut received = vec![0; head.len() + length];
                    // A little at a time: the pipe waits for the client.
                    for piece in received.chunks_mut(30_000) {
                        scene.browser.read_exact(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    received
                };
                tokio::join!(send, receive).1
            })
            .await;
            assert_eq!(outcome.result, Ok(true));
            assert!(received[head.len()..] == body, "{length}");
            assert!(!scene.browser.has_spoken());
            // What was sent unasked is never the answer to somebody else's request.
            assert_eq!(outcome.upstream.is_dead(), !excess.is_empty());
            assert_eq!(outcome.client.sent(), (head.len() + length) as u64);
        });
    }
}

fn a_long_body_that_breaks_off_is_cut(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene.browser.write_all(GET).await.unwrap();
        let (outcome, ()) = play(scene.client, scene.upstream, patient(), async {
            expect(&mut scene.server, GET).await;
            let answer =
                [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".as_slice(), &[7; 400_000]]
                    .concat();
            let (sent, ()) = tokio::join!(scene.server.write_all(&answer), async {
                let mut received = vec![0; answer.len()];
                scene.browser.read_exact(&mut received).await.unwrap();
                assert!(received == answer);
            });
            sent.unwrap();
            drop(scene.server);
        })
        .await;
        let failure = outcome.result.unwrap_err();
        assert_eq!(
            (failure.side, failure.fault, failure.phase),
            (Side::Upstream, Fault::Closed, Phase::ResponseRelayed)
        );
    });
}

fn a_long_body_that_stalls_or_is_not_taken_ends_by_its_deadline(medium: Medium) {
    for (deadlines, side, kind) in [
        (Deadlines { body: SHORT, ..patient() }, Side::Upstream, Kind::Body),
        (Deadlines { write: SHORT, ..patient() }, Side::Client, Kind::Write),
    ] {
        with_scene(medium, |mut scene| async move {
            scene.browser.write_all(GET).await.unwrap();
            let stalls = side == Side::Upstream;
            let script = async {
                expect(&mut scene.server, GET).await;
                let body = vec![7; if stalls { 400_000 } else { 60_000_000 }];
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n".as_slice();
                scene.server.write_all(head).await.unwrap();
                let receive = async {
                    let mut received = vec![0; head.len() + if stalls { body.len() } else { 1 }];
                    scene.browser.read_exact(&mut received).await.unwrap();
                };
                // Whoever takes nothing lets the other one wait for ever: only the relay's deadline
                // ends that.
                tokio::join!(async { drop(scene.server.write_all(&body).await) }, receive);
                pending::<()>().await;
            };
            let outcome = tokio::select! {
                outcome = relay(scene.client, scene.upstream, deadlines) => outcome,
                () = script => unreachable!("it never ends"),
            };
            let failure = outcome.result.unwrap_err();
            assert_eq!((failure.side, failure.fault), (side, Fault::Timeout(kind)));
        });
    }
}

/// So much of a stream may wait in the kernel for a peer that takes nothing: what is bounded, and
/// what such a peer's own buffer takes.
const WAITING: u64 = 1024 * 1024;

fn a_client_that_takes_nothing_has_little_waiting_for_it(medium: Medium) {
    for head in [
        "Content-Length: 60000000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3938700\r\n",
        "\r\n",
    ] {
        with_scene(medium, |mut scene| async move {
            scene.browser.write_all(GET).await.unwrap();
            let script = async {
                expect(&mut scene.server, GET).await;
                scene
                    .server
                    .write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes())
                    .await
                    .unwrap();
                drop(scene.server.write_all(&vec![7; 60_000_000]).await);
                pending::<()>().await;
            };
            let deadlines = Deadlines { write: SHORT, ..patient() };
            let outcome = tokio::select! {
                outcome = relay(scene.client, scene.upstream, deadlines) => outcome,
                () = script => unreachable!("it never ends"),
            };
            assert_eq!(outcome.result.unwrap_err().fault, Fault::Timeout(Kind::Write));
            assert!(
                outcome.client.sent() < WAITING,
                "{head}: {} bytes wait",
                outcome.client.sent()
            );
        });
    }
}

fn an_upstream_that_takes_nothing_has_little_waiting_for_it(medium: Medium) {
    for (head, chunk) in [
        ("Content-Length: 60000000\r\n\r\n", ""),
        ("Transfer-Encoding: chunked\r\n\r\n", "3938700\r\n"),
    ] {
        with_scene(medium, |mut scene| async move {
            let script = async {
                scene
                    .browser
                    .write_all(
                        format!("POST http://a/ HTTP/1.1\r\nHost: a\r\n{head}{chunk}").as_bytes(),
                    )
                    .await
                    .unwrap();
                drop(scene.browser.write_all(&vec![7; 60_000_000]).await);
                pending::<()>().await;
                drop(scene.server);
            };
            let deadlines = Deadlines { write: SHORT, first_byte: SHORT, ..patient() };
            let outcome = tokio::select! {
                outcome = relay(scene.client, scene.upstream, deadlines) => outcome,
                () = script => unreachable!("it never ends"),
            };
            assert_eq!(outcome.result.unwrap_err().side, Side::Upstream);
            assert!(
                outcome.upstream.sent() < WAITING,
                "{head}: {} bytes wait",
                outcome.upstream.sent()
            );
        });
    }
}

fn a_preamble_goes_out_with_the_first_write(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene.upstream.set_preamble(bytes::Bytes::from_static(b"PROXY "));
        scene.browser.write_all(GET).await.unwrap();
        let (outcome, ()) = play(scene.client, scene.upstream, patient(), async {
            expect(&mut scene.server, &[b"PROXY ", GET].concat()).await;
            scene.server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        })
        .await;
        assert_eq!(outcome.result, Ok(true));
        assert_eq!(outcome.upstream.sent(), 6 + GET.len() as u64);
    });
}

/// How a client that waits for its answer goes away, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Reset,
    Close,
    HalfClose,
}

impl Leaves {
    async fn now(self, mut browser: Io) -> Option<Io> {
        match self {
            Self::Reset => browser.reset(),
            Self::Close => {}
            Self::HalfClose => {
                browser.shutdown().await.unwrap();
                return Some(browser);
            }
        }
        None
    }
}

fn a_client_that_leaves_while_it_waits_is_noticed(medium: Medium) {
    // With and without a part of the head being there.
    for begun in ["", "HTTP/1.1 200 OK\r\nConte"] {
        for leaves in [Leaves::Reset, Leaves::Close] {
            with_scene(medium, |mut scene| async move {
                scene.browser.write_all(GET).await.unwrap();
                let browser = scene.browser;
                let (outcome, _) = play(scene.client, scene.upstream, patient(), async {
                    expect(&mut scene.server, GET).await;
                    scene.server.write_all(begun.as_bytes()).await.unwrap();
                    leaves.now(browser).await
                })
                .await;
                let failure = outcome.result.unwrap_err();
                assert_eq!(
                    (failure.side, failure.phase),
                    (Side::Client, Phase::Written),
                    "{leaves:?} {begun:?}"
                );
            });
        }
    }
}

fn a_client_that_resets_while_its_answer_pauses_is_noticed(medium: Medium) {
    for length in [30, 3_000_000] {
        with_scene(medium, |mut scene| async move {
            scene.browser.write_all(GET).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nbegun");
            let deadlines = Deadlines { hold: SHORT, ..patient() };
            let mut browser = scene.browser;
            let (outcome, _) = play(scene.client, scene.upstream, deadlines, async {
                expect(&mut scene.server, GET).await;
                scene.server.write_all(head.as_bytes()).await.unwrap();
                expect(&mut browser, head.as_bytes()).await;
                Leaves::Reset.now(browser).await
            })
            .await;
            assert_eq!(outcome.result.unwrap_err().side, Side::Client, "{length}");
        });
    }
}

fn a_client_that_has_only_finished_sending_gets_its_answer_whole(medium: Medium) {
    for interim in ["", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] {
        with_scene(medium, |mut scene| async move {
            scene.browser.write_all(GET).await.unwrap();
            let browser = Leaves::HalfClose.now(scene.browser).await.unwrap();
            let answer = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
            let (outcome, ()) = play(scene.client, scene.upstream, patient(), async {
                let mut browser = browser;
                expect(&mut scene.server, GET).await;
                // The relay has asked twice whether it is there.
                expect(&mut browser, b"HT").await;
                scene.server.write_all(answer.as_bytes()).await.unwrap();
                expect(&mut browser, &answer.as_bytes()[2..]).await;
            })
            .await;
            assert_eq!(outcome.result, Ok(true));
            assert_eq!(outcome.client.sent(), answer.len() as u64);
        });
    }
}

fn a_peer_that_only_closes_as_a_whole_has_left_when_it_closes(medium: Medium) {
    with_scene(medium, |mut scene| async move {
        scene.client.set_whole();
        scene.browser.write_all(GET).await.unwrap();
        let browser = scene.browser;
        let (outcome, browser) = play(scene.client, scene.upstream, patient(), async {
            expect(&mut scene.server, GET).await;
            Leaves::HalfClose.now(browser).await
        })
        .await;
        assert_eq!(outcome.result.unwrap_err().side, Side::Client);
        drop((browser, outcome.client));
    });
}

#[test]
fn an_answer_up_to_the_end_of_tls_is_whole_if_that_was_announced() {
    for announced in [true, false] {
        with_scene(Medium::Tls, |mut scene| async move {
            let (mut client, mut upstream) = (scene.client, scene.upstream);
            let deadlines = patient();
            let mut upload = Upload::new(BodyFraming::Empty, false);
            let mut exchange = Exchange::new(&mut client, &mut upstream, &mut upload, &deadlines);
            scene.server.write_all(b"HTTP/1.1 200 OK\r\n\r\nbody").await.unwrap();
            if announced {
                scene.server.shutdown().await.unwrap();
            }
            drop(scene.server);
            exchange.send(GET).await.ok();
            exchange
                .response(&mut ResponseHead::new(), &Limits::default(), pending::<()>)
                .await
                .unwrap();
            let finished =
                exchange.finish(b"HEAD", BodyFraming::UntilClose, BodyFraming::UntilClose).await;
            expect(&mut scene.browser, b"HEADbody").await;
            match announced {
                true => assert!(finished.is_ok()),
                false => {
                    let failure = finished.unwrap_err();
                    assert_eq!(
                        (failure.side, failure.fault, failure.phase),
                        (Side::Upstream, Fault::Closed, Phase::ResponseRelayed)
                    );
                }
            }
        });
    }
}
