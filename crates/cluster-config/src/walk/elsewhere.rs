//! Words of Squid, HAProxy and keepalived for what has another name here, where a likeness of
//! letters does not tell.

/// Theirs, and ours.
const WORDS: &[(&str, &str)] = &[
    ("source", "src"),
    ("src_ip", "src"),
    ("ip", "src"),
    ("destination", "dst"),
    ("dest", "dst"),
    ("domain", "dstdomain"),
    ("domains", "dstdomain"),
    ("dstdom_regex", "url_regex"),
    ("urlpath_regex", "url_regex"),
    ("regex", "url_regex"),
    ("ports", "port"),
    ("hours", "time"),
    ("cache_mem", "memory"),
    ("cache_dir", "disk"),
    ("maximum_object_size", "max_object_size"),
    ("maximum_object_size_in_memory", "max_object_size"),
    ("http_access", "rules"),
    ("cache_peer", "parents"),
    ("cache_peers", "parents"),
    ("http_port", "listen"),
    ("bind", "listen"),
    ("default_backend", "backend"),
    ("use_backend", "backend"),
    ("server", "servers"),
    ("address", "bind"),
    ("addr", "bind"),
    ("maxconn", "limits"),
    ("connect_timeout", "timeouts"),
    ("read_timeout", "timeouts"),
    ("timeout", "timeouts"),
    ("option", "check"),
    ("httpchk", "check"),
    ("redispatch", "retry"),
    ("maxqueue", "circuit_breaker"),
    ("slowstart", "slow_start"),
    ("cookie", "sticky"),
    ("persist", "sticky"),
    ("agent", "agent_check"),
    ("agent_port", "agent_check"),
    ("timeout_queue", "timeouts"),
    ("retries", "retry"),
    ("logformat", "format"),
    ("log", "log_targets"),
    ("syslog", "log_targets"),
    ("deny_info", "page"),
    ("vrrp_instance", "vrrp"),
    ("advert_int", "advert_interval"),
    ("authentication", "auth_pass"),
    ("virtual_ipaddress", "addresses"),
    ("virtual_ipaddresses", "addresses"),
    ("state", "priority"),
    ("unicast_peer", "unicast_peers"),
    ("track_script", "track"),
    ("preempt", "nopreempt"),
];

/// Values that HAProxy and nginx spell in another way, and ours.
const VALUES: &[(&str, &str)] = &[
    ("roundrobin", "round_robin"),
    ("leastconn", "least_connections"),
    ("least_conn", "least_connections"),
    ("least_time", "response_time"),
    ("source", "ip_hash"),
    ("uri", "uri_hash"),
    ("hdr", "header_hash"),
    ("hash", "header_hash"),
    ("random_two", "random"),
];

/// What a value is called here, if there is such a value in this place.
pub fn value(text: &str, known: &[&str]) -> Option<&'static str> {
    let text = text.to_ascii_lowercase().replace([' ', '-'], "_");
    VALUES
        .iter()
        .find(|(theirs, ours)| *theirs == text && known.contains(ours))
        .map(|(_, ours)| *ours)
}

/// What `key` is called here, if there is such a key in this place.
pub fn word(key: &str, known: &[&str]) -> Option<&'static str> {
    let key = key.to_ascii_lowercase().replace('-', "_");
    WORDS
        .iter()
        .find(|(theirs, ours)| *theirs == key && known.contains(ours))
        .map(|(_, ours)| *ours)
}
