//! What is seen, as metrics. Workers count in [`crate::stats`]; a task copies the sums into the
//! process's recorder once a second, so that nothing on the data path touches it.

pub mod haproxy;
mod servers;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use dataplane::answers::{
    Series, labels, of_workers, write_classes, write_durations, write_seconds,
};
use dataplane::ledger::Rising;
use metrics::{counter, gauge};
use relay::clients::{Clients, Closed};

use crate::{
    metrics::{
        ACTIVE_CONNECTIONS, ANSWERS, CERTIFICATE_ENDS, CERTIFICATE_UNUSABLE, CONNECTIONS,
        COPIES_DROPPED, COPIES_SENT, CROWDED, CUT_RESPONSES, CUT_TUNNELS, DURATION, FAILED, HEDGES,
        HEDGES_WON, HTTP2_CONNECTIONS, HTTP2_FLOODS, HTTP2_RESETS, HTTP2_STREAMS, LIMITED,
        OVER_BUDGET, PANIC, QUEUE_REFUSED, QUEUE_SECONDS, QUEUE_WAITED, QUEUED, RECORDS_DROPPED,
        REFUSED, REQUESTS, RETRIES, SERVER_ANSWERS, SERVER_HEAD, TUNNELS,
    },
    snapshot::Pool,
    stats::{FrontendCounts, FrontendTotals, ServerCounts},
    view::View,
};
use servers::Servers;

/// A client that has its share is named in the log this often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How often sums are copied.
const EVERY: Duration = Duration::from_secs(1);

/// Writes what only `/metrics` tells: statuses and durations, and HAProxy's statistics.
pub fn write(view: &View, out: &mut String) {
    let frontends = view.frontends();
    let series: Vec<Series<'_>> = frontends
        .iter()
        .map(|(name, counts)| {
            (labels(&[("frontend", name)]), of_workers(counts, |it: &FrontendCounts| &it.answers))
        })
        .collect();
    write_classes(out, ANSWERS, "Answers by status class; none: the client got no answer", &series);
    write_durations(
        out,
        DURATION,
        "From the head of a request to the end of its answer, tunnels not counted",
        &series,
    );
    let snapshot = view.snapshot();
    let servers = snapshot.pools.iter().flat_map(|pool| {
        pool.servers.iter().map(move |listed| (&pool.settings.name, &listed.server))
    });
    let series: Vec<Series<'_>> = servers
        .map(|(backend, server)| {
            let labels = labels(&[("backend", backend), ("server", &server.name)]);
            (labels, of_workers(&server.tally.counts, |it: &ServerCounts| &it.heads))
        })
        .collect();
    write_classes(out, SERVER_ANSWERS, "Answers of a server by status class", &series);
    write_durations(
        out,
        SERVER_HEAD,
        "From sending a request to the head of its answer, requests with a body not counted",
        &series,
    );
    let waits = snapshot.pools.iter().map(|pool| {
        let labels = labels(&[("backend", &pool.settings.name)]);
        (labels, pool.queue.counts.micros.load(Relaxed))
    });
    let help = "How long requests have waited for a server with room, all together";
    write_seconds(out, QUEUE_SECONDS, help, &waits.collect::<Vec<_>>());
}

/// Copies sums into the recorder for ever.
pub async fn follow(view: Arc<View>, clients: Option<Arc<Clients>>) {
    let mut tick = tokio::time::interval(EVERY);
    let (mut servers, mut rising) = (Servers::default(), Rising::default());
    let mut told: Option<tokio::time::Instant> = None;
    loop {
        let now = tick.tick().await;
        copy(&view, &mut servers, &mut rising);
        let Some(clients) = &clients else { continue };
        clients.set_most(view.snapshot().generation.document.max_connections);
        let Closed { refused, displaced, unfinished, too_fast, no_room, unread } = clients.closed();
        for (what, value) in [
            ("refused", refused),
            ("idle", displaced),
            ("unfinished", unfinished),
            ("too_fast", too_fast),
            ("no_room", no_room),
            ("unread", unread),
        ] {
            counter!(CROWDED, "what" => what).increment(rising.since(what, value));
        }
        if told.is_none_or(|at| now.duration_since(at) >= TELL_EVERY)
            && let Some(report) = clients.take_report()
        {
            tracing::warn!("{report}");
            told = Some(now);
        }
    }
}

fn copy(view: &View, servers: &mut Servers, rising: &mut Rising) {
    let dropped = rising.since("records", view.recorder.dropped());
    counter!(RECORDS_DROPPED).increment(dropped);
    for target in view.recorder.log().targets.current().iter() {
        let to = target.settings().to.to_string();
        let sent = rising.since(&format!("sent to {to}"), target.counts().sent());
        counter!(COPIES_SENT, "to" => to.clone()).increment(sent);
        let dropped = rising.since(&format!("dropped for {to}"), target.counts().dropped());
        counter!(COPIES_DROPPED, "to" => to).increment(dropped);
    }
    for (name, counts) in view.frontends() {
        let totals = FrontendTotals::of(&counts);
        let set = |metric: &'static str, value| {
            counter!(metric, "frontend" => name.clone()).absolute(value)
        };
        set(CONNECTIONS, totals.connections);
        set(REQUESTS, totals.requests);
        set(FAILED, totals.failed);
        set(REFUSED, totals.refused);
        set(HTTP2_CONNECTIONS, totals.http2.connections);
        set(HTTP2_STREAMS, totals.http2.streams);
        set(HTTP2_RESETS, totals.http2.resets);
        set(HTTP2_FLOODS, totals.http2.floods);
        set(LIMITED, totals.limited);
        set(TUNNELS, totals.tunnels);
        set(CUT_TUNNELS, totals.cut_tunnels);
        set(CUT_RESPONSES, totals.cut_responses);
        gauge!(ACTIVE_CONNECTIONS, "frontend" => name.clone())
            .set(as_float(totals.active_connections));
    }
    for (name, report) in view.certificates() {
        let unusable = if report.problem.is_some() { 1.0 } else { 0.0 };
        let ends = u64::try_from(report.expires.as_second()).unwrap_or(0);
        gauge!(CERTIFICATE_ENDS, "frontend" => name.clone()).set(as_float(ends));
        gauge!(CERTIFICATE_UNUSABLE, "frontend" => name).set(unusable);
    }
    for pool in &view.snapshot().pools {
        gauge!(PANIC, "backend" => pool.settings.name.clone()).set(if pool.panic {
            1.0
        } else {
            0.0
        });
        copy_queue(pool);
        copy_retries(pool);
    }
    servers.copy(&view.snapshot().pools);
}

fn copy_queue(pool: &Pool) {
    let (queue, backend) = (&pool.queue, &pool.settings.name);
    let counts = &queue.counts;
    gauge!(QUEUED, "backend" => backend.clone()).set(as_float(queue.waiting() as u64));
    counter!(QUEUE_WAITED, "backend" => backend.clone()).absolute(counts.waited.load(Relaxed));
    for (why, count) in [("full", &counts.full), ("late", &counts.late)] {
        counter!(QUEUE_REFUSED, "backend" => backend.clone(), "why" => why)
            .absolute(count.load(Relaxed));
    }
}

fn copy_retries(pool: &Pool) {
    let Some(listed) = pool.servers.first() else { return };
    let (counts, backend) = (&listed.server.backend, &pool.settings.name);
    for (name, value) in [
        (RETRIES, counts.sum(|it| &it.retries)),
        (OVER_BUDGET, counts.sum(|it| &it.over_budget)),
        (HEDGES, counts.sum(|it| &it.hedges)),
        (HEDGES_WON, counts.sum(|it| &it.hedges_won)),
    ] {
        counter!(name, "backend" => backend.clone()).absolute(value);
    }
}

/// Gauges are floats; what is counted here stays far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
const fn as_float(count: u64) -> f64 {
    count as f64
}
