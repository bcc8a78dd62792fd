//! Metrics by the names of HAProxy's own exporter, so that dashboards made for HAProxy show data.
//! [`crate::face::prometheus::haproxy`] writes them out of HAProxy's statistics. To add one, add a
//! line with its name in HAProxy and the column or the line of `show info` that it is.

/// 1 for the state that a frontend is in, by `proxy` and `state`.
pub const FRONTEND_STATUS: &str = "haproxy_frontend_status";
/// 1 for the state that a backend is in, by `proxy` and `state`.
pub const BACKEND_STATUS: &str = "haproxy_backend_status";
/// 1 for the state that a server is in, by `proxy`, `server` and `state`.
pub const SERVER_STATUS: &str = "haproxy_server_status";
/// 1 for what the checks of a server say, by `proxy`, `server` and `state`.
pub const SERVER_CHECK_STATUS: &str = "haproxy_server_check_status";
/// Servers in each state, by `proxy` and `state`.
pub const BACKEND_SERVER_STATUS: &str = "haproxy_backend_agg_server_status";
/// Answers to clients, by `proxy` and `code` (a class).
pub const FRONTEND_RESPONSES: &str = "haproxy_frontend_http_responses_total";
/// Answers of servers, by `proxy` and `code` (a class).
pub const BACKEND_RESPONSES: &str = "haproxy_backend_http_responses_total";
/// Answers of a server, by `proxy`, `server` and `code` (a class).
pub const SERVER_RESPONSES: &str = "haproxy_server_http_responses_total";
/// Always 1, with the `version`.
pub const BUILD_INFO: &str = "haproxy_process_build_info";

/// What a metric is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    Frontend,
    Backend,
    Server,
}

/// A metric that is a column of HAProxy's statistics.
#[derive(Debug)]
pub struct Metric {
    pub kind: &'static str,
    /// Which one.
    pub column: &'static str,
    /// Of these.
    pub object: Object,
    pub name: &'static str,
    pub help: &'static str,
}

/// A metric that is a line of `show info`.
#[derive(Debug)]
pub struct ProcessMetric {
    pub kind: &'static str,
    /// Which one.
    pub line: &'static str,
    pub name: &'static str,
    pub help: &'static str,
}

macro_rules! columns {
    ($($kind:ident $column:ident = $object:ident $name:literal: $help:literal;)+) => {
        /// In the order in which they are written.
        pub const COLUMNS: &[Metric] = &[$(Metric {
            kind: stringify!($kind),
            column: stringify!($column),
            object: Object::$object,
            name: $name,
            help: $help,
        }),+];
    };
}

macro_rules! process {
    ($($kind:ident $line:ident = Process $name:literal: $help:literal;)+) => {
        /// In the order in which they are written.
        pub const PROCESS: &[ProcessMetric] = &[$(ProcessMetric {
            kind: stringify!($kind),
            line: stringify!($line),
            name: $name,
            help: $help,
        }),+];
    };
}

process! {
    gauge Nbthread = Process "haproxy_process_nbthread": "Workers";
    gauge Nbproc = Process "haproxy_process_nbproc": "Always 1";
    gauge Process_num = Process "haproxy_process_relative_process_id": "Always 1";
    gauge Uptime_sec = Process "haproxy_process_uptime_seconds": "Seconds since the start";
    gauge Start_time_sec = Process "haproxy_process_start_time_seconds": "When it started, in \
        seconds since the epoch";
    counter PoolFailed = Process "haproxy_process_pool_failures_total": "Always 0: there are no \
        pools of that kind";
    gauge Maxsock = Process "haproxy_process_max_fds": "Descriptors that it may have";
    gauge Maxsock = Process "haproxy_process_max_sockets": "The same";
    gauge Maxconn = Process "haproxy_process_max_connections": "The same";
    gauge Hard_maxconn = Process "haproxy_process_hard_max_connections": "The same";
    gauge CurrConns = Process "haproxy_process_current_connections": "Connections of clients";
    counter CumConns = Process "haproxy_process_connections_total": "Connections of clients \
        since the start";
    counter CumReq = Process "haproxy_process_requests_total": "Well-formed requests";
    gauge ConnRate = Process "haproxy_process_current_connection_rate": "New connections in the \
        last second";
    gauge MaxConnRate = Process "haproxy_process_max_connection_rate": "The most new \
        connections in a second";
    gauge SessRate = Process "haproxy_process_current_session_rate": "As the connection rate";
    gauge MaxSessRate = Process "haproxy_process_max_session_rate": "As the most new connections";
    gauge Stopping = Process "haproxy_process_stopping": "1 while it drains";
    gauge Jobs = Process "haproxy_process_jobs": "Connections of clients and listeners";
    gauge Listeners = Process "haproxy_process_listeners": "Frontends that are open";
    counter DroppedLogs = Process "haproxy_process_dropped_logs_total": "Access records that \
        were dropped";
    counter TotalBytesOut = Process "haproxy_process_bytes_out_total": "Bytes to clients";
    gauge BytesOutRate = Process "haproxy_process_bytes_out_rate": "Bytes to clients in the \
        last second";
    gauge Memmax_bytes = Process "haproxy_process_max_memory_bytes": "Memory that it may have";
    gauge PoolAlloc_bytes = Process "haproxy_process_pool_allocated_bytes": "Memory in use";
    gauge PoolUsed_bytes = Process "haproxy_process_pool_used_bytes": "Memory in use";
    gauge MaxSslConns = Process "haproxy_process_max_ssl_connections": "Always 0";
    gauge CurrSslConns = Process "haproxy_process_current_ssl_connections": "Always 0";
    counter CumSslConns = Process "haproxy_process_ssl_connections_total": "Always 0";
    gauge Maxpipes = Process "haproxy_process_max_pipes": "Always 0";
    counter PipesUsed = Process "haproxy_process_pipes_used_total": "Always 0";
    counter PipesFree = Process "haproxy_process_pipes_free_total": "Always 0";
    gauge SslRate = Process "haproxy_process_current_ssl_rate": "Always 0";
    gauge SslRateLimit = Process "haproxy_process_limit_ssl_rate": "Always 0";
    gauge MaxSslRate = Process "haproxy_process_max_ssl_rate": "Always 0";
    gauge SslFrontendKeyRate = Process "haproxy_process_current_frontend_ssl_key_rate": "Always 0";
    gauge SslFrontendMaxKeyRate = Process "haproxy_process_max_frontend_ssl_key_rate": "Always 0";
    gauge SslFrontendSessionReuse_pct = Process "haproxy_process_frontend_ssl_reuse": "Always 0";
    gauge SslBackendKeyRate = Process "haproxy_process_current_backend_ssl_key_rate": "Always 0";
    gauge SslBackendMaxKeyRate = Process "haproxy_process_max_backend_ssl_key_rate": "Always 0";
    counter SslCacheLookups = Process "haproxy_process_ssl_cache_lookups_total": "Always 0";
    counter SslCacheMisses = Process "haproxy_process_ssl_cache_misses_total": "Always 0";
    counter CompressBpsIn = Process "haproxy_process_http_comp_bytes_in_total": "Always 0";
    counter CompressBpsOut = Process "haproxy_process_http_comp_bytes_out_total": "Always 0";
    gauge CompressBpsRateLim = Process "haproxy_process_limit_http_comp": "Always 0";
    gauge Tasks = Process "haproxy_process_current_tasks": "Always 0";
    gauge Run_queue = Process "haproxy_process_current_run_queue": "Always 0";
    gauge ConnRateLimit = Process "haproxy_process_limit_connection_rate": "Always 0";
    gauge SessRateLimit = Process "haproxy_process_limit_session_rate": "Always 0";
    gauge ActivePeers = Process "haproxy_process_active_peers": "Always 0";
    gauge ConnectedPeers = Process "haproxy_process_connected_peers": "Always 0";
    gauge BusyPolling = Process "haproxy_process_busy_polling_enabled": "Always 0";
}

columns! {
    gauge scur = Frontend "haproxy_frontend_current_sessions": "Connections open now, by `proxy`";
    gauge smax = Frontend "haproxy_frontend_max_sessions": "The most connections that were \
        open, by `proxy`";
    gauge slim = Frontend "haproxy_frontend_limit_sessions": "Connections that there may be, by \
        `proxy`";
    counter stot = Frontend "haproxy_frontend_sessions_total": "Connections, by `proxy`";
    counter bin = Frontend "haproxy_frontend_bytes_in_total": "Bytes from clients, by `proxy`";
    counter bout = Frontend "haproxy_frontend_bytes_out_total": "Bytes to clients, by `proxy`";
    counter dreq = Frontend "haproxy_frontend_requests_denied_total": "Always 0: access is the \
        nodes' to refuse, by `proxy`";
    counter ereq = Frontend "haproxy_frontend_request_errors_total": "Malformed requests, by \
        `proxy`";
    gauge rate_lim = Frontend "haproxy_frontend_limit_session_rate": "Always 0: no bound, by \
        `proxy`";
    gauge rate_max = Frontend "haproxy_frontend_max_session_rate": "The most new connections in \
        a second, by `proxy`";
    gauge req_rate_max = Frontend "haproxy_frontend_http_requests_rate_max": "The most requests \
        in a second, by `proxy`";
    counter req_tot = Frontend "haproxy_frontend_http_requests_total": "Well-formed requests, \
        by `proxy`";
    gauge conn_rate_max = Frontend "haproxy_frontend_connections_rate_max": "The most new \
        connections in a second, by `proxy`";
    counter conn_tot = Frontend "haproxy_frontend_connections_total": "Connections, by `proxy`";
    counter eint = Frontend "haproxy_frontend_internal_errors_total": "Always 0: none is \
        counted, by `proxy`";
    gauge qcur = Backend "haproxy_backend_current_queue": "Requests that wait for a server now, \
        by `proxy`";
    gauge qmax = Backend "haproxy_backend_max_queue": "The most that waited, by `proxy`";
    gauge scur = Backend "haproxy_backend_current_sessions": "Requests and tunnels under way, \
        by `proxy`";
    gauge smax = Backend "haproxy_backend_max_sessions": "The most that were under way, by \
        `proxy`";
    gauge slim = Backend "haproxy_backend_limit_sessions": "Connections that there may be, by \
        `proxy`";
    counter stot = Backend "haproxy_backend_sessions_total": "Attempts at its servers, by `proxy`";
    counter bin = Backend "haproxy_backend_bytes_in_total": "Bytes to its servers, by `proxy`";
    counter bout = Backend "haproxy_backend_bytes_out_total": "Bytes from its servers, by `proxy`";
    counter econ = Backend "haproxy_backend_connection_errors_total":
        "Attempts without a connection, by `proxy`";
    counter eresp = Backend "haproxy_backend_response_errors_total": "Attempts that failed \
        through a server's own fault, by `proxy`";
    counter wretr = Backend "haproxy_backend_retry_warnings_total":
        "Attempts at the same server again, by `proxy`";
    counter wredis = Backend "haproxy_backend_redispatch_warnings_total": "Attempts continued \
        on another server, by `proxy`";
    gauge weight = Backend "haproxy_backend_weight": "Weight of the servers that are up, by \
        `proxy`";
    gauge act = Backend "haproxy_backend_active_servers": "Servers that are up, by `proxy`";
    gauge bck = Backend "haproxy_backend_backup_servers": "Backup servers that are up, by `proxy`";
    counter chkdown = Backend "haproxy_backend_check_up_down_total": "How often nobody was \
        left, by `proxy`";
    gauge lastchg = Backend "haproxy_backend_check_last_change_seconds": "Seconds since a \
        server's state changed, by `proxy`";
    counter downtime = Backend "haproxy_backend_downtime_seconds_total": "Seconds in which \
        nobody was left, by `proxy`";
    counter lbtot = Backend "haproxy_backend_loadbalanced_total": "Attempts at its servers, by \
        `proxy`";
    gauge rate_max = Backend "haproxy_backend_max_session_rate": "The most attempts in a \
        second, by `proxy`";
    counter req_tot = Backend "haproxy_backend_http_requests_total": "Attempts at its servers, \
        by `proxy`";
    gauge lastsess = Backend "haproxy_backend_last_session_seconds": "Seconds since a server \
        answered, by `proxy`";
    gauge qtime = Backend "haproxy_backend_queue_time_average_seconds": "Mean time in the queue, \
        by `proxy`";
    gauge ctime = Backend "haproxy_backend_connect_time_average_seconds": "Mean time to connect, \
        by `proxy`";
    gauge rtime = Backend "haproxy_backend_response_time_average_seconds": "Mean time to the \
        heads of the latest answers without what nodes waited for origins, by `proxy`";
    gauge ttime = Backend "haproxy_backend_total_time_average_seconds": "Mean time in all, \
        by `proxy`";
    gauge rtime_max = Backend "haproxy_backend_max_response_time_seconds": "The longest mean \
        response time of one second, by `proxy`";
    gauge ttime_max = Backend "haproxy_backend_max_total_time_seconds":
        "The longest mean time in all, by `proxy`";
    counter connect = Backend "haproxy_backend_connection_attempts_total": "Connections opened, \
        by `proxy`";
    counter reuse = Backend "haproxy_backend_connection_reuses_total": "Requests on connections \
        that had been used before, by `proxy`";
    gauge uweight = Backend "haproxy_backend_uweight": "Weight of the servers that are up, by \
        `proxy`";
    gauge qcur = Server "haproxy_server_current_queue": "Always 0: what waits does so for its \
        backend, by `proxy` and `server`";
    gauge scur = Server "haproxy_server_current_sessions": "Requests and tunnels under way, by \
        `proxy` and `server`";
    gauge smax = Server "haproxy_server_max_sessions": "The most that were under way, by \
        `proxy` and `server`";
    gauge slim = Server "haproxy_server_limit_sessions": "Requests and tunnels that it may have \
        at a time, if there is a bound, by `proxy` and `server`";
    counter stot = Server "haproxy_server_sessions_total": "Attempts at it, by `proxy` and \
        `server`";
    counter bin = Server "haproxy_server_bytes_in_total": "Bytes to it, by `proxy` and `server`";
    counter bout = Server "haproxy_server_bytes_out_total": "Bytes from it, by `proxy` and \
        `server`";
    counter econ = Server "haproxy_server_connection_errors_total":
        "Attempts without a connection, by `proxy` and `server`";
    counter eresp = Server "haproxy_server_response_errors_total": "Attempts that failed \
        through its own fault, by `proxy` and `server`";
    counter wretr = Server "haproxy_server_retry_warnings_total":
        "Attempts at the same server again, by `proxy` and `server`";
    counter wredis = Server "haproxy_server_redispatch_warnings_total": "Attempts continued on \
        another server, by `proxy` and `server`";
    gauge weight = Server "haproxy_server_weight": "Its weight, by `proxy` and `server`";
    counter chkfail = Server "haproxy_server_check_failures_total": "Checks of this balancer \
        that failed, by `proxy` and `server`";
    counter chkdown = Server "haproxy_server_check_up_down_total": "How often it went down, by \
        `proxy` and `server`";
    gauge lastchg = Server "haproxy_server_check_last_change_seconds": "Seconds since its state \
        changed, by `proxy` and `server`";
    counter downtime = Server "haproxy_server_downtime_seconds_total": "Seconds for which it \
        was down, by `proxy` and `server`";
    counter lbtot = Server "haproxy_server_loadbalanced_total": "Attempts at it, by `proxy` and \
        `server`";
    gauge rate_max = Server "haproxy_server_max_session_rate": "The most attempts in a second, \
        by `proxy` and `server`";
    gauge check_code = Server "haproxy_server_check_code": "Status of the last check's answer, \
        where it has one, by `proxy` and `server`";
    gauge lastsess = Server "haproxy_server_last_session_seconds": "Seconds since it answered, \
        by `proxy` and `server`";
    gauge qtime = Server "haproxy_server_queue_time_average_seconds": "Mean time in the queue, \
        by `proxy` and `server`";
    gauge ctime = Server "haproxy_server_connect_time_average_seconds": "Mean time to connect, \
        by `proxy` and `server`";
    gauge rtime = Server "haproxy_server_response_time_average_seconds": "Mean time to the \
        heads of its latest answers without what it waited for origins, by `proxy` and `server`";
    gauge ttime = Server "haproxy_server_total_time_average_seconds": "Mean time in all, \
        by `proxy` and `server`";
    gauge rtime_max = Server "haproxy_server_max_response_time_seconds": "The longest mean \
        response time of one second, by `proxy` and `server`";
    gauge ttime_max = Server "haproxy_server_max_total_time_seconds":
        "The longest mean time in all, by `proxy` and `server`";
    counter connect = Server "haproxy_server_connection_attempts_total": "Connections opened, \
        by `proxy` and `server`";
    counter reuse = Server "haproxy_server_connection_reuses_total": "Requests on connections \
        that had been used before, by `proxy` and `server`";
    gauge used_conn_cur = Server "haproxy_server_used_connections_current": "Requests and \
        tunnels under way, by `proxy` and `server`";
    gauge uweight = Server "haproxy_server_uweight": "Its weight, by `proxy` and `server`";
    counter cli_abrt = Backend "haproxy_backend_client_aborts_total": "Always 0: not counted \
        here, by `proxy`";
    counter srv_abrt = Backend "haproxy_backend_server_aborts_total": "Always 0: not counted \
        here, by `proxy`";
    counter wrew = Backend "haproxy_backend_failed_header_rewriting_total": "Always 0: not \
        counted here, by `proxy`";
    counter dresp = Backend "haproxy_backend_responses_denied_total": "Always 0: not counted \
        here, by `proxy`";
    gauge qtime_max = Backend "haproxy_backend_max_queue_time_seconds": "The longest mean time in \
        the queue, by `proxy`";
    gauge ctime_max = Backend "haproxy_backend_max_connect_time_seconds": "The longest mean time \
        to connect, by `proxy`";
    counter cli_abrt = Server "haproxy_server_client_aborts_total": "Always 0: not counted here, \
        by `proxy` and `server`";
    counter srv_abrt = Server "haproxy_server_server_aborts_total": "Always 0: not counted here, \
        by `proxy` and `server`";
    counter wrew = Server "haproxy_server_failed_header_rewriting_total": "Always 0: not counted \
        here, by `proxy` and `server`";
    counter dresp = Server "haproxy_server_responses_denied_total": "Always 0: not counted here, \
        by `proxy` and `server`";
    gauge qtime_max = Server "haproxy_server_max_queue_time_seconds": "The longest mean time in \
        the queue, by `proxy` and `server`";
    gauge ctime_max = Server "haproxy_server_max_connect_time_seconds": "The longest mean time to \
        connect, by `proxy` and `server`";
    counter cache_lookups = Frontend "haproxy_frontend_http_cache_lookups_total": "Always 0: not \
        counted here, by `proxy`";
    counter cache_hits = Frontend "haproxy_frontend_http_cache_hits_total": "Always 0: not \
        counted here, by `proxy`";
    counter comp_in = Frontend "haproxy_frontend_http_comp_bytes_in_total": "Always 0: not \
        counted here, by `proxy`";
    counter comp_out = Frontend "haproxy_frontend_http_comp_bytes_out_total": "Always 0: not \
        counted here, by `proxy`";
    counter comp_byp = Frontend "haproxy_frontend_http_comp_bytes_bypassed_total": "Always 0: not \
        counted here, by `proxy`";
    counter comp_rsp = Frontend "haproxy_frontend_http_comp_responses_total": "Always 0: not \
        counted here, by `proxy`";
    counter cache_lookups = Backend "haproxy_backend_http_cache_lookups_total": "Always 0: not \
        counted here, by `proxy`";
    counter cache_hits = Backend "haproxy_backend_http_cache_hits_total": "Always 0: not counted \
        here, by `proxy`";
    counter comp_in = Backend "haproxy_backend_http_comp_bytes_in_total": "Always 0: not counted \
        here, by `proxy`";
    counter comp_out = Backend "haproxy_backend_http_comp_bytes_out_total": "Always 0: not \
        counted here, by `proxy`";
    counter comp_byp = Backend "haproxy_backend_http_comp_bytes_bypassed_total": "Always 0: not \
        counted here, by `proxy`";
    counter comp_rsp = Backend "haproxy_backend_http_comp_responses_total": "Always 0: not \
        counted here, by `proxy`";
    counter dreq = Backend "haproxy_backend_requests_denied_total": "Always 0: not counted here, \
        by `proxy`";
    counter dcon = Frontend "haproxy_frontend_denied_connections_total": "Always 0: not counted \
        here, by `proxy`";
    counter dses = Frontend "haproxy_frontend_denied_sessions_total": "Always 0: not counted \
        here, by `proxy`";
    counter wrew = Frontend "haproxy_frontend_failed_header_rewriting_total": "Always 0: not \
        counted here, by `proxy`";
    counter intercepted = Frontend "haproxy_frontend_intercepted_requests_total": "Always 0: not \
        counted here, by `proxy`";
    counter dresp = Frontend "haproxy_frontend_responses_denied_total": "Always 0: not counted \
        here, by `proxy`";
}
