//! Every metric name of this crate, and how the counters of the workers become metrics.
//!
//! Workers count in [`crate::stats`]; a task copies the sums into the process's recorder once a second, so that nothing on the data path touches it.

use std::{sync::Arc, time::Duration};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use relay::clients::{Clients, Crowding};

use dataplane::answers::{Series, labels, of_workers, write_classes, write_durations};

use crate::{
    snapshot::Listed,
    standing::Standing,
    stats::{FrontendCounts, FrontendTotals, ServerCounts, ServerTotals},
    view::View,
};

/// Observations about servers that the roster had no room for.
pub const OBSERVATIONS_DROPPED: &str = "shoal_balancer_observations_dropped_total";
/// Probes of late servers that stayed unanswered.
pub const PROBES_UNANSWERED: &str = "shoal_balancer_probes_unanswered_total";
/// Access records that found no room in the queue.
pub const RECORDS_DROPPED: &str = "shoal_balancer_access_records_dropped_total";
/// Client connections accepted, by `frontend`.
pub const CONNECTIONS: &str = "shoal_balancer_connections_total";
/// Client connections open now, by `frontend`.
pub const ACTIVE_CONNECTIONS: &str = "shoal_balancer_connections";
/// Well-formed requests, by `frontend`.
pub const REQUESTS: &str = "shoal_balancer_requests_total";
/// Requests that no server could answer, by `frontend`.
pub const FAILED: &str = "shoal_balancer_requests_failed_total";
/// Malformed requests, by `frontend`.
pub const REFUSED: &str = "shoal_balancer_requests_refused_total";
/// Tunnels established, by `frontend`.
pub const TUNNELS: &str = "shoal_balancer_tunnels_total";
/// Tunnels that a server's death cut, by `frontend`.
pub const CUT_TUNNELS: &str = "shoal_balancer_tunnels_cut_total";
/// Responses that a server's death cut after their first byte, by `frontend`.
pub const CUT_RESPONSES: &str = "shoal_balancer_responses_cut_total";
/// Requests by `backend` and `server`.
pub const SERVER_REQUESTS: &str = "shoal_balancer_server_requests_total";
/// Attempts that failed through the server's own fault, by `backend` and `server`.
pub const SERVER_FAILURES: &str = "shoal_balancer_server_failures_total";
/// Attempts continued on another server, by `backend` and `server`.
pub const SERVER_RETRIES: &str = "shoal_balancer_server_retries_total";
/// Connections opened for requests, by `backend` and `server`.
pub const SERVER_OPENED: &str = "shoal_balancer_server_connections_opened_total";
/// Requests sent on pooled connections, by `backend` and `server`.
pub const SERVER_REUSED: &str = "shoal_balancer_server_connections_reused_total";
/// Requests being answered now, by `backend` and `server`.
pub const SERVER_ACTIVE: &str = "shoal_balancer_server_active_requests";
/// 1 while the server takes its share, by `backend` and `server`.
pub const SERVER_USABLE: &str = "shoal_balancer_server_usable";
/// How often the server went out of turn, by `backend` and `server`.
pub const SERVER_EJECTIONS: &str = "shoal_balancer_server_ejections_total";
/// Clients' connections that were closed because their client has its share, by `what`: `refused` when they came, `idle` for newer ones,
/// `unfinished` with half a request.
pub const CROWDED: &str = "shoal_balancer_client_connections_closed_total";
/// Answers by `frontend` and status `class` (1xx to 5xx; none: the client got no answer).
pub const ANSWERS: &str = "shoal_balancer_answers_total";
/// From the head of a request to the end of its answer, by `frontend`; tunnels not counted.
pub const DURATION: &str = "shoal_balancer_request_duration_seconds";
/// Answers of a server by `backend`, `server` and status `class`.
pub const SERVER_ANSWERS: &str = "shoal_balancer_server_answers_total";
/// From sending a request to the head of its answer, by `backend` and `server`; requests with a body not counted.
pub const SERVER_HEAD: &str = "shoal_balancer_server_head_duration_seconds";
/// 1 while losses are not believed, by `backend`.
pub const PANIC: &str = "shoal_balancer_panic";

/// A client that has its share is named in the log this often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How often sums are copied.
const EVERY: Duration = Duration::from_secs(1);

/// Says what the metrics mean.
pub fn describe() {
    for (name, help) in [
        (OBSERVATIONS_DROPPED, "Observations about servers that the roster had no room for"),
        (PROBES_UNANSWERED, "Probes of late servers that stayed unanswered"),
        (RECORDS_DROPPED, "Access records that found no room in the queue"),
        (CONNECTIONS, "Client connections accepted"),
        (REQUESTS, "Well-formed requests"),
        (FAILED, "Requests that no server could answer"),
        (REFUSED, "Malformed requests"),
        (TUNNELS, "Tunnels established"),
        (CUT_TUNNELS, "Tunnels that a server's death cut"),
        (CUT_RESPONSES, "Responses that a server's death cut after their first byte"),
        (SERVER_REQUESTS, "Requests by server"),
        (SERVER_FAILURES, "Attempts that failed through the server's own fault"),
        (SERVER_RETRIES, "Attempts continued on another server"),
        (SERVER_OPENED, "Connections opened for requests"),
        (SERVER_REUSED, "Requests sent on pooled connections"),
        (CROWDED, "Connections closed because their client has its share, by what they were: refused, idle, unfinished"),
        (SERVER_EJECTIONS, "How often the server went out of turn"),
    ] {
        describe_counter!(name, help);
    }
    for (name, help) in [
        (ACTIVE_CONNECTIONS, "Client connections open now"),
        (SERVER_ACTIVE, "Requests being answered now"),
        (SERVER_USABLE, "1 while the server takes its share"),
        (PANIC, "1 while losses are not believed"),
    ] {
        describe_gauge!(name, help);
    }
}

/// Writes what only `/metrics` tells: statuses and durations.
pub fn write(view: &View, out: &mut String) {
    let frontends = view.frontends();
    let series: Vec<Series<'_>> = frontends
        .iter()
        .map(|(name, counts)| (labels(&[("frontend", name)]), of_workers(counts, |it: &FrontendCounts| &it.answers)))
        .collect();
    write_classes(out, ANSWERS, "Answers by status class; none: the client got no answer", &series);
    write_durations(out, DURATION, "From the head of a request to the end of its answer, tunnels not counted", &series);
    let snapshot = view.snapshot();
    let servers = snapshot.pools.iter().flat_map(|pool| pool.servers.iter().map(move |listed| (&pool.settings.name, &listed.server)));
    let series: Vec<Series<'_>> = servers
        .map(|(backend, server)| {
            let labels = labels(&[("backend", backend), ("server", &server.name)]);
            (labels, of_workers(&server.tally.counts, |it: &ServerCounts| &it.heads))
        })
        .collect();
    write_classes(out, SERVER_ANSWERS, "Answers of a server by status class", &series);
    write_durations(out, SERVER_HEAD, "From sending a request to the head of its answer, requests with a body not counted", &series);
}

/// Copies sums into the recorder for ever.
pub async fn follow(view: Arc<View>, clients: Option<Arc<Clients>>) {
    let mut tick = tokio::time::interval(EVERY);
    let mut told: Option<tokio::time::Instant> = None;
    loop {
        let now = tick.tick().await;
        copy(&view);
        let Some(clients) = &clients else { continue };
        let Crowding { refused, displaced, unfinished } = clients.crowding();
        for (what, value) in [("refused", refused), ("idle", displaced), ("unfinished", unfinished)] {
            counter!(CROWDED, "what" => what).absolute(value);
        }
        if told.is_none_or(|at| now.duration_since(at) >= TELL_EVERY)
            && let Some(report) = clients.take_report()
        {
            tracing::warn!("{report}");
            told = Some(now);
        }
    }
}

fn copy(view: &View) {
    for (name, counts) in view.frontends() {
        let totals = FrontendTotals::of(&counts);
        let set = |metric: &'static str, value| counter!(metric, "frontend" => name.clone()).absolute(value);
        set(CONNECTIONS, totals.connections);
        set(REQUESTS, totals.requests);
        set(FAILED, totals.failed);
        set(REFUSED, totals.refused);
        set(TUNNELS, totals.tunnels);
        set(CUT_TUNNELS, totals.cut_tunnels);
        set(CUT_RESPONSES, totals.cut_responses);
        gauge!(ACTIVE_CONNECTIONS, "frontend" => name.clone()).set(as_float(totals.active_connections));
    }
    for pool in &view.snapshot().pools {
        gauge!(PANIC, "backend" => pool.settings.name.clone()).set(if pool.panic { 1.0 } else { 0.0 });
        pool.servers.iter().for_each(|listed| copy_server(&pool.settings.name, listed));
    }
}

fn copy_server(backend: &str, listed: &Listed) {
    let (tally, server) = (&listed.server.tally, &listed.server.name);
    let totals = ServerTotals::of(&tally.counts);
    let set = |metric: &'static str, value| counter!(metric, "backend" => backend.to_owned(), "server" => server.clone()).absolute(value);
    set(SERVER_REQUESTS, totals.requests);
    set(SERVER_FAILURES, totals.failures);
    set(SERVER_RETRIES, totals.retries_away);
    set(SERVER_OPENED, totals.connections_opened);
    set(SERVER_REUSED, totals.connections_reused);
    set(SERVER_EJECTIONS, tally.checks.totals().ejections);
    let gauge = |metric: &'static str, value| gauge!(metric, "backend" => backend.to_owned(), "server" => server.clone()).set(value);
    gauge(SERVER_ACTIVE, as_float(totals.active_requests));
    gauge(SERVER_USABLE, if listed.judgement.standing == Standing::Usable { 1.0 } else { 0.0 });
}

/// Gauges are floats; what is counted here stays far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
const fn as_float(count: u64) -> f64 {
    count as f64
}
