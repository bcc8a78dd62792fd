//! Where clients come in: modes, routes and who the client is, from the bundle to the document.

use cluster::Service;
use cluster_config::{
    BalancerDocument, Bundle,
    bundle::sample,
    document::balancer::{ForwardedFor, Mode, Part},
    example_bundle, render,
};

/// A bundle whose section `balancer` is this.
fn bundle(balancer: &str) -> (Option<Bundle>, Vec<String>) {
    let mut files = example_bundle();
    let main = format!("version: 1\nbalancer:\n{balancer}");
    files.insert("cluster.yaml".into(), main.into_bytes());
    files.insert("lists/downloads.txt".into(), b".mirror.example\n".to_vec());
    let (bundle, problems) = Bundle::from_files(&files);
    let ours = problems.iter().filter(|it| {
        it.message != "nothing in cluster.yaml refers to this file"
            && !it.message.starts_with("no access rules")
    });
    (bundle, ours.map(ToString::to_string).collect())
}

fn document(balancer: &str) -> BalancerDocument {
    let (bundle, problems) = bundle(balancer);
    assert_eq!(problems, Vec::<String>::new());
    let bundle = bundle.expect("a good bundle");
    let rendered =
        render(&bundle, Service::Balancer, &sample(Service::Balancer)).expect("rendered");
    let document = BalancerDocument::from_json(&rendered.document).expect("a document");
    let lists = document.acls.values().filter(|it| it.kind().ends_with("_list")).count();
    assert_eq!(rendered.files.len(), lists, "a balancer gets the lists that it needs");
    document
}

const BACKENDS: &str = "  backends:\n  - {name: nodes, servers: {service: proxy-node}}\n  - {name: \
    big, servers: {static: [{name: s, address: \"192.0.2.1:3128\"}]}}\n";

fn routed(acls: &str, rules: &str) -> String {
    format!(
        "  acls: {{{acls}}}\n  frontends:\n  - {{name: f, bind: \":8080\", backend: nodes, \
         use_backend: [{rules}]}}\n{BACKENDS}"
    )
}

#[test]
fn routes_by_every_kind() {
    let acls = "a: {src: [10.0.0.0/8, 192.168.1.1]}, b: {dstdomain_list: downloads}, c: {port: \
        443}, d: {method: [GET, HEAD]}, e: {path: /x}, f: {path_prefix: [/api/, /v2/]}, \
        g: {path_regex: '\\.rpm$'}, h: {header: {name: X-User, prefix: adm}}, \
        i: {dstdomain: .example.com}, unused: {method: PUT}";
    let document = document(&routed(
        acls,
        "{when: [a, \"!b\"], backend: big}, {when: [c, d, e, f, g, h, i], backend: big}",
    ));
    let kinds: Vec<_> = document.acls.iter().map(|(name, acl)| (&**name, acl.kind())).collect();
    assert_eq!(
        kinds,
        [
            ("a", "src"),
            ("b", "dstdomain_list"),
            ("c", "port"),
            ("d", "method"),
            ("e", "path"),
            ("f", "path_prefix"),
            ("g", "path_regex"),
            ("h", "header"),
            ("i", "dstdomain"),
        ]
    );
    let rules = &document.frontends[0].use_backend;
    assert_eq!(rules[0].to_string(), "when: [a, \"!b\"]");
    assert_eq!((&*rules[1].backend, rules[1].when.len()), ("big", 7));
}

#[test]
fn modes_and_who_the_client_is() {
    let document = document(
        "  acls: {a: {sni: [.a.example]}}\n  frontends:\n  - {name: f, bind: \":8443\", mode: tcp, \
         backend: b, use_backend: [{when: [a], backend: c}], proxy_protocol: {from: \
         [10.0.0.0/8]}}\n  backends:\n  - {name: b, mode: tcp, balance: ip_hash, servers: \
         {service: proxy-node}}\n  - {name: c, mode: tcp, send_proxy: v2, servers: {static: \
         [{name: s, address: \"192.0.2.1:443\"}]}}\n",
    );
    let frontend = &document.frontends[0];
    assert_eq!((frontend.mode, &frontend.health_path), (Mode::Tcp, &None));
    assert_eq!(frontend.proxy_protocol, ["10.0.0.0/8".parse().expect("a network")]);
    assert!(document.backends[0].send_proxy.is_none() && document.backends[1].send_proxy.is_some());
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    let tcp = |frontend: &str, backend: &str| {
        format!(
            "  acls: {{p: {{path: /}}, s: {{sni: a.example}}}}\n  frontends:\n  - {{name: f, bind: \
             \":1\", {frontend}}}\n  backends:\n  - {{name: b, {backend}, servers: {{service: \
             proxy-node}}}}\n"
        )
    };
    for (text, place, expected) in [
        (routed("", "{when: [gone], backend: big}"), 5, "unknown ACL `gone`"),
        (routed("a: {src: 10.0.0.1}", "{when: [a], backend: bg}"), 5, "unknown backend `bg`"),
        (routed("", "{when: [], backend: big}"), 5, "a rule without ACLs"),
        (routed("a: {}", "{when: [a], backend: big}"), 3, "an ACL without a condition"),
        (
            routed("a: {src: 10.0.0.1, port: 1}", "{when: [a], backend: big}"),
            3,
            "an ACL of 2 kinds: src, port",
        ),
        (routed("a: {src_list: gone}", "{when: [a], backend: big}"), 3, "there is no file"),
        (routed("a: {path: x}", "{when: [a], backend: big}"), 3, "`x` is not a path"),
        (routed("all: {path: /}", "{when: [all], backend: big}"), 3, "`all` is built in"),
        (
            routed("a: {sni: b.example}", "{when: [a], backend: big}"),
            5,
            "`a` looks at sni, and no TLS passes through this frontend",
        ),
        (
            routed("a: {port: 1}", "{when: [a, \"!a\"], backend: big}"),
            5,
            "can never match: it demands an ACL and its opposite",
        ),
        (
            routed(
                "a: {path_prefix: /x}, b: {path: /xy}",
                "{when: [a], backend: big}, {when: [b], backend: big}",
            ),
            5,
            "`when: [b]` is never reached: `when: [a]` in line 5 matches whenever it would",
        ),
        (
            tcp("mode: tcp, backend: b", "mode: http"),
            5,
            "a frontend of mode tcp cannot use backend `b` of mode http",
        ),
        (
            tcp("mode: tcp, backend: b", "mode: tcp, balance: uri_hash"),
            7,
            "`uri_hash` needs requests or their answers",
        ),
        (
            tcp("mode: tcp, backend: b, health_path: /", "mode: tcp"),
            5,
            "a frontend of mode tcp reads no requests, and answers none",
        ),
        (
            tcp("mode: tcp, backend: b, use_backend: [{when: [p], backend: b}]", "mode: tcp"),
            5,
            "`p` looks at path, and a frontend of mode tcp reads no requests",
        ),
        (
            tcp(
                "mode: tcp, backend: b, tls: {certificates: [{certificate: \"file:/a\", key: \
                 \"file:/b\"}]}, use_backend: [{when: [s], backend: b}]",
                "mode: tcp",
            ),
            5,
            "`s` looks at sni, and no TLS passes through this frontend",
        ),
        (tcp("backend: b, tls: {certificates: []}", "mode: http"), 5, "certificates is empty"),
        (
            tcp("mode: tcp, backend: b, http2: {prior_knowledge: true}", "mode: tcp"),
            5,
            "a frontend of mode tcp passes on what clients speak, whatever it is",
        ),
        (
            tcp(
                "backend: b, http2: {prior_knowledge: true}, tls: {certificates: \
                 [{certificate: \"file:/a\", key: \"file:/b\"}]}",
                "mode: http",
            ),
            5,
            "with TLS, clients and balancer agree on HTTP/2 in the handshake",
        ),
        (
            tcp("backend: b, http2: {max_concurrent_streams: 0}", "mode: http"),
            5,
            "max_concurrent_streams",
        ),
        (
            tcp("backend: b, tls: {certificates: [{certificate: a.pem, key: x}]}", "mode: http"),
            5,
            "`a.pem` is not a file of the host",
        ),
        (tcp("backend: b", "send_proxy: v1"), 7, "only servers by address are sent it"),
        (
            tcp("backend: b, proxy_protocol: {from: []}", "mode: http"),
            5,
            "proxy_protocol.from is empty",
        ),
        (tcp("backend: b, proxy_protocol: {from: [x]}", "mode: http"), 5, "`x` is not a network"),
    ] {
        let (_, problems) = bundle(&text);
        let place = format!("cluster.yaml:{place}:");
        assert!(
            problems.iter().any(|it| it.contains(expected) && it.contains(&place)),
            "{expected} at {place}: {problems:?}"
        );
    }
}

#[test]
fn a_frontend_listens_at_one_place_or_at_several() {
    let said = |frontend: &str| {
        format!("  frontends:\n  - {{name: f, backend: nodes, {frontend}}}\n{NODES}")
    };
    let binds = |frontend: &str| {
        let document = document(&said(frontend));
        document.frontends[0].bind.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(binds("bind: \":8080\""), ["0.0.0.0:8080"]);
    assert_eq!(
        binds("bind: [\":8080\", \"[::1]:8080\", \"unix:/run/shoal/http.sock\"]"),
        ["0.0.0.0:8080", "[::1]:8080", "unix:/run/shoal/http.sock"]
    );
    for spelling in ["/run/a.sock", "unix@/run/a.sock"] {
        assert_eq!(binds(&format!("bind: {spelling}")), ["unix:/run/a.sock"], "as HAProxy has it");
    }
    let frontend = |frontend: &str| document(&said(frontend)).frontends.remove(0);
    let file = frontend("bind: unix:/a, unix: {mode: 0600, group: www-data}");
    assert_eq!((file.unix.mode, file.unix.group.as_deref()), (0o600, Some("www-data")));
    assert_eq!(frontend("bind: unix:/a").unix.mode, 0o660);
    let trusting = frontend("bind: unix:/a, proxy_protocol: {from: [10.0.0.0/8, unix]}");
    assert!(trusting.proxy_protocol_unix && trusting.proxy_protocol.len() == 1);

    // One address is written as balancers of the version before read it.
    let json = serde_json::to_value(frontend("bind: \":8080\"")).expect("JSON");
    assert_eq!(json["bind"], "0.0.0.0:8080");
}

#[test]
fn what_is_no_place_to_listen_is_named() {
    let two = "name: g, backend: nodes, ";
    for (frontend, problem) in [
        ("bind: []", "listens nowhere"),
        ("bind: unix:run/a.sock", "absolute"),
        ("bind: \"unix:/run/../a.sock\"", "absolute and plain"),
        ("bind: unix:/a, unix: {mode: 888}", "is not the mode"),
        ("bind: unix:/a, unix: {mode: 4755}", "is not the mode"),
        ("bind: \":8080\", proxy_protocol: {from: [unix]}", "listens at no file"),
        ("bind: [unix:/a, unix:/a]", "two frontends bind unix:/a"),
        (&format!("bind: [\":1\", \":2\"]}}, {{{two}bind: \":2\""), "two frontends bind :2"),
        (&format!("bind: unix:/{}", "x".repeat(107)), "longer than 107"),
    ] {
        let bundle_of = format!("  frontends: [{{name: f, backend: nodes, {frontend}}}]\n{NODES}");
        let (_, problems) = bundle(&bundle_of);
        let found =
            problems.iter().any(|it| it.starts_with("cluster.yaml:3:") && it.contains(problem));
        assert!(found, "{frontend}: {problems:?}");
    }
}

const NODES: &str = "  backends: [{name: nodes, servers: {service: proxy-node}}]\n";

#[test]
fn how_many_workers_accept() {
    let with = |workers: &str| {
        document(&format!(
            "  frontends: [{{name: f, bind: \":1\", backend: nodes}}]\n{NODES}{workers}"
        ))
    };
    assert_eq!((with("").workers, with("  workers: 3\n").workers), (None, Some(3)));
}

#[test]
fn fields_are_said_by_name_and_value() {
    let frontend = |said: &str| {
        let frontend = format!("{{name: f, bind: \":1\", backend: nodes, {said}}}");
        document(&format!("  frontends: [{frontend}]\n{NODES}")).frontends.remove(0)
    };
    // What the reference's nginx says of its upstreams.
    let nginx = frontend("request_fields: {set: {X-Real-IP: \"%{client}\"}, remove: [X-Debug]}");
    let fields = &nginx.request_fields;
    assert_eq!(
        (&*fields.set[0].name, &fields.set[0].value[..]),
        ("X-Real-IP", &[Part::Client][..])
    );
    assert_eq!(fields.remove, ["x-debug"]);
    assert!(nginx.response_fields.is_empty());
    let number = frontend("response_fields: {add: {X-Level: 7}}");
    assert_eq!(number.response_fields.add[0].value, [Part::Text("7".to_owned())]);
    let optional = frontend(
        "tls: {certificates: [{certificate: \"file:/a\", key: \"file:/b\"}], \
         client_ca: \"file:/c\", client_certificates: optional}",
    );
    assert!(optional.tls.expect("TLS").client_certificates_optional);
}

/// Chapter 3.3 of the reference: weights, failures, kept connections, the fields that its nginx
/// sets (Host goes on as it came, in any case) and its times.
#[test]
fn the_reference_s_nginx_configuration() {
    let server = |number: u8, weight: u8| {
        format!("{{name: s{number}, address: \"192.168.1.1{number}:3128\", weight: {weight}}}")
    };
    let servers = [server(1, 3), server(2, 2), server(3, 1)].join(", ");
    let document = document(&format!(
        "  frontends:\n  - {{name: http, bind: \":80\", backend: proxy_backend, \
         timeouts: {{client: 30s}}, request_fields: {{set: {{X-Real-IP: \"%{{client}}\"}}}}}}\n  \
         backends:\n  - {{name: proxy_backend, balance: round_robin, keepalive: 32, \
         forwarded_for: append, passive: {{max_fails: 2, fail_timeout: 30s}}, \
         timeouts: {{connect: 30s, server: 30s}}, servers: {{static: [{servers}]}}}}\n"
    ));
    let [backend] = &document.backends[..] else { panic!("one: {document:?}") };
    let weights: Vec<_> = backend.servers.iter().map(|it| (&*it.host, it.weight)).collect();
    assert_eq!(weights, [("192.168.1.11", 3), ("192.168.1.12", 2), ("192.168.1.13", 1)]);
    assert_eq!((backend.passive.max_fails, backend.passive.fail_timeout.as_secs()), (2, 30));
    assert_eq!((backend.keepalive, backend.forwarded_for), (32, ForwardedFor::Append));
    let [frontend] = &document.frontends[..] else { panic!("one: {document:?}") };
    let [field] = &frontend.request_fields.set[..] else { panic!("one: {frontend:?}") };
    assert_eq!((&*field.name, &field.value[..]), ("X-Real-IP", &[Part::Client][..]));
    let times = [frontend.timeouts.client, backend.timeouts.connect, backend.timeouts.server];
    assert_eq!(times.map(|it| it.as_secs()), [30; 3]);
}

#[test]
fn fields_that_are_not_for_a_bundle_to_say_are_refused() {
    for (said, problem) in [
        ("request_fields: {set: {Host: x}}", "where a message goes or ends"),
        ("request_fields: {remove: [content-LENGTH]}", "where a message goes or ends"),
        ("response_fields: {add: {Transfer-Encoding: x}}", "where a message goes or ends"),
        ("request_fields: {add: {Connection: x}}", "meant for one connection"),
        ("request_fields: {set: {X-Forwarded-For: x}}", "say forwarded_for"),
        ("request_fields: {remove: [Proxy-Authorization]}", "between clients and the proxy"),
        ("request_fields: {set: {Shoal-Client-Certificate: x}}", "for the cluster itself"),
        ("request_fields: {set: {\"X Y\": x}}", "is not the name of a header field"),
        ("request_fields: {set: {X: \"%{cilent}\"}}", "did you mean `%{client}`?"),
        ("request_fields: {set: {X: \"a\\r\\nB: c\"}}", "no control characters"),
        ("request_fields: {set: {X-A: x}, remove: [x-a]}", "something else is said of `x-a`"),
        ("mode: tcp, request_fields: {remove: [X-A]}", "reads no messages"),
        (
            "tls: {certificates: [{certificate: \"file:/a\", key: \"file:/b\"}], \
             client_certificates: optional}",
            "nobody says which certificates are good",
        ),
    ] {
        let frontend = format!("{{name: f, bind: \":1\", backend: nodes, {said}}}");
        let (_, problems) = bundle(&format!("  frontends: [{frontend}]\n{NODES}"));
        assert!(problems.iter().any(|it| it.contains(problem)), "{said}: {problems:?}");
    }
    let silent = NODES.replace("}]", ", forwarded_for: delete}]");
    let frontend = "  frontends: [{name: f, bind: \":1\", backend: nodes}]\n";
    let (_, problems) = bundle(&format!("{frontend}{silent}"));
    assert!(problems.iter().any(|it| it.contains("whose requests they judge")), "{problems:?}");
}
