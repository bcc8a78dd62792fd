//! Counters of one node: names and meanings live here only. Handles are registered once; the hot
//! path touches atomics. Statuses and durations are counted by each worker for itself
//! ([`dataplane::answers`]) and written when `/metrics` is asked for.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use cluster::recent::{LastMinute, Traffic};
use dataplane::{
    answers::{Answers, Series, of_workers, write_classes, write_durations},
    count::PerWorker,
    ledger::Carried,
};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// A number that GetStats and /metrics both tell.
#[derive(Debug)]
pub struct Tally {
    value: AtomicU64,
    /// What a process before this one has counted.
    before: AtomicU64,
    exported: Exported,
}

enum Exported {
    Counter(Counter),
    /// With what the value is multiplied.
    Gauge(Gauge, f64),
}

impl std::fmt::Debug for Exported {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Exported")
    }
}

impl Tally {
    fn counter(name: &'static str, meaning: &'static str) -> Self {
        describe_counter!(name, meaning);
        Self {
            value: AtomicU64::new(0),
            before: AtomicU64::new(0),
            exported: Exported::Counter(counter!(name)),
        }
    }

    /// One of seconds is set in milliseconds.
    fn gauge(name: &'static str, meaning: &'static str) -> Self {
        describe_gauge!(name, meaning);
        let scale = if name.ends_with("_seconds") { 0.001 } else { 1.0 };
        Self {
            value: AtomicU64::new(0),
            before: AtomicU64::new(0),
            exported: Exported::Gauge(gauge!(name), scale),
        }
    }

    /// Adds.
    pub fn add(&self, more: u64) {
        self.value.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes away; for gauges.
    pub fn subtract(&self, less: u64) {
        self.value.fetch_sub(less, Ordering::Relaxed);
    }

    /// Sets; for gauges, and for counters that are counted elsewhere.
    pub fn set(&self, value: u64) {
        self.value.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.own() + self.before.load(Ordering::Relaxed)
    }

    /// What this process has counted.
    fn own(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Counters only rise.
    const fn rises(&self) -> bool {
        matches!(self.exported, Exported::Counter(_))
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats in that format
    fn export(&self) {
        match &self.exported {
            Exported::Counter(counter) => counter.absolute(self.get()),
            Exported::Gauge(gauge, scale) => gauge.set(self.get() as f64 * scale),
        }
    }
}

/// What clients got in the last minute: looked at once a second, so that requests only count.
#[derive(Debug)]
pub struct Lately {
    started: Instant,
    minute: Mutex<LastMinute>,
}

impl Lately {
    fn new() -> Self {
        Self { started: relay::clock::now(), minute: Mutex::new(LastMinute::starting(0)) }
    }

    /// The counters now.
    fn look(&self, requests: u64, errors: u64) {
        self.minute.lock().unwrap_or_else(PoisonError::into_inner).look(
            relay::clock::since(self.started).as_secs(),
            requests,
            errors,
        );
    }

    fn until(&self, requests: u64, errors: u64) -> Traffic {
        self.minute.lock().unwrap_or_else(PoisonError::into_inner).until(
            relay::clock::since(self.started).as_secs(),
            requests,
            errors,
        )
    }
}

macro_rules! metrics {
    ($($kind:ident $field:ident = $name:ident $text:literal: $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $text;)*

        /// All of them.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $meaning] pub $field: Tally,)*
            /// The last minute of requests and errors.
            pub lately: Lately,
        }

        impl Metrics {
            /// Registers them with the recorder in force.
            #[must_use]
            pub fn new() -> Self {
                Self { $($field: Tally::$kind($name, $meaning),)* lately: Lately::new() }
            }

            /// Hands the values to the recorder: called once a second, so that a request costs one
            /// atomic each and not two.
            pub fn export(&self) {
                $(self.$field.export();)*
                self.lately.look(self.requests.own(), self.errors.own());
            }

            fn all(&self) -> Vec<(&'static str, &Tally)> {
                vec![$(($name, &self.$field),)*]
            }

            /// What clients got in the last minute.
            #[must_use]
            pub fn last_minute(&self) -> Traffic {
                self.lately.until(self.requests.own(), self.errors.own())
            }
        }
    };
}

metrics! {
    counter requests = REQUESTS "shoal_proxy_requests_total": "Requests from clients, probes and \
        health checks not counted.";
    counter probes = PROBES "shoal_proxy_probes_total": "Requests of the health-checkers for their \
        built-in target, which count nowhere else.";
    counter hits = HITS "shoal_proxy_cache_hits_total": "Requests answered from memory without \
        asking the origin.";
    counter revalidated = REVALIDATED "shoal_proxy_cache_revalidated_total": "Requests answered \
        from memory after the origin said that it is still good.";
    counter misses = MISSES "shoal_proxy_cache_misses_total": "Requests that the cache could have \
        answered and did not.";
    counter collapsed = COLLAPSED "shoal_proxy_cache_collapsed_total": "Requests that waited for \
        the fill of another.";
    gauge owners = OWNERS "shoal_proxy_owners": "Other nodes that own objects; 0 where \
        proxy.cache.owners is off.";
    counter owner_hits = OWNER_HITS "shoal_proxy_owner_hits_total": "Misses that the node which \
        owns the object answered from what it had.";
    counter owner_misses = OWNER_MISSES "shoal_proxy_owner_misses_total": "Misses for which it \
        asked the origin.";
    counter owner_failures = OWNER_FAILURES "shoal_proxy_owner_failures_total": "Misses for which \
        the origin was asked because the owner was silent, gone or full, or would not answer.";
    counter owned = OWNED "shoal_proxy_owned_requests_total": "Requests of other nodes for what \
        this one owns, which count there and nowhere else.";
    gauge icp_open = ICP_OPEN "shoal_proxy_icp_open": "1 while the ICP port is open.";
    counter icp_queries = ICP_QUERIES "shoal_proxy_icp_queries_total": "ICP questions of other \
        caches that were answered.";
    counter icp_hits = ICP_HITS "shoal_proxy_icp_hits_total": "Those of them answered with a hit.";
    counter icp_refused = ICP_REFUSED "shoal_proxy_icp_refused_total": "ICP questions left \
        unanswered: from an address that may not ask, or too many.";
    counter icp_ignored = ICP_IGNORED "shoal_proxy_icp_ignored_total": "Datagrams at the ICP port \
        that are none, or answer nothing that was asked.";
    counter sibling_queries = SIBLING_QUERIES "shoal_proxy_sibling_queries_total": "Misses for \
        which siblings were asked.";
    counter sibling_timeouts = SIBLING_TIMEOUTS "shoal_proxy_sibling_timeouts_total": "Those of \
        them for which a sibling was waited for in vain.";
    counter sibling_hits = SIBLING_HITS "shoal_proxy_sibling_hits_total": "Misses that a sibling \
        answered from what it had.";
    counter sibling_lies = SIBLING_LIES "shoal_proxy_sibling_false_hits_total": "Hits of siblings \
        that had not what they said, or failed.";
    counter stale = STALE "shoal_proxy_cache_stale_total": "Stale responses served: while they are \
        validated, or because the origin could not be asked.";
    counter wrong_digests = WRONG_DIGESTS "shoal_proxy_wrong_digests_total": "Answers that were \
        not kept because they have not the digest that their URL says.";
    counter compression_in = COMPRESSION_IN "shoal_proxy_compression_input_bytes_total": "Bytes of \
        bodies that were compressed.";
    counter compression_out = COMPRESSION_OUT "shoal_proxy_compression_output_bytes_total":
        "Bytes that came of them.";
    counter compression_skipped = COMPRESSION_SKIPPED "shoal_proxy_compression_skipped_total":
        "Answers sent as they are because enough was compressed at that moment.";
    counter denied = DENIED "shoal_proxy_denied_total": "Requests refused by a rule or by the \
        egress policy.";
    counter errors = ERRORS "shoal_proxy_errors_total": "Requests answered with an error of the \
        proxy's own, denials not counted.";
    counter tunnels = TUNNELS "shoal_proxy_tunnels_total": "Tunnels opened.";
    gauge active_tunnels = ACTIVE_TUNNELS "shoal_proxy_active_tunnels": "Tunnels open now.";
    gauge active_connections = ACTIVE_CONNECTIONS "shoal_proxy_active_connections":
        "Connections from clients and balancers open now.";
    counter crowded_refused = CROWDED_REFUSED "shoal_proxy_client_connections_refused_total":
        "Connections closed as they came because their client has its share.";
    counter crowded_idle = CROWDED_IDLE "shoal_proxy_client_connections_displaced_total":
        "Idle connections closed for newer ones of a client that has its share.";
    counter crowded_unfinished = CROWDED_UNFINISHED "shoal_proxy_client_unfinished_closed_total":
        "Connections with half a request closed because their client has its share.";
    counter relay_refused = RELAY_REFUSED "shoal_proxy_relay_refused_total": "Connections to the \
        relay listener without a valid token.";
    counter wrong_proofs = WRONG_PROOFS "shoal_proxy_relay_wrong_proofs_total":
        "Those of them whose proof was made with another cluster key, or for another node.";
    counter crowded_too_fast = CROWDED_TOO_FAST "shoal_proxy_client_connections_too_fast_total":
        "Connections closed as they came because their client opens them too fast.";
    counter crowded_no_room = CROWDED_NO_ROOM "shoal_proxy_client_connections_no_room_total":
        "Connections closed as they came because all clients together have theirs.";
    counter crowded_unread = CROWDED_UNREAD "shoal_proxy_client_unread_closed_total":
        "Connections closed because their client does not take answers on too many.";
    counter purges = PURGES "shoal_proxy_cache_purges_total": "Purges done in this node's cache.";
    counter purged = PURGED "shoal_proxy_cache_purged_total": "Objects in memory that purges \
        removed or marked.";
    gauge purges_followed = PURGES_FOLLOWED "shoal_proxy_cache_purges_followed": "1 while this \
        node hears of purges from the registry.";
    gauge purges_confirmed = PURGES_CONFIRMED "shoal_proxy_cache_purges_confirmed_seconds": "How \
        long ago the registry confirmed that this node has heard of every purge.";
    counter limited = LIMITED "shoal_proxy_requests_limited_total":
        "Requests over a limit of their client: answered 429, 503 or 413.";
    counter bytes_to_clients = BYTES_TO_CLIENTS "shoal_proxy_client_sent_bytes_total":
        "Bytes sent to clients, tunnels included.";
    counter bytes_from_origins = BYTES_FROM_ORIGINS "shoal_proxy_upstream_received_bytes_total":
        "Bytes received from origins and parents, tunnels included.";
    counter upstream_connections = UPSTREAM_CONNECTIONS "shoal_proxy_upstream_connections_total":
        "Connections opened to origins and parents.";
    counter upstream_reused = UPSTREAM_REUSED "shoal_proxy_upstream_reused_total":
        "Requests sent on a pooled connection.";
    gauge dead_parents = DEAD_PARENTS "shoal_proxy_dead_parents": "Parent proxies that do not \
        answer, and are passed over while another one does.";
    gauge cache_objects = CACHE_OBJECTS "shoal_proxy_cache_objects": "Objects in memory.";
    gauge cache_bytes = CACHE_BYTES "shoal_proxy_cache_bytes": "Bytes that the objects in memory \
        count for.";
    gauge cache_capacity = CACHE_CAPACITY "shoal_proxy_cache_capacity_bytes": "Bytes that they may \
        count for.";
    gauge cache_in_flight = CACHE_IN_FLIGHT "shoal_proxy_cache_in_flight_bytes":
        "Bytes of bodies that are being filled, or are held by nobody but those who still read \
        them.";
    gauge disk_usable = DISK_USABLE "shoal_proxy_disk_usable": "1 while the disk cache serves; 0 \
        while it is loaded, is left alone because it fails, or is not configured.";
    gauge disk_objects = DISK_OBJECTS "shoal_proxy_disk_objects": "Objects on the disk.";
    gauge disk_bytes = DISK_BYTES "shoal_proxy_disk_bytes": "Bytes of the files that they are in.";
    gauge disk_capacity = DISK_CAPACITY "shoal_proxy_disk_capacity_bytes": "Bytes that these may \
        have.";
    gauge disk_index = DISK_INDEX "shoal_proxy_disk_index_bytes": "Bytes of memory that say where \
        on the disk what is.";
    gauge disk_load = DISK_LOAD "shoal_proxy_disk_load_seconds": "How long it took to find \
        out what is on the disk, when the node started.";
    counter disk_hits = DISK_HITS "shoal_proxy_disk_hits_total": "Objects read from the disk for a \
        request.";
    counter disk_written = DISK_WRITTEN "shoal_proxy_disk_written_total": "Objects written to the \
        disk.";
    counter disk_rescued = DISK_RESCUED "shoal_proxy_disk_rescued_total": "Objects written to it \
        again because they were used, before their segment went.";
    counter disk_declined = DISK_DECLINED "shoal_proxy_disk_declined_total": "Objects not written \
        because nobody had asked for them before and the disk is full.";
    counter disk_queue_full = DISK_QUEUE_FULL "shoal_proxy_disk_queue_full_total": "Reads and \
        writes left out because too many were waiting.";
    counter disk_late = DISK_LATE "shoal_proxy_disk_late_total": "Reads that were not waited for \
        any longer: the origin was asked.";
    counter disk_corrupt = DISK_CORRUPT "shoal_proxy_disk_corrupt_total": "Objects whose sums were \
        not right: the origin was asked.";
    counter disk_errors = DISK_ERRORS "shoal_proxy_disk_errors_total": "Reads and writes that the \
        disk failed.";
    gauge working = WORKING "shoal_proxy_working_bytes": "Bytes that requests count for which the \
        cache does not answer, while they are under way.";
    counter log_dropped = LOG_DROPPED "shoal_proxy_access_records_dropped_total":
        "Access records dropped because the log could not keep up.";
    gauge log_copies_sent = LOG_COPIES_SENT "shoal_proxy_log_target_records": "Copies of access \
        records sent to the log targets that there are now.";
    gauge log_copies_dropped = LOG_COPIES_DROPPED "shoal_proxy_log_target_records_dropped":
        "Copies for them that found no room in the queue, or could not be sent.";
}

/// Answers to clients by status `class` (1xx to 5xx; none: the client got no answer).
pub const ANSWERS: &str = "shoal_proxy_answers_total";
/// From the head of a request to the end of its answer; tunnels not counted.
pub const DURATION: &str = "shoal_proxy_request_duration_seconds";

/// Writes what only `/metrics` tells: statuses and durations.
pub fn write(answers: &PerWorker<Answers>, out: &mut String) {
    let series: [Series<'_>; 1] = [(String::new(), of_workers(answers, |it| it))];
    write_classes(out, ANSWERS, "Answers by status class; none: the client got no answer", &series);
    write_durations(
        out,
        DURATION,
        "From the head of a request to the end of its answer, tunnels not counted",
        &series,
    );
}

impl Carried for Metrics {
    fn totals(&self) -> BTreeMap<String, u64> {
        let rising = self.all().into_iter().filter(|(_, it)| it.rises());
        rising.map(|(name, it)| (name.to_owned(), it.get())).collect()
    }

    fn add(&self, more: &BTreeMap<String, u64>) {
        for (name, tally) in self.all().into_iter().filter(|(_, it)| it.rises()) {
            let more = more.get(name).copied().unwrap_or(0);
            tally.before.fetch_add(more, Ordering::Relaxed);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
