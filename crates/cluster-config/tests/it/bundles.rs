//! Bad bundles and exactly what is said of them; good ones and what becomes of them.

use cluster::Service;
use cluster_config::bundle::sample;
use cluster_config::document::{
    Acl, Limits, Verdict, balancer,
    limits::{Rate, Slowest},
};
use cluster_config::{
    BalancerDocument, Bundle, ChecksDocument, Problem, ProxyDocument, example_bundle, lab_bundle,
    render,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

fn files(main: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = example_bundle();
    files.insert("cluster.yaml".into(), main.as_bytes().to_vec());
    files
}

fn problems(main: &str) -> Vec<String> {
    let unused =
        |problem: &Problem| problem.message != "nothing in cluster.yaml refers to this file";
    let standard = |problem: &Problem| {
        !problem.message.starts_with("no access rules")
            && !problem.message.starts_with("no frontends")
    };
    let (_, problems) = Bundle::from_files(&files(main));
    problems.iter().filter(|p| unused(p) && standard(p)).map(ToString::to_string).collect()
}

#[test]
fn the_templates_are_clean() {
    for (name, files) in [
        ("lab", lab_bundle(None)),
        ("parent", lab_bundle(Some("[2001:db8::1]:3128"))),
        ("example", example_bundle()),
    ] {
        let (bundle, problems) = Bundle::from_files(&files);
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Vec::<String>::new(),
            "{name}"
        );
        assert!(bundle.is_some());
    }
}

/// A node gives an origin up before the balancer gives the node up: it knows what happened, and can
/// tell the client.
#[test]
fn nodes_are_less_patient_than_balancers() {
    let deployed = |folder: &str| {
        let at = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(folder);
        let mut files = example_bundle();
        for path in ["cluster.yaml", "lists/blocked_sites.txt", "pages/blocked.html"] {
            files.insert(path.into(), std::fs::read(at.join(path)).unwrap_or_default());
        }
        files
    };
    let defaults = "version: 1\nproxy: {}\nbalancer: {frontends: [{name: f, bind: \
        \"0.0.0.0:8080\", backend: b}], backends: [{name: b, servers: {service: proxy-node}}]}\n";
    for (name, files) in [
        ("lab", lab_bundle(None)),
        ("example", example_bundle()),
        ("defaults", files(defaults)),
        ("docker", deployed("docker/bundle")),
        ("k8s", deployed("k8s/base/bundle")),
        ("k8s large", deployed("k8s/overlays/large/bundle")),
    ] {
        let (bundle, problems) = Bundle::from_files(&files);
        let bundle = bundle.unwrap_or_else(|| panic!("{name}: {problems:?}"));
        let node = ProxyDocument::from_json(
            &render(&bundle, Service::ProxyNode, &sample(Service::ProxyNode)).unwrap().document,
        )
        .unwrap();
        let balancer = render(&bundle, Service::Balancer, &sample(Service::Balancer)).unwrap();
        let node = node.timeouts;
        let balancer = BalancerDocument::from_json(&balancer.document).unwrap();
        for frontend in &balancer.frontends {
            let (client, server) = (
                frontend.timeouts.client,
                balancer.backend(&frontend.backend).unwrap().timeouts.server,
            );
            assert!(node.dns + node.connect + node.read < server, "{name}: the first byte");
            assert!(
                node.read.max(node.request_body) < server.max(client),
                "{name}: between two pieces"
            );
        }
    }
}

/// Clients' deadlines were the backend's: there they are accepted, count where the frontend is
/// silent, and are told to move.
#[test]
fn deadlines_of_clients_that_are_still_under_a_backend() {
    let text = |frontend: &str| {
        let frontends = format!(
            "[{{name: f, bind: \"0.0.0.0:8080\", backend: b, {frontend}}}, {{name: g, bind: \
             \"0.0.0.0:8081\", backend: b}}, {{name: h, bind: \"0.0.0.0:8082\", backend: c}}]"
        );
        let backends = "[{name: b, servers: {service: proxy-node}, timeouts: {client: 7s, \
            request_head: 8s}}, {name: c, servers: {service: proxy-node}}]";
        format!("version: 1\nbalancer:\n  frontends: {frontends}\n  backends: {backends}\n")
    };
    let rendered = |frontend: &str| {
        let files = BTreeMap::from([("cluster.yaml".to_owned(), text(frontend).into_bytes())]);
        let (bundle, problems) = Bundle::from_files(&files);
        let rendered = render(
            &bundle.unwrap_or_else(|| panic!("{problems:?}")),
            Service::Balancer,
            &sample(Service::Balancer),
        );
        BalancerDocument::from_json(&rendered.unwrap().document).unwrap().frontends
    };
    let seconds = |frontend: &cluster_config::document::balancer::Frontend| {
        let timeouts = frontend.timeouts;
        [timeouts.client, timeouts.client_idle, timeouts.request_head].map(|it| it.as_secs())
    };
    let silent = rendered("mode: http");
    assert_eq!(
        silent.iter().map(seconds).collect::<Vec<_>>(),
        [[7, 120, 8], [7, 120, 8], [50, 120, 30]]
    );
    // What the frontend says itself counts there, also where it is the default.
    let own = rendered("timeouts: {client: 50s, client_idle: 9s, request_head: ~}");
    assert_eq!(
        own.iter().map(seconds).collect::<Vec<_>>(),
        [[50, 9, 8], [7, 120, 8], [50, 120, 30]]
    );
    assert_eq!(
        problems(&text("mode: http")),
        [
            "cluster.yaml:4:75: warning: `client` is for frontends to say; here it counts only for \
             frontends of this backend that do not say it themselves; move it to the frontend: \
             timeouts: {client: 7s}",
            "cluster.yaml:4:93: warning: `request_head` is for frontends to say; here it counts \
             only for frontends of this backend that do not say it themselves; move it to the \
             frontend: timeouts: {request_head: 8s}",
        ]
    );
}

/// Every section that the schema knows: what this version does not act on is said, and only what
/// would weaken security is refused.
#[test]
fn the_whole_example_of_the_design() {
    let mut text = String::from_utf8(example_bundle()["cluster.yaml"].clone()).unwrap();
    text = text.replace("memory: 256MiB, max", "memory: 256MiB, disk: 1000MiB, max");
    text = text.replace(
        "  hierarchy:\n",
        "  hierarchy:\n    siblings: {service: proxy-node, protocol: \
            icp, proxy_only: true, max_timeout: 2s}\n",
    );
    text = text.replace(
        "  timeouts: {connect: 5s, read",
        "  auth: {basic: {htpasswd: staff}}\n  timeouts: {connect: 5s, read",
    );
    text = text.replace(
        "\nchecks:",
        r#"
  vrrp: [{name: VI_1, interface: eth0, virtual_router_id: 51, version: 3,
          priority: {balancer-1: 100, balancer-2: 90},
          advert_interval: 200ms, addresses: [192.168.1.100/24]}]
alerts: [{name: cache_hit_ratio_low, metric: cache_hit_ratio, below: 0.60, for: 5m,
          severity: warning}]
dns: [{name: proxy.company.com, ttl: 5s, policy: failover,
       targets: [{datacenter: beijing, address: 192.168.1.100},
                 {datacenter: shanghai, address: 192.168.2.100}]}]
checks:"#,
    );
    let said = problems(&text);
    let expected = [
        "cluster.yaml:11:25: warning: without `icp` no node has a port at which others could ask \
         it; write hierarchy: {icp: {bind: …, allow: […]}}, or use cache: {owners: true} instead",
        "cluster.yaml:17:3: error: `auth` is not supported in this version, and ignoring it would \
         not be safe; without it the proxy would serve clients that never authenticated; restrict \
         access by address instead",
        "cluster.yaml:37:1: warning: `alerts` has no effect in this version; keep it for a later \
         version, or remove it",
        "cluster.yaml:39:1: warning: `dns` has no effect in this version; keep it for a later \
         version, or remove it",
    ];
    assert_eq!(said, expected);
}

/// Text of cluster.yaml → everything that is said of it.
const BAD: &[(&str, &[&str])] = &[
    ("", &["cluster.yaml: error: cluster.yaml is empty; write at least `version: 1`"]),
    (
        "version: 1\nproxy: {cache: [}\n",
        &["cluster.yaml:2:16: error: not YAML: the `[` that is opened here is closed by `}`; \
             close each bracket by its own, and the inner ones first"],
    ),
    (
        "- 1\n",
        &["cluster.yaml:1:1: error: the file must be a map, not a list; write {key: value}, or \
             `key: value` lines under it; known here: alerts, backup, balancer, checks, dns, \
             overrides, proxy, version"],
    ),
    (
        "proxy: {}\n",
        &["cluster.yaml:1:1: error: `version` is missing in the file; write version: 1"],
    ),
    ("version: 2\n", &["cluster.yaml:1:10: error: version cannot be 2; write 1"]),
    (
        "version: 1\nversion: 1\n",
        &["cluster.yaml:2:1: error: `version` is there twice; first in line 1; keep one of them"],
    ),
    (
        "version: 1\nproxi: {}\n",
        &["cluster.yaml:2:1: error: unknown key `proxi` at the top; did you mean `proxy`?"],
    ),
    // Several at once, also of different kinds and in different sections.
    (
        "version: 1\nproxy:\n  cache: {memroy: 1MiB, max_object_size: 50MB, collapsed_forwarding: \
         yes}\n  timeouts: {connect: 5, read: 5x, tunnel_idle: [1h]}\nchecks:\n  - {name: a, type: \
         icmp}\n  - {type: tcp}\n",
        &[
            "cluster.yaml:3:11: error: unknown key `memroy` in proxy.cache; did you mean `memory`?",
            "cluster.yaml:3:42: error: `MB` in `50MB` is not a unit here; write 50MiB",
            "cluster.yaml:3:70: error: proxy.cache.collapsed_forwarding must be true or false, not \
             the text `yes`; write true",
            "cluster.yaml:4:23: error: the duration `5` has no unit; write a whole number with its \
             unit: ms, s, m, h or d, as in 200ms, 5s, 30m, 1h or 30d",
            "cluster.yaml:4:32: error: `x` in `5x` is not a unit of time; write a whole number \
             with its unit: ms, s, m, h or d, as in 200ms, 5s, 30m, 1h or 30d",
            "cluster.yaml:4:49: error: proxy.timeouts.tunnel_idle must be text, not a list; write \
             a single value",
            "cluster.yaml:6:21: error: `icmp` is not a value of checks[0].type; one of: tcp, http, \
             proxy, connect",
            "cluster.yaml:7:5: error: `name` is missing in checks[1]; add `name:`",
        ],
    ),
    // ACLs and rules.
    (
        "version: 1\nproxy:\n  access:\n    acls:\n      net: {src: [192.168.1.1/24, \
         10.0.0.0/8]}\n      all: {port: [1]}\n      two: {src: [10.0.0.0/8], port: [80]}\n      \
         none: {}\n      late: {time: \"MTX 9:00-18:00\"}\n      ports: {port: [443, 70000, \
         90-80]}\n      gone: {dstdomain_list: blocked_site}\n      re: {url_regex: '(ads'}\n      \
         m: {method: [get]}\n    rules: [{allow: [nett]}, {deny: [net], page: nope}, {allow: \
         [net], deny: [two]}, {page: blocked}, {allow: []}]\n",
        &[
            "cluster.yaml:5:19: error: `192.168.1.1/24` has bits beyond its prefix; write \
             192.168.1.0/24, or 192.168.1.1 for the one address",
            "cluster.yaml:6:12: error: `all` is built in; choose another name",
            "cluster.yaml:7:12: error: an ACL of 2 kinds: src, port; write one ACL per kind and \
             name both in the rule: a rule matches when all of its ACLs do",
            "cluster.yaml:8:13: error: an ACL without a condition; give it one, as in {src: \
             [192.168.1.0/24]}",
            "cluster.yaml:9:20: error: `MTX` in `MTX 9:00-18:00` has a letter that is not a day; \
             write days and hours, as in \"MTWHF 09:00-18:00\" (S Sunday, M, T, W, H Thursday, F, \
             A Saturday, D Monday to Friday)",
            "cluster.yaml:10:27: error: `70000` is not a port or a range of ports; write numbers \
             from 1 to 65535, as in 443 or 8000-8100",
            "cluster.yaml:10:34: error: `90-80` runs backwards; write 80-90",
            "cluster.yaml:11:30: error: there is no file lists/blocked_site.txt; did you mean \
             `blocked_sites`?",
            "cluster.yaml:12:23: error: `(ads` is not a regular expression: unclosed group; use \
             the syntax of Rust's regex crate (no look-around, no back-references); in YAML, \
             single quotes keep backslashes",
            "cluster.yaml:13:20: error: methods are upper case, `get` would never match; write GET",
            "cluster.yaml:14:22: error: unknown ACL `nett`; did you mean `net`?",
            "cluster.yaml:14:50: error: there is no file pages/nope.html; add the file \
             pages/nope.html, or use one of: blocked",
            "cluster.yaml:14:57: error: a rule that both allows and denies; make two rules of it; \
             the first that matches counts",
            "cluster.yaml:14:86: error: a rule without `allow` or `deny`; write {allow: [names]} \
             or {deny: [names]}",
            "cluster.yaml:14:111: error: a rule without ACLs; name at least one; `all` matches \
             every request",
        ],
    ),
    // Shadowed rules.
    (
        "version: 1\nproxy:\n  access:\n    acls: {net: {src: 10.0.0.0/8}, host: {src: 10.1.2.3}, \
         ssl: {port: 443}, web: {port: [80, 443]}}\n    rules:\n      - allow: [net, web]\n      - \
         deny: [host, ssl]\n      - deny: [net]\n      - allow: [net, \"!net\"]\n      - deny: \
         [\"!net\"]\n      - deny: [\"!host\", ssl]\n      - deny: [all]\n      - allow: [host]\n",
        &[
            "cluster.yaml:7:9: warning: `deny: [host, ssl]` is never reached: `allow: [net, web]` \
             in line 6 matches whenever it would; move it up, or remove it",
            "cluster.yaml:9:9: warning: `allow: [net, \"!net\"]` can never match: it demands an \
             ACL and its opposite; remove it, or one of its ACLs",
            "cluster.yaml:13:9: warning: `allow: [host]` is never reached: `deny: [net]` in line 8 \
             matches whenever it would; move it up, or remove it",
        ],
    ),
    (
        "version: 1\nproxy: {access: {rules: [{allow: [localhost]}]}}\n",
        &["cluster.yaml:2:26: warning: requests that no rule matches are denied; say it with a \
             last rule {deny: [all]}"],
    ),
    // The balancer.
    (
        "version: 1\nbalancer:\n  frontends:\n    - {name: a, bind: \"${node.listen.frontend}\", \
         backend: nodez}\n    - {name: a, bind: \":8080\", backend: nodes, mode: tcp}\n    - \
         {name: b, bind: \":8080\", backend: nodes}\n  backends:\n    - {name: nodes, balance: \
         leastconn, servers: {}}\n    - {name: nodes, balance: roundrobin, servers: {service: \
         proxy-nodes}}\n    - {name: more, servers: {static: [{name: s, address: nowhere}]}, \
         retry: {budget: 20, attempts: 0}, check: {inter: 1s, timeout: 2s}}\n",
        &[
            "cluster.yaml:4:59: error: unknown backend `nodez`; did you mean `nodes`?",
            "cluster.yaml:5:14: error: frontend `a` is there twice; first in line 4; give each its \
             own name",
            "cluster.yaml:5:41: error: a frontend of mode tcp cannot use backend `nodes` of mode \
             http; write `mode: tcp` there, or use another backend",
            "cluster.yaml:6:23: error: two frontends bind :8080; the first in line 5; give each a \
             port of its own",
            "cluster.yaml:8:30: error: `leastconn` is not a value of balancer.backends[0].balance; \
             did you mean `least_connections`?",
            "cluster.yaml:8:50: error: a backend without servers; write {service: proxy-node}, or \
             static: [{name: …, address: …}]",
            "cluster.yaml:9:14: error: backend `nodes` is there twice; first in line 8; give each \
             its own name",
            "cluster.yaml:9:30: error: `roundrobin` is not a value of \
             balancer.backends[1].balance; did you mean `round_robin`?",
            "cluster.yaml:9:61: error: `proxy-nodes` is not a value of \
             balancer.backends[1].servers.service; did you mean `proxy-node`?",
            "cluster.yaml:10:7: warning: no frontend uses backend `more`; remove it, or let a \
             frontend use it",
            "cluster.yaml:10:58: error: `nowhere` is not an address with a port; write host:port, \
             as in 192.168.1.11:3128 or [2001:db8::1]:3128",
            "cluster.yaml:10:86: error: `20` is not a percentage; write a whole number from 0 to \
             100 with a percent sign, as in 20%",
            "cluster.yaml:10:100: error: balancer.backends[2].retry.attempts cannot be 0; write a \
             number from 1 to 16",
            "cluster.yaml:10:132: error: a check may not take longer than the time between two; \
             make timeout shorter than inter",
        ],
    ),
    // Variables.
    (
        "version: 1\nproxy: {visible_hostname: \"${node.nam}\", listen: [{bind: \
         \"${node.listen.frontend}\"}]}\nbalancer: {frontends: [{name: a, bind: \"${listen\", \
         backend: b}]}\n",
        &[
            "cluster.yaml:2:27: error: undefined variable `${node.nam}`; did you mean \
             `${node.name}`?",
            "cluster.yaml:2:58: error: undefined variable `${node.listen.frontend}`; defined here: \
             node.address, node.datacenter, node.listen.admin, node.listen.grpc, \
             node.listen.proxy, node.listen.relay, node.name, node.service, node.tags, node.zone",
            "cluster.yaml:3:40: error: `${` without `}` in `${listen`; close it",
        ],
    ),
    // Overrides: problems are reported where the override stands.
    (
        "version: 1\noverrides:\n  - {match: {name: n3}, set: {proxy: {cache: {memory: 64}}, \
         alerts: []}}\n  - {match: {nam: n3}, set: {proxy: {}}}\n  - {match: {}, set: {proxy: \
         {timeouts: {raed: 5s}}}}\n  - {match: {service: balancer}, set: {proxy: {cache: {}}}}\n",
        &[
            "cluster.yaml:3:55: error: the size `64` has no unit; write a whole number with its \
             unit: B, KiB, MiB, GiB or TiB, as in 64KiB or 256MiB",
            "cluster.yaml:3:61: error: `alerts` cannot be set by an override; an override sets \
             proxy, balancer, checks",
            "cluster.yaml:4:14: error: unknown key `nam` in overrides[1].match; did you mean \
             `name`?",
            "cluster.yaml:5:13: warning: an override without a condition holds for every node; set \
             it in the section itself",
            "cluster.yaml:5:42: error: unknown key `raed` in proxy.timeouts; did you mean `read`?",
            "cluster.yaml:6:40: warning: a balancer takes nothing from `proxy`: this has no \
             effect; match the service whose section it is",
        ],
    ),
    // Checks.
    (
        "version: 1\nchecks:\n  - {name: a, type: tcp, url: built-in}\n  - {name: a, type: proxy, \
         url: nowhere}\n  - {name: b, type: http, interval: 1s, timeout: 2s, expect: {status: \
         [200, 700]}}\n  - {name: c, type: grpc}\n  - {name: d, type: connect, service: \
         registry}\n",
        &[
            "cluster.yaml:3:31: error: `url` means nothing for a check of this type; remove it, or \
             change the type",
            "cluster.yaml:4:12: error: check `a` is there twice; first in line 3; give each its \
             own name",
            "cluster.yaml:4:33: error: `nowhere` is not a URL; write built-in or an absolute URL, \
             as in http://example.com/health",
            "cluster.yaml:5:50: error: a probe may not take longer than the interval; make timeout \
             shorter than interval",
            "cluster.yaml:5:77: error: `700` is not a status code or a range of them; write codes \
             from 100 to 599, as in 200 or 200-299",
            "cluster.yaml:6:21: error: `grpc` is not in this version; use tcp or http or proxy or \
             connect",
            "cluster.yaml:7:39: error: this service is not a proxy; check a proxy-node or a \
             balancer this way, or use type tcp or http",
        ],
    ),
    // Past the parents.
    (
        "version: 1\nproxy:\n  hierarchy: {direct: {dstdomain: [.corp.example, \"*.x\"], dst: \
         [10.0.0.1/8]}}\n",
        &[
            "cluster.yaml:3:23: warning: without parents everything goes straight to its origin; \
             remove it, or add parents",
            "cluster.yaml:3:51: error: `*.x`: there are no wildcards in domains; write .x for the \
             domain and everything under it",
            "cluster.yaml:3:65: error: `10.0.0.1/8` has bits beyond its prefix; write 10.0.0.0/8, \
             or 10.0.0.1 for the one address",
        ],
    ),
    (
        "version: 1\nproxy:\n  hierarchy: {direct: {dst: [10.0.0.0/8]}}\n",
        &["cluster.yaml:3:23: warning: without parents everything goes straight to its origin; \
             remove it, or add parents"],
    ),
    (
        "version: 1\nproxy:\n  hierarchy:\n    parents:\n      - {address: \"p:1\", tags: [a]}\n\
         \x20     - {service: balancer, tags: [a]}\n      - {address: \"q:1\", service: \
         proxy-node, tags: [a]}\n      - {service: proxy-node, tags: [a]}\n\
         \x20     - {service: proxy-node, tags: [a], select: carp}\n\
         \x20     - {address: \"r:1\", select: random}\n",
        &[
            "cluster.yaml:5:32: error: `tags` go with `service`, and a parent by address has none; \
             remove them",
            "cluster.yaml:6:19: error: `balancer` is no service that requests could go through; \
             write proxy-node, or name each parent by `address`",
            "cluster.yaml:7:9: error: a parent has an `address` or a `service`, not both; make two \
             of it",
            "cluster.yaml:8:9: error: parent `proxy-node a` is there twice; first in line 6; give \
             each its own name",
            "cluster.yaml:9:9: error: parent `proxy-node a` is there twice; first in line 6; give \
             each its own name",
            "cluster.yaml:10:34: error: `random` is not a value of \
             proxy.hierarchy.parents[5].select; one of: first, round_robin, \
             carp, source",
        ],
    ),
    // Things that belong to later versions, and things that may not be ignored.
    (
        "version: 1\nproxy:\n  hierarchy: {parents: [{service: proxy-node}, {}, {address: \
         \"p:3128\", select: carp}]}\nbalancer:\n  vrrp: [{name: V, interface: eth0, \
         virtual_router_id: 300, priority: {}, addresses: [], auth_pass: hunter2}]\n",
        &[
            "cluster.yaml:3:25: error: every node would be a parent of itself; add the `tags` that \
             the parents have and the others have not, as in tags: [parent]",
            "cluster.yaml:3:48: error: a parent without an address; write {address: \
             \"host:port\"}, or {service: proxy-node, tags: [parent]}",
            "cluster.yaml:5:56: error: balancer.vrrp[0].virtual_router_id cannot be 300; write a \
             number from 1 to 255",
            "cluster.yaml:5:101: error: a secret may not be written into a bundle; write a \
             reference, as in secret:vrrp_auth",
        ],
    ),
    // Backups.
    (
        "version: 1\nbackup:\n  schedule: \"61 3 * * *\"\n  time_zone: Middle Earth\n  keep: \
         {daily: 0}\n  stores: [{url: \"s3://b/p\"}, {url: \"file:../up\"}, {url: backups}]\n",
        &[
            "cluster.yaml:3:13: error: `61 3 * * *` is not a schedule: number out of bounds; write \
             minute, hour, day, month and weekday, as in \"0 3 * * *\"",
            "cluster.yaml:4:14: error: `Middle Earth` is not a time zone; write a name of the IANA \
             database, as in UTC or Europe/Berlin",
            "cluster.yaml:6:18: error: S3 stores are not in this version; write file:DIRECTORY, as \
             in file:backups (in the backup-service's data dir) or file:/var/backups/shoal",
            "cluster.yaml:6:37: error: `file:../up` is not a store; write file:DIRECTORY, as in \
             file:backups (in the backup-service's data dir) or file:/var/backups/shoal",
            "cluster.yaml:6:58: error: `backups` is not a store; write file:DIRECTORY, as in \
             file:backups (in the backup-service's data dir) or file:/var/backups/shoal",
        ],
    ),
    (
        "version: 1\nbackup:\n  schedule: \"0 3 * * *\"\n  keep: {daily: 0}\n  stores: [{url: \
         \"file:a\"}, {url: \"file:a\"}]\n",
        &[
            "cluster.yaml:4:9: error: this keeps no backup at all; keep at least one, as in \
             {daily: 7}, or remove `keep` to keep everything",
            "cluster.yaml:5:35: error: store `file:a` is there twice; first in line 5; give each \
             its own name",
        ],
    ),
    (
        "version: 1\nbackup: {schedule: \"0 3 * * *\", stores: []}\n",
        &["cluster.yaml:2:41: error: backups without a store go nowhere; name one, as in {url: \
             \"file:backups\"}"],
    ),
    // Egress.
    (
        "version: 1\nproxy: {access: {rules: [{deny: [all]}], egress: {allow: [{to: []}, {to: \
         [cluster_ports, localhost]}], deny: [10.0.0.300]}}}\n",
        &[
            "cluster.yaml:2:64: error: proxy.access.egress.allow[0].to is empty; write at least \
             one value",
            "cluster.yaml:2:69: warning: clients of the proxy will reach the cluster's own ports, \
             control plane included; name only the addresses that are needed",
            "cluster.yaml:2:90: error: `localhost` is not a network; write loopback, link_local, \
             metadata, cluster_ports, or a network as in 10.0.0.0/8",
            "cluster.yaml:2:111: error: `10.0.0.300` is not a network; write an IP address or a \
             network, as in 192.168.1.7, 192.168.1.0/24 or 2001:db8::/32",
        ],
    ),
];

#[test]
fn every_problem_is_reported_with_its_place() {
    let mut wrong = String::new();
    for (text, expected) in BAD {
        let said = problems(text);
        if said != *expected {
            wrong.push_str(&format!("\n{text}\nsaid:\n{}\n", said.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn files_are_checked_with_their_lines() {
    let mut files = example_bundle();
    files.insert(
        "lists/blocked_sites.txt".into(),
        b"# x\n.good.example\n*.bad.example\n\nhttp://x/\n".to_vec(),
    );
    files.insert("pages/blocked.html".into(), b"<p>\n  {{urll}} {{url}}</p>".to_vec());
    files.insert("lists/other.txt".into(), Vec::new());
    files.insert("../x".into(), Vec::new());
    let said: Vec<String> = Bundle::from_files(&files).1.iter().map(ToString::to_string).collect();
    let expected = [
        "../x: warning: nothing in cluster.yaml refers to this file; remove it, or refer to it",
        "../x: error: `../x` cannot be a path in a bundle; use letters, digits, `.`, `_` and `-` \
         in file names, none of which begins with a dot",
        "lists/blocked_sites.txt:3: error: `*.bad.example`: there are no wildcards in domains; \
         write .bad.example for the domain and everything under it",
        "lists/blocked_sites.txt:5: error: `http://x/` is a URL or a path, not a domain; write a \
         host name for one host, or .example.com for a domain and everything under it",
        "lists/other.txt: warning: nothing in cluster.yaml refers to this file; remove it, or \
         refer to it",
        "pages/blocked.html:2:3: error: unknown placeholder `{{urll}}`; did you mean `{{url}}`?",
    ];
    assert_eq!(said, expected);
    assert!(
        Bundle::from_files(&BTreeMap::<String, Vec<u8>>::new()).1[0]
            .to_string()
            .starts_with("cluster.yaml: error: there is no cluster.yaml")
    );
}

#[test]
fn rendering_is_typed_canonical_and_differs_by_node() {
    let bundle = Bundle::from_files(&example_bundle()).0.unwrap();
    let mut variables = sample(Service::ProxyNode);
    variables.insert("name".into(), "proxy-node-1".into());
    let first = render(&bundle, Service::ProxyNode, &variables).unwrap();
    assert_eq!(first, render(&bundle, Service::ProxyNode, &variables).unwrap());
    let document = ProxyDocument::from_json(&first.document).unwrap();
    assert_eq!(document.visible_hostname, "proxy-node-1");
    assert_eq!(document.listen[0].bind.to_string(), "192.0.2.1:3128");
    assert_eq!(document.cache.memory, 256 << 20);
    assert_eq!(document.access.rules[0].to_string(), "deny: [\"!safe_ports\"]");
    assert_eq!(document.access.rules[1].to_string(), "deny: [connect, \"!ssl_ports\"]");
    assert_eq!(document.access.rules[2].verdict, Verdict::Deny);
    assert!(matches!(
        &document.access.acls["blocked"],
        Acl::DstdomainList(file) if file.path == "lists/blocked_sites.txt" && file.size > 0
    ));
    let with_another = String::from_utf8(example_bundle()["cluster.yaml"].clone())
        .unwrap()
        .replace("acls: {", "acls: {office_hours: {time: D}, ");
    let with_another = render(
        &Bundle::from_files(&files(&with_another)).0.unwrap(),
        Service::ProxyNode,
        &variables,
    )
    .unwrap();
    assert_eq!(first, with_another, "unused ACLs are left out");
    let paths: Vec<&str> = first.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["lists/blocked_sites.txt", "pages/blocked.html"]);

    variables.insert("name".into(), "proxy-node-3".into());
    let third = render(&bundle, Service::ProxyNode, &variables).unwrap();
    assert_eq!(ProxyDocument::from_json(&third.document).unwrap().cache.memory, 64 << 20);
    assert_ne!(first.sha256, third.sha256);

    let balancer = render(&bundle, Service::Balancer, &sample(Service::Balancer)).unwrap();
    let document = BalancerDocument::from_json(&balancer.document).unwrap();
    assert_eq!(document.backend("squid_servers").unwrap().retry.budget, 20);
    assert!(balancer.files.is_empty());
    let checks = render(&bundle, Service::HealthChecker, &sample(Service::HealthChecker)).unwrap();
    assert_eq!(
        String::from_utf8(checks.document.clone()).unwrap(),
        "{\"checks\":[{\"endpoint\":\"proxy\",\"fall\":3,\"interval\":\"10s\",\
            \"name\":\"through-proxy\",\"probe\":{\"expect\":{\"status\":[[200,200]]},\
            \"type\":\"proxy\",\"url\":\"built_in\"},\"rise\":2,\"service\":\"proxy-node\",\
            \"timeout\":\"5s\"}]}"
    );
    assert_eq!(ChecksDocument::from_json(&checks.document).unwrap().checks.len(), 1);
}

/// How large heads may be and how servers may write them, and where a frontend says whether it
/// serves.
#[test]
fn algorithms_say_what_they_hash_and_how_far() {
    let backend = |written: &str| {
        let main = format!(
            "version: 1\nbalancer:\n  frontends:\n    - {{name: a, bind: \":8080\", backend: \
             nodes}}\n  backends:\n    - {{name: nodes, servers: {{service: proxy-node}}, \
             {written}}}\n"
        );
        let (bundle, problems) = Bundle::from_files(&files(&main));
        let document = bundle.map(|bundle| {
            let rendered = render(&bundle, Service::Balancer, &sample(Service::Balancer));
            BalancerDocument::from_json(&rendered.unwrap().document).unwrap().backends.remove(0)
        });
        (document, problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    for (written, balance, bound) in [
        ("balance: round_robin", "round_robin", None),
        ("balance: weighted_round_robin", "round_robin", None),
        ("balance: uri_hash", "uri_hash", Some(125)),
        ("balance: host_hash, hash_balance_factor: 150", "host_hash", Some(150)),
        ("balance: uri_hash, hash_balance_factor: 0", "uri_hash", None),
        ("balance: ip_hash", "ip_hash", None),
        ("balance: header_hash, hash_header: X-User", "header_hash", None),
    ] {
        let (document, problems) = backend(written);
        let document = document.unwrap_or_else(|| panic!("{written}: {problems}"));
        assert_eq!((document.balance.as_str(), document.hash_bound), (balance, bound), "{written}");
    }
    for (written, said) in [
        (
            "balance: header_hash",
            "does not say which field is hashed; add it, as in hash_header: X-User",
        ),
        ("balance: uri_hash, hash_header: X", "only `balance: header_hash` hashes a field"),
        ("hash_balance_factor: 150", "`balance: round_robin` hashes nothing that could spill over"),
        (
            "balance: uri_hash, hash_balance_factor: 90",
            "allowed more than its share; write more than 100",
        ),
        ("balance: header_hash, hash_header: \"X-User:\"", "is not the name of a header field"),
        ("balance: source", "did you mean `ip_hash`?"),
        ("balance: least_conn", "did you mean `least_connections`?"),
        ("balance: rdp_cookie", "`rdp_cookie` is not in this version"),
    ] {
        let (_, problems) = backend(written);
        assert!(problems.contains(said), "{written}: {problems}");
    }
}

#[test]
fn bounds_of_servers_and_backends() {
    let backend = |servers: &str, written: &str| {
        let main = format!(
            "version: 1\nbalancer:\n  frontends:\n    - {{name: a, bind: \":8080\", backend: \
             nodes}}\n  backends:\n    - {{name: nodes, servers: {{{servers}}}{written}}}\n"
        );
        let (bundle, problems) = Bundle::from_files(&files(&main));
        let document = bundle.map(|bundle| {
            let rendered = render(&bundle, Service::Balancer, &sample(Service::Balancer));
            BalancerDocument::from_json(&rendered.unwrap().document).unwrap().backends.remove(0)
        });
        (document, problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let fixed = "static: [{name: s, address: \"192.0.2.1:80\", maxconn: 5}]";
    let (document, problems) = backend(
        &format!(
            "service: proxy-node, prefer: [zone], maxconn: 200, backup: {{tags: [standby]}}, \
             {fixed}"
        ),
        ", slow_start: 30s, circuit_breaker: {connections: 1000, retries: 3}, timeouts: {connect: \
         2s}, agent_check: {port: 99}, check: {inter: 10s, fastinter: 1s, http: {path: /up, \
         status: [200, 300-302], body: fine}}",
    );
    let document = document.unwrap_or_else(|| panic!("{problems}"));
    let discover = document.discover.unwrap();
    assert_eq!((discover.maxconn, discover.backup_tags), (Some(200), vec!["standby".to_owned()]));
    let check = &document.check;
    assert_eq!(
        (check.fastinter, check.downinter),
        (Duration::from_secs(1), Duration::from_secs(2))
    );
    let http = check.http.as_ref().unwrap();
    assert_eq!((&*http.method, &*http.path, http.body.as_deref()), ("GET", "/up", Some("fine")));
    assert_eq!(http.status, [(200, 200), (300, 302)]);
    let agent = document.agent_check.unwrap();
    assert_eq!((agent.port, agent.inter, document.shed_above), (99, Duration::from_secs(2), 80));
    let prefer = balancer::Prefer { order: vec![balancer::Locality::Zone], spill_over: 70 };
    assert_eq!(document.prefer, prefer);
    assert_eq!(document.slow_start, Duration::from_secs(30));
    assert_eq!(document.servers[0].maxconn, Some(5));
    let breaker = &document.circuit_breaker;
    assert_eq!(
        (breaker.connections, breaker.pending, breaker.retries),
        (Some(1000), 1024, Some(3))
    );
    assert_eq!(document.timeouts.queue, Duration::from_secs(2), "as long as connect");
    let (document, _) = backend("service: proxy-node", ", timeouts: {queue: 30s}");
    assert_eq!(document.unwrap().timeouts.queue, Duration::from_secs(30));
    for (servers, written, said) in [
        ("service: proxy-node, maxconn: 0", "", "maxconn"),
        (
            "maxconn: 5, static: [{name: s, address: \"192.0.2.1:80\"}]",
            "",
            "write it at each server of `static`",
        ),
        ("service: proxy-node", ", timeouts: {queue: 0s}", "a time of zero leaves no time"),
        ("service: proxy-node", ", maxqueue: 5", "is `circuit_breaker` here"),
        ("service: proxy-node, max_conns: 5", "", "did you mean `maxconn`?"),
        ("service: proxy-node, prefer: [datacenter, zone]", "", "write [zone], [datacenter]"),
        ("service: proxy-node, prefer: [rack]", "", "rack"),
        (fixed, ", check: {http: {method: get}}", "write GET"),
        (fixed, ", check: {http: {host: \"a b\"}}", "this is no host"),
        (fixed, ", check: {http: {body: \"\"}}", "1 to 1024 bytes"),
        (fixed, ", check: {http: {method: HEAD, body: x}}", "an answer to HEAD has no body"),
        (fixed, ", check: {http: {status: [abc]}}", "abc"),
        (fixed, ", check: {fastinter: 0s}", "a time of zero leaves no time"),
        ("service: proxy-node", ", check: {http: {}}", "only servers by address are asked"),
        (fixed, ", agent_check: {port: 0}", "port"),
        (fixed, ", shed_above: 130%", "130%"),
        (fixed, ", sticky: {cookie: \"S V\"}", "S V"),
        (fixed, ", sticky: {cookie: SRV, value: address}", "address"),
        (fixed, ", cookie: SRV", "`sticky`"),
        ("service: proxy-node", ", sticky: {cookie: SRV}", "are their origins'"),
        ("service: proxy-node, spill_over: 170%", "", "170%"),
        ("service: proxy-node, backup: {tags: []}", "", "no tag says which servers are backups"),
        (
            "backup: {tags: [x]}, static: [{name: s, address: \"192.0.2.1:80\"}]",
            "",
            "write `backup: true` at a server of `static`",
        ),
        ("service: proxy-node", ", slowstart: 30s", "`slow_start`"),
        ("service: proxy-node", ", slow_start: soon", "soon"),
        ("service: proxy-node", ", circuit_breaker: {pending: -1}", "pending"),
    ] {
        let (_, problems) = backend(servers, written);
        assert!(problems.contains(said), "{servers} {written}: {problems}");
        assert!(problems.contains("cluster.yaml:6:"), "{problems}");
    }
}

#[test]
fn heads_and_health_paths() {
    let balancer = |main: &str| {
        let bundle = Bundle::from_files(&files(main)).0.unwrap();
        BalancerDocument::from_json(
            &render(&bundle, Service::Balancer, &sample(Service::Balancer)).unwrap().document,
        )
        .unwrap()
    };
    let main = "version: 1\nproxy: {request_header_max_size: 16KiB, reply_header_max_size: 96KiB, \
        relaxed_header_parser: false}\nbalancer:\n  frontends:\n\
        \x20   - {name: a, bind: \":8080\", backend: nodes}\n\
        \x20   - {name: b, bind: \":8081\", backend: mixed}\n\
        \x20   - {name: c, bind: \":8082\", backend: mixed, health_path: /up, \
        request_header_max_size: 8KiB}\n  backends:\n    - {name: nodes, servers: {service: \
        proxy-node}}\n    - {name: mixed, servers: {service: proxy-node, static: [{name: s, \
        address: \"192.0.2.1:80\"}]}, reply_header_max_size: 4KiB, relaxed_header_parser: false}\n";
    let document = balancer(main);
    let frontends: Vec<_> = document
        .frontends
        .iter()
        .map(|it| (it.health_path.as_deref(), it.request_header_max_size))
        .collect();
    // Where all servers are nodes the root is nobody's page.
    assert_eq!(frontends, [(Some("/"), 64 << 10), (None, 64 << 10), (Some("/up"), 8 << 10)]);
    let replies: Vec<_> =
        document.backends.iter().map(|it| (it.replies.max_size, it.replies.relaxed)).collect();
    assert_eq!(replies, [(64 << 10, true), (4 << 10, false)]);
    let bundle = Bundle::from_files(&files(main)).0.unwrap();
    let node = ProxyDocument::from_json(
        &render(&bundle, Service::ProxyNode, &sample(Service::ProxyNode)).unwrap().document,
    )
    .unwrap();
    assert_eq!(
        (node.request_header_max_size, node.replies.max_size, node.replies.relaxed),
        (16 << 10, 96 << 10, false)
    );
    // Documents of before name neither.
    let mut json: serde_json::Value = serde_json::to_value(&document).unwrap();
    json["frontends"][0]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| !key.contains("header") && key != "health_path");
    json["backends"][0].as_object_mut().unwrap().remove("replies");
    let old = BalancerDocument::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!(
        (old.frontends[0].health_path.as_deref(), old.frontends[0].request_header_max_size),
        (None, 64 << 10)
    );
    assert!(old.backends[0].replies.relaxed);
    let said = problems(
        "version: 1\nproxy: {request_header_max_size: 1KiB, reply_header_max_size: 1MiB}\n",
    );
    let remedy = "error: a head may have 4KiB to 96KiB; write 64KiB, or leave the key out";
    assert_eq!(
        said,
        [format!("cluster.yaml:2:34: {remedy}"), format!("cluster.yaml:2:63: {remedy}")]
    );
}

/// What one client and one network may have, where the bundle says so and where it does not.
#[test]
fn limits_of_clients_and_networks() {
    let limits = |written: &str| {
        let main = format!("version: 1\nproxy: {{listen: [{{bind: \":3128\"{written}}}]}}\n");
        let bundle = Bundle::from_files(&files(&main)).0.unwrap();
        let rendered = render(&bundle, Service::ProxyNode, &sample(Service::ProxyNode)).unwrap();
        ProxyDocument::from_json(&rendered.document).unwrap().listen[0].limits
    };
    let usual = Limits::default();
    assert_eq!(limits(""), usual);
    let written = "network_ipv4: 16, network_ipv6: 56, network_share: 75%, \
        connections_per_network: 9, unfinished_per_network: 8MiB";
    let all =
        format!(", limits: {{connections_per_client: 5, unfinished_per_client: 1MiB, {written}}}");
    let expected = Limits {
        connections_per_client: Some(5),
        unfinished_per_client: 1 << 20,
        network_ipv4: 16,
        network_ipv6: 56,
        network_share: 75,
        connections_per_network: Some(9),
        unfinished_per_network: 8 << 20,
        ..Limits::default()
    };
    assert_eq!(limits(&all), expected);
    // A head has to fit, and a network has no less than one of its clients.
    let least = limits(", limits: {unfinished_per_client: 1KiB, unfinished_per_network: 1KiB}");
    assert_eq!((least.unfinished_per_client, least.unfinished_per_network), (64 << 10, 64 << 10));
    let more = limits(", limits: {unfinished_per_client: 20MiB}");
    assert_eq!((more.unfinished_per_client, more.unfinished_per_network), (20 << 20, 20 << 20));
    let rate = |per_second, burst| {
        let it = |number| NonZeroU32::new(number).unwrap();
        Some(Rate { per_second: it(per_second), burst: it(burst) })
    };
    let rates = "connection_rate_per_client: {per_second: 5}, connection_rate_per_network: \
        {per_second: 6, burst: 1}, request_rate_per_client: {per_second: 7, burst: 8}, \
        request_rate_per_network: {per_second: 1000000}";
    let others = "memory_per_client: 1KiB, memory_per_network: 1KiB, connections: 9, \
        request_body_max_size: 1MiB, slowest_request: {bytes_per_second: 0}, slowest_response: \
        {over: 200ms}";
    let expected = Limits {
        connection_rate_per_client: rate(5, 50),
        connection_rate_per_network: rate(6, 1),
        request_rate_per_client: rate(7, 8),
        request_rate_per_network: rate(1_000_000, 10_000_000),
        memory_per_client: 1 << 20,
        memory_per_network: 1 << 20,
        connections: Some(9),
        request_body_max_size: Some(1 << 20),
        slowest_request: Slowest { bytes_per_second: 0, over: Duration::from_secs(60) },
        slowest_response: Slowest { bytes_per_second: 64, over: Duration::from_secs(1) },
        ..usual
    };
    assert_eq!(limits(&format!(", limits: {{{rates}, {others}}}")), expected);
    for wrong in [
        "connections: 0",
        "request_rate_per_client: {}",
        "request_rate_per_client: {per_second: 0}",
        "request_rate_per_client: {per_second: 1000001}",
        "request_rate_per_client: {per_second: 1, burst: 0}",
        "request_rate_per_client: 5",
        "slowest_request: {bytes: 5}",
        "network_ipv4: 33",
        "network_ipv4: 7",
        "network_ipv6: 65",
        "network_share: 101%",
        "connections_per_network: 0",
    ] {
        let said = problems(&format!(
            "version: 1\nproxy: {{listen: [{{bind: \":3128\", limits: {{{wrong}}}}}]}}\n"
        ));
        assert!(said.iter().any(|it| it.contains(": error: ")), "{wrong}: {said:?}");
    }
}

#[test]
fn a_node_without_a_variable_is_told_so() {
    let bundle = Bundle::from_files(&example_bundle()).0.unwrap();
    let problems = render(&bundle, Service::Balancer, &BTreeMap::new()).unwrap_err();
    assert!(
        problems[0].to_string().contains("undefined variable `${node.listen.frontend}`"),
        "{problems:?}"
    );
}

#[test]
fn comments_and_order_do_not_change_what_nodes_get() {
    let text = String::from_utf8(example_bundle()["cluster.yaml"].clone()).unwrap();
    let changed = text.replace("# A cluster in production.", "# Another comment.\n\n\n#").replace(
        "{connect: 5s, read: 60s, tunnel_idle: 1h}",
        "{tunnel_idle: 60m, read: 1m, connect: 5000ms}",
    );
    assert_ne!(text, changed);
    let document = |text: &str| {
        render(
            &Bundle::from_files(&files(text)).0.unwrap(),
            Service::ProxyNode,
            &sample(Service::ProxyNode),
        )
        .unwrap()
    };
    assert_eq!(document(&text), document(&changed));
}

#[test]
fn the_schema_describes_every_section() {
    let schema = cluster_config::schema::json_schema();
    for key in ["version", "proxy", "balancer", "checks", "alerts", "dns", "backup", "overrides"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["$defs"]["Cache"]["properties"]["memory"]["default"], "256MiB");
    // What is not acted on is said where editors show it, by one word and in a sentence.
    let text = schema.to_string();
    for mark in ["x-no-effect", "x-refused", "x-later"] {
        fn marked<'s>(
            schema: &'s serde_json::Value,
            mark: &str,
            found: &mut Vec<&'s serde_json::Value>,
        ) {
            match schema {
                serde_json::Value::Object(map) => {
                    if map.contains_key(mark) {
                        found.push(schema);
                    }
                    map.values().for_each(|inner| marked(inner, mark, found));
                }
                serde_json::Value::Array(items) => {
                    items.iter().for_each(|inner| marked(inner, mark, found))
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        marked(&schema, mark, &mut found);
        assert_eq!(found.is_empty(), !text.contains(mark));
        for key in found {
            assert!(key["x-shoal-status"].is_string(), "{key}");
            assert!(
                key["description"].as_str().is_some_and(|text| text.contains("in this version")),
                "{key}"
            );
        }
    }
    assert_eq!(schema["additionalProperties"], false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Bundle::from_files(&BTreeMap::from([("cluster.yaml".to_owned(), bytes)]));
    }

    /// The example with some of it replaced: deeper than arbitrary bytes get.
    #[test]
    fn damaged_bundles_never_panic_and_accepted_ones_render(
        at in 0usize..3000,
        length in 0usize..40,
        with in "[ -~\n]{0,20}",
    ) {
        let mut bytes = example_bundle()["cluster.yaml"].clone();
        let at = at.min(bytes.len());
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, with.into_bytes());
        let mut files = example_bundle();
        files.insert("cluster.yaml".into(), bytes);
        let (bundle, problems) = Bundle::from_files(&files);
        prop_assert!(problems.iter().all(|problem| !problem.message.contains("cannot be \
            read")), "{problems:?}");
        if let Some(bundle) = bundle {
            for service in cluster_config::bundle::FOLLOWERS {
                prop_assert!(render(&bundle, service, &sample(service)).is_ok());
            }
        }
    }
}

#[test]
fn places_for_logs_are_read_and_wrong_ones_are_named() {
    use cluster_config::document::log::{LogAddress, LogFormat, LogFraming};
    let targets = |written: &str| {
        format!(
            "version: 1\nproxy: {{}}\nbalancer: {{frontends: [{{name: f, bind: \"0.0.0.0:8080\", \
             backend: b}}], backends: [{{name: b, servers: {{service: proxy-node}}}}], \
             log_targets: [{written}]}}\n"
        )
    };
    for (written, expected) in [
        ("{to: \"udp://127.0.0.1\"}", "`udp://127.0.0.1` is no place for a log"),
        ("{to: /dev/log}", "`/dev/log` is no place for a log"),
        ("{to: \"unix://dev/log\"}", "`unix://dev/log` is no place for a log"),
        ("{to: \"http://x:1\"}", "write stdout, udp://HOST:PORT"),
        ("{to: stdout, facility: local8}", "local8"),
        ("{to: stdout, format: clf}", "`clf` is no format of a log"),
        ("{to: stdout, format: squid}", "Squid's format is of proxy-nodes"),
        ("{to: stdout, format: \"%ci %zz\"}", "the variable `%zz` at byte 5 cannot be written"),
        ("{to: stdout, format: \"%[src]\"}", "write a variable, as in %ci"),
    ] {
        let told = problems(&targets(written)).join("\n");
        assert!(told.contains(expected), "{written}: {told}");
    }
    for (written, expected) in [
        ("log_targets: [{to: stdout, format: httplog}]", "HAProxy's format is of balancers"),
        ("log_targets: [{to: stdout, format: \"%ci %fc\"}]", "a proxy-node has no `%fc`"),
        ("access_log: {format: off}, log_targets: [{to: stdout}]", "no access log to copy"),
    ] {
        let told = problems(&format!("version: 1\nproxy: {{{written}}}\n")).join("\n");
        assert!(told.contains(expected), "{written}: {told}");
    }
    let written = "{to: \"udp://[2001:db8::1]:514\", tag: haproxy}, {to: stdout, format: json}, \
        {to: \"unix:///dev/log\", framing: rfc5424, facility: authpriv}";
    let (bundle, problems) = Bundle::from_files(&files(&targets(written)));
    let bundle = bundle.unwrap_or_else(|| panic!("{problems:?}"));
    let document = render(&bundle, Service::Balancer, &sample(Service::Balancer)).unwrap().document;
    let read = BalancerDocument::from_json(&document).unwrap().log_targets;
    let [syslog, stdout, unix] = &read[..] else { panic!("{read:?}") };
    assert_eq!(syslog.to, LogAddress::Udp("2001:db8::1".into(), 514));
    assert_eq!(syslog.to.to_string(), "udp://[2001:db8::1]:514");
    assert_eq!(
        (syslog.format.clone(), syslog.framing, syslog.facility, syslog.tag.as_str()),
        (LogFormat::Httplog, LogFraming::Rfc3164, 16, "haproxy")
    );
    assert_eq!(
        (stdout.format.clone(), stdout.framing, stdout.tag.as_str()),
        (LogFormat::Json, LogFraming::Raw, "shoal-balancer")
    );
    assert_eq!((unix.framing, unix.facility), (LogFraming::Rfc5424, 10));
}
