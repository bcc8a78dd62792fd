//! Every metric name of this crate, and what it means. [`crate::face::prometheus`] fills most of
//! them with what the workers count.

pub mod haproxy;

use metrics::{describe_counter, describe_gauge};

/// Observations about servers that the roster had no room for.
pub const OBSERVATIONS_DROPPED: &str = "shoal_balancer_observations_dropped_total";
/// Probes of late servers that stayed unanswered.
pub const PROBES_UNANSWERED: &str = "shoal_balancer_probes_unanswered_total";
/// Access records that found no room in the queue, or could not be written.
pub const RECORDS_DROPPED: &str = "shoal_balancer_access_records_dropped_total";
/// Copies of access records handed to the kernel, by where they go (`to`).
pub const COPIES_SENT: &str = "shoal_balancer_log_target_records_total";
/// Copies of access records that found no room in the queue, or could not be sent, by `to`.
pub const COPIES_DROPPED: &str = "shoal_balancer_log_target_records_dropped_total";
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
/// Requests that were not served because their client has its share, or because they are too large,
/// by `frontend`.
pub const LIMITED: &str = "shoal_balancer_requests_limited_total";
/// Tunnels established, by `frontend`.
pub const TUNNELS: &str = "shoal_balancer_tunnels_total";
/// Tunnels that a server's death cut, by `frontend`.
pub const CUT_TUNNELS: &str = "shoal_balancer_tunnels_cut_total";
/// Responses that a server's death cut after their first byte, by `frontend`.
pub const CUT_RESPONSES: &str = "shoal_balancer_responses_cut_total";
/// Client connections that speak HTTP/2, by `frontend`.
pub const HTTP2_CONNECTIONS: &str = "shoal_balancer_http2_connections_total";
/// Streams that clients have opened, by `frontend`: requests and tunnels, refused ones included.
pub const HTTP2_STREAMS: &str = "shoal_balancer_http2_streams_total";
/// Streams that clients have reset, by `frontend`.
pub const HTTP2_RESETS: &str = "shoal_balancer_http2_streams_reset_total";
/// Connections ended because their clients reset streams or sent frames without need, by
/// `frontend`.
pub const HTTP2_FLOODS: &str = "shoal_balancer_http2_floods_total";
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
/// How often the server went out of turn because it did worse than the others, by `backend` and
/// `server`.
pub const SERVER_OUTLIERS: &str = "shoal_balancer_server_outlier_ejections_total";
/// Clients' connections that were closed because their client has its share, by `what`: `refused`
/// when they came, `idle` for newer ones, `unfinished` with half a request, `too_fast` after
/// others, `unread` with an answer that the client did not take; `no_room`: all clients have
/// theirs.
pub const CROWDED: &str = "shoal_balancer_client_connections_closed_total";
/// Answers by `frontend` and status `class` (1xx to 5xx; none: the client got no answer).
pub const ANSWERS: &str = "shoal_balancer_answers_total";
/// From the head of a request to the end of its answer, by `frontend`; tunnels not counted.
pub const DURATION: &str = "shoal_balancer_request_duration_seconds";
/// Answers of a server by `backend`, `server` and status `class`.
pub const SERVER_ANSWERS: &str = "shoal_balancer_server_answers_total";
/// From sending a request to the head of its answer, by `backend` and `server`; requests with a
/// body not counted.
pub const SERVER_HEAD: &str = "shoal_balancer_server_head_duration_seconds";
/// Requests that wait for a server with room, by `backend`.
pub const QUEUED: &str = "shoal_balancer_queued_requests";
/// Requests that have waited for a server with room, by `backend`.
pub const QUEUE_WAITED: &str = "shoal_balancer_queue_waited_total";
/// How long they have waited, all together, by `backend`.
pub const QUEUE_SECONDS: &str = "shoal_balancer_queue_wait_seconds_total";
/// Requests answered 503 for want of room, by `backend` and `why`: `full`, as many waited as may;
/// `late`, they had waited for as long as they may.
pub const QUEUE_REFUSED: &str = "shoal_balancer_queue_refused_total";
/// Attempts after the first one of a request, by `backend`.
pub const RETRIES: &str = "shoal_balancer_retries_total";
/// Retries that were not made because too many had been, by `backend`: `retry.budget`.
pub const OVER_BUDGET: &str = "shoal_balancer_retries_over_budget_total";
/// Second servers that were asked while the first was silent, by `backend`.
pub const HEDGES: &str = "shoal_balancer_hedges_total";
/// Those of them that answered first, by `backend`.
pub const HEDGES_WON: &str = "shoal_balancer_hedges_won_total";
/// 1 while losses are not believed, by `backend`.
pub const PANIC: &str = "shoal_balancer_panic";

/// When the first certificate that a frontend shows ends, in seconds since 1970, by `frontend`.
pub const CERTIFICATE_ENDS: &str = "shoal_balancer_certificate_ends_timestamp_seconds";
/// 1 while the certificates in a frontend's files cannot be used, and the ones before are shown on,
/// by `frontend`.
pub const CERTIFICATE_UNUSABLE: &str = "shoal_balancer_certificate_unusable";
/// 1 while this balancer holds the addresses, by `instance` of VRRP.
pub const VRRP_MASTER: &str = "shoal_balancer_vrrp_master";
/// 1 while it takes no part, by `instance`; status and log say why.
pub const VRRP_FAULT: &str = "shoal_balancer_vrrp_fault";
/// The priority that it says, by `instance`.
pub const VRRP_PRIORITY: &str = "shoal_balancer_vrrp_priority";
/// How often it took the addresses, by `instance`.
pub const VRRP_BECAME_MASTER: &str = "shoal_balancer_vrrp_became_master_total";
/// Advertisements sent, by `instance`.
pub const VRRP_SENT: &str = "shoal_balancer_vrrp_advertisements_sent_total";
/// Advertisements that could not be sent, by `instance`.
pub const VRRP_UNSENT: &str = "shoal_balancer_vrrp_advertisements_unsent_total";
/// Advertisements of other routers that counted, by `instance`.
pub const VRRP_RECEIVED: &str = "shoal_balancer_vrrp_advertisements_received_total";
/// Advertisements that were not believed, by `instance` and `reason`: ttl, length, version, type,
/// checksum, count, virtual_router_id, interval, authentication, source or peer.
pub const VRRP_DISCARDED: &str = "shoal_balancer_vrrp_advertisements_discarded_total";

/// Says what the metrics mean.
pub fn describe() {
    for (name, help) in [
        (OBSERVATIONS_DROPPED, "Observations about servers that the roster had no room for"),
        (PROBES_UNANSWERED, "Probes of late servers that stayed unanswered"),
        (
            RECORDS_DROPPED,
            "Access records that found no room in the queue, or could not be written",
        ),
        (COPIES_SENT, "Copies of access records sent"),
        (
            COPIES_DROPPED,
            "Copies of access records that found no room in the queue, or could not be sent",
        ),
        (CONNECTIONS, "Client connections accepted"),
        (REQUESTS, "Well-formed requests"),
        (FAILED, "Requests that no server could answer"),
        (REFUSED, "Malformed requests"),
        (LIMITED, "Requests over a limit: answered 429, 503 or 413"),
        (TUNNELS, "Tunnels established"),
        (CUT_TUNNELS, "Tunnels that a server's death cut"),
        (CUT_RESPONSES, "Responses that a server's death cut after their first byte"),
        (HTTP2_CONNECTIONS, "Client connections that speak HTTP/2"),
        (HTTP2_STREAMS, "Streams that clients have opened, refused ones included"),
        (HTTP2_RESETS, "Streams that clients have reset"),
        (HTTP2_FLOODS, "Connections ended for resets or frames without need"),
        (SERVER_REQUESTS, "Requests by server"),
        (SERVER_FAILURES, "Attempts that failed through the server's own fault"),
        (SERVER_RETRIES, "Attempts continued on another server"),
        (SERVER_OPENED, "Connections opened for requests"),
        (SERVER_REUSED, "Requests sent on pooled connections"),
        (
            CROWDED,
            "Connections closed because their client has its share, by what they were: refused, \
             idle, unfinished, too_fast, unread; or all clients have theirs: no_room",
        ),
        (SERVER_EJECTIONS, "How often the server went out of turn"),
        (SERVER_OUTLIERS, "How often it did because it did worse than the others"),
        (RETRIES, "Attempts after the first one of a request"),
        (OVER_BUDGET, "Retries that were not made because too many had been"),
        (HEDGES, "Second servers that were asked while the first was silent"),
        (HEDGES_WON, "Those of them that answered first"),
        (QUEUE_WAITED, "Requests that have waited for a server with room"),
        (QUEUE_REFUSED, "Requests answered 503 for want of room: the queue was full, or they late"),
        (VRRP_BECAME_MASTER, "How often this balancer took the addresses"),
        (VRRP_SENT, "Advertisements sent"),
        (VRRP_UNSENT, "Advertisements that could not be sent"),
        (VRRP_RECEIVED, "Advertisements of other routers that counted"),
        (VRRP_DISCARDED, "Advertisements that were not believed, by reason"),
    ] {
        describe_counter!(name, help);
    }
    for (name, help) in [
        (ACTIVE_CONNECTIONS, "Client connections open now"),
        (SERVER_ACTIVE, "Requests being answered now"),
        (SERVER_USABLE, "1 while the server takes its share"),
        (QUEUED, "Requests that wait for a server with room"),
        (PANIC, "1 while losses are not believed"),
        (CERTIFICATE_ENDS, "When the first certificate that a frontend shows ends"),
        (CERTIFICATE_UNUSABLE, "1 while a frontend's new certificates cannot be used"),
        (VRRP_MASTER, "1 while this balancer holds the addresses"),
        (VRRP_FAULT, "1 while it takes no part"),
        (VRRP_PRIORITY, "The priority that it says"),
    ] {
        describe_gauge!(name, help);
    }
}
