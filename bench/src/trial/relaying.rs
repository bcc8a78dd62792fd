//! What a request costs a balancer, and a hit a cache.

use super::{Goal, Trial, Work, requests, times};
use crate::{contender::Who, load::dial::Handshake};

const BALANCERS: &[Who] = &[Who::ShoalBalancer, Who::Haproxy, Who::Nginx];
const RELAYS: &[Who] = &[Who::ShoalBalancer, Who::Haproxy, Who::Floor, Who::Nginx];
const CONNECTIONS_KEPT: &[Who] = &[Who::ShoalTcp, Who::HaproxyTcp, Who::Floor, Who::NginxStream];
const CONNECTIONS: &[Who] = &[Who::ShoalTcp, Who::HaproxyTcp, Who::NginxStream];
const CACHES: &[Who] = &[Who::ShoalNode, Who::NginxCache, Who::Squid];

const SECURE: &[Goal] =
    &[times(Who::ShoalBalancer, 0.90, Who::Haproxy), times(Who::ShoalBalancer, 0.90, Who::Nginx)];
const TCP: &[Goal] = &[times(Who::ShoalTcp, 0.75, Who::HaproxyTcp)];

pub const TRIALS: &[Trial] = &[
    requests(
        "balance-keepalive-1k",
        "Balancing, keep-alive, 1 KiB",
        Work::Requests { body: 1024, fresh: false, hits: false, tls: None, requests: 60_000 },
        RELAYS,
        &[
            times(Who::ShoalBalancer, 1.12, Who::Floor),
            times(Who::ShoalBalancer, 0.82, Who::Haproxy),
            times(Who::ShoalBalancer, 1.0, Who::Nginx),
        ],
    ),
    requests(
        "balance-keepalive-64k",
        "Balancing, keep-alive, 64 KiB",
        Work::Requests { body: 65_536, fresh: false, hits: false, tls: None, requests: 15_000 },
        RELAYS,
        &[
            times(Who::ShoalBalancer, 0.75, Who::Haproxy),
            times(Who::ShoalBalancer, 1.0, Who::Nginx),
        ],
    ),
    requests(
        "balance-new-1k",
        "Balancing, a new connection each, 1 KiB",
        Work::Requests { body: 1024, fresh: true, hits: false, tls: None, requests: 15_000 },
        BALANCERS,
        &[times(Who::ShoalBalancer, 0.86, Who::Haproxy)],
    ),
    requests(
        "balance-new-64k",
        "Balancing, a new connection each, 64 KiB",
        Work::Requests { body: 65_536, fresh: true, hits: false, tls: None, requests: 8_000 },
        BALANCERS,
        &[times(Who::ShoalBalancer, 0.90, Who::Haproxy)],
    ),
    requests(
        "tls-keepalive-1k",
        "Balancing over TLS 1.3, keep-alive, 1 KiB",
        Work::Requests {
            body: 1024,
            fresh: false,
            hits: false,
            tls: Some(Handshake::Full),
            requests: 40_000,
        },
        BALANCERS,
        SECURE,
    ),
    requests(
        "tls-full",
        "Balancing over TLS 1.3, a whole handshake each (ECDSA P-256), 1 KiB",
        Work::Requests {
            body: 1024,
            fresh: true,
            hits: false,
            tls: Some(Handshake::Full),
            requests: 4_000,
        },
        BALANCERS,
        SECURE,
    ),
    requests(
        "tls-resumed",
        "Balancing over TLS 1.3, a resumed session each, 1 KiB",
        Work::Requests {
            body: 1024,
            fresh: true,
            hits: false,
            tls: Some(Handshake::Resumed),
            requests: 4_000,
        },
        BALANCERS,
        SECURE,
    ),
    requests(
        "tcp-keepalive-1k",
        "Balancing connections (`mode: tcp`), keep-alive, 1 KiB",
        Work::Connections { fresh: false, requests: 60_000 },
        CONNECTIONS_KEPT,
        TCP,
    ),
    requests(
        "tcp-new-1k",
        "Balancing connections (`mode: tcp`), a new one each, 1 KiB",
        Work::Connections { fresh: true, requests: 15_000 },
        CONNECTIONS,
        TCP,
    ),
    requests(
        "hit-1k",
        "Cache hit, keep-alive, 1 KiB",
        Work::Requests { body: 1024, fresh: false, hits: true, tls: None, requests: 60_000 },
        CACHES,
        &[times(Who::ShoalNode, 0.48, Who::NginxCache), times(Who::ShoalNode, 0.34, Who::Squid)],
    ),
    requests(
        "hit-64k",
        "Cache hit, keep-alive, 64 KiB",
        Work::Requests { body: 65_536, fresh: false, hits: true, tls: None, requests: 15_000 },
        CACHES,
        &[times(Who::ShoalNode, 0.80, Who::NginxCache)],
    ),
];
