//! Bundles as somebody writes them who meets the format for the first time, and what he is told.

use cluster_config::{Bundle, example_bundle};

fn said(main: &str) -> Vec<String> {
    let mut files = example_bundle();
    files.insert("cluster.yaml".into(), main.as_bytes().to_vec());
    let (_, problems) = Bundle::from_files(&files);
    let noise = [
        "nothing in cluster.yaml refers",
        "no access rules",
        "no frontends",
        "requests that no rule matches",
    ];
    problems
        .iter()
        .filter(|p| !noise.iter().any(|start| p.message.starts_with(start)))
        .map(ToString::to_string)
        .collect()
}

/// Text of cluster.yaml → everything that is said of it.
const CASES: &[(&str, &[&str])] = &[
    (
        "version: 1\nproxy:\n  hierarchy:\n    direct: {always: [[nobody], [inside], []]}\n    \
         parents: [{address: \"a:1\", weight: 2}, {service: proxy-node, tags: [x], tls: true}]\n  \
         access: {acls: {inside: {dst: [10.0.0.0/8]}}, rules: [{deny: [all]}]}\n",
        &[
            "cluster.yaml:4:24: error: unknown ACL `nobody`; define it, or use one of: inside, \
             all, localhost, to_localhost, to_linklocal",
            "cluster.yaml:4:34: error: `inside` looks at the address of the destination, which is \
             not known yet where an answer is looked for; use `dstdomain` or `url_regex`",
            "cluster.yaml:4:43: error: a list without a name would be for everybody; name an ACL; \
             everybody is `all`",
            "cluster.yaml:5:40: warning: the first parent that lives is asked, whatever its \
             weight; write select: round_robin, carp or source, or remove the weight",
            "cluster.yaml:5:82: error: `tls` goes with `address`: nodes have none; remove it",
        ],
    ),
    (
        "version: 1\nproxy: {hierarchy: {icp: {bind: \"127.0.0.1:3130\", allow: []}, siblings: \
         {service: balancer, max_timeout: 0s}}}\n",
        &[
            "cluster.yaml:2:58: error: nobody would be answered; name the addresses of the caches \
             that ask",
            "cluster.yaml:2:83: error: `balancer` is no service that has a cache; write \
             proxy-node, or name each sibling in `peers`",
            "cluster.yaml:2:106: error: a time of zero leaves no time at all; write a longer one",
        ],
    ),
    (
        "version: 1\nproxy: {hierarchy: {icp: {bind: \"127.0.0.1:3130\", allow: [0.0.0.0/0]}, \
         siblings: {peers: [{address: \"a:1\"}, {address: \"a:1\", icp_port: 7}]}}}\n",
        &[
            "cluster.yaml:2:59: warning: whoever forges an address has this node send answers \
             there; name the addresses of the caches that ask",
            "cluster.yaml:2:109: error: sibling `a:1` is there twice; first in line 2; give each \
             its own name",
        ],
    ),
    (
        "version: 1\nproxy: {hierarchy: {siblings: {proxy_only: false}}}\n",
        &["cluster.yaml:2:31: error: nobody would be asked; list `peers`, or write service: \
           proxy-node"],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls:\n      x: {port: 80}\n      acl office src \
         10.0.0.0/8\n",
        &["cluster.yaml:6:7: error: not YAML: `acl office src 10.0.0.0/8` is neither a key nor \
             the value of one; a colon parts a key from its value: `acl: office src 10.0.0.0/8`"],
    ),
    (
        "version: 1\nproxy: {cache: {cache_mem: 1MiB}, access: {acls: {x: {source: [10.0.0.0/8]}}, \
         rules: [{deny: [x]}, {deny: [all]}]}}\n",
        &[
            "cluster.yaml:2:17: error: unknown key `cache_mem` in proxy.cache; what others call \
             `cache_mem` is `memory` here",
            "cluster.yaml:2:55: error: unknown key `source` in proxy.access.acls.x; what others \
             call `source` is `src` here",
        ],
    ),
    (
        "version: 1\nproxy: {access: {acls: {x: {src: [10.0.0.0/255.255.0.0, 10.0.0.1-10.0.0.4, \
         10.0.0.9-10.0.0.1]}}, rules: [{deny: [x]}, {deny: [all]}]}}\n",
        &[
            "cluster.yaml:2:35: error: `10.0.0.0/255.255.0.0` is not a network; write 10.0.0.0/16",
            "cluster.yaml:2:57: error: `10.0.0.1-10.0.0.4` is not a network; a range is written as \
             its networks: 10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/32",
            "cluster.yaml:2:76: error: `10.0.0.9-10.0.0.1` is not a network; it runs backwards, \
             and there are no ranges here: write networks",
        ],
    ),
    (
        "version: 1\nproxy: {cache: {refresh_patterns: refresh_pattern . 0 20% 4320}}\n",
        &["cluster.yaml:2:35: error: proxy.cache.refresh_patterns must be a list, not the text \
             `refresh_pattern . 0 20% 4320`; write a list of maps, as in [{key: value}]; the \
             schema (`shoal config schema`) says which keys"],
    ),
    (
        "version: 1\nproxy: {cache: {refresh_patterns: [{url_regex: 'x', min: 1h, percent: 80%, \
         max: 2h}]}}\n",
        &["cluster.yaml:2:71: error: proxy.cache.refresh_patterns[0].percent must be a whole \
             number, not the text `80%`; write 80, without quotes or fraction"],
    ),
    (
        "version: 1\nproxies:\n  listen: [{bind: \"${node.listen.proxy}\"}]\n",
        &["cluster.yaml:2:1: error: unknown key `proxies` at the top; did you mean `proxy`?"],
    ),
    (
        "version: 1\nbalancer:\n  frontends:\n    - {name: a, bind: \"${node.listen.frontend}\", \
         backend: n}\n    - {name: b, bind: \"${node.listen.frontend}\", backend: n}\n  backends: \
         [{name: n, servers: {service: proxy-node}}]\n",
        &["cluster.yaml:5:23: error: two frontends bind ${node.listen.frontend}; the first in \
             line 4; give each a port of its own"],
    ),
    (
        "version: 1\nproxy: {access: {rules: [{deny: [all], page: block}]}}\n",
        &["cluster.yaml:2:46: error: there is no file pages/block.html; did you mean `blocked`?"],
    ),
    (
        "version: 1\nproxy:\n  visible_hostname: \"abc\n  cache: {memory: 1MiB}\n",
        &["cluster.yaml:3:21: error: not YAML: the quote \" that is opened here is not closed in \
             its line; close it with \" where the text ends"],
    ),
    (
        "version: 1\nproxy:\n  visible_hostname: 'abc\n  cache: {memory: 1MiB}\n",
        &["cluster.yaml:3:21: error: not YAML: the quote ' that is opened here is not closed in \
             its line; close it with ' where the text ends"],
    ),
    (
        "version: 1\nproxy:\n\tcache: {memory: 1MiB}\n",
        &["cluster.yaml:3:1: error: not YAML: a tab where YAML takes only spaces; indent with \
             spaces"],
    ),
    (
        "version: 1\nproxy:\n  cache:\n\t  memory: 1MiB\n",
        &["cluster.yaml:4:1: error: not YAML: a tab where YAML takes only spaces; indent with \
             spaces"],
    ),
    (
        "version: 1\nproxy:\n  access: {acls: {x: {dstdomain: [*.example.com]}}, rules: [{deny: \
         [x]}, {deny: [all]}]}\n",
        &["cluster.yaml:3:35: error: not YAML: `*.example.com` begins with `*`, which YAML takes \
             for an alias; for the domain and everything under it write .example.com; what has to \
             begin with `*` goes into quotes"],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls:\n      x:\n        dstdomain:\n          - \
         *.example.com\n    rules: [{deny: [x]}, {deny: [all]}]\n",
        &["cluster.yaml:7:13: error: not YAML: `*.example.com` begins with `*`, which YAML takes \
             for an alias; for the domain and everything under it write .example.com; what has to \
             begin with `*` goes into quotes"],
    ),
    (
        "version: 1\nproxy:\n  access: {acls: {x: {dstdomain: .a.test}}, rules: [{deny: [all]}]}\n",
        &["cluster.yaml:3:19: warning: no rule uses the ACL `x`; use it in a rule, or remove it"],
    ),
    (
        "version: 1\nproxy:\n  cache: {memory: 900TiB}\n",
        &["cluster.yaml:3:19: error: a cache of 900TiB is more than any machine's memory; write \
             at most 16TiB, and less than the smallest node has"],
    ),
    (
        "version: 1\nproxy:\ncache: {memory: 1MiB}\n",
        &["cluster.yaml:3:1: error: unknown key `cache` at the top; it belongs into proxy: look \
             at the indentation; known here: alerts, backup, balancer, checks, dns, overrides, \
             proxy, version"],
    ),
    (
        "version: 1\nproxy:\n   cache: {memory: 1MiB}\n  timeouts: {connect: 5s}\n",
        &["cluster.yaml:4:3: error: not YAML: this line is indented by 2, and nothing above \
             begins there; line 3 before it is indented by 3; indent it as far as the lines that \
             it stands beside"],
    ),
    (
        "version: 1\nproxy:\n  cache: {memory: 256MB}\n  timeouts: {connect: 5 s, read: 5sec, \
         write: 1m30s}\n",
        &[
            "cluster.yaml:3:19: error: `MB` in `256MB` is not a unit here; write 256MiB",
            "cluster.yaml:4:34: error: `sec` in `5sec` is not a unit of time; write a whole number \
             with its unit: ms, s, m, h or d, as in 200ms, 5s, 30m, 1h or 30d",
            "cluster.yaml:4:47: error: `1m30s` is not one whole number with one unit; write a \
             whole number with its unit: ms, s, m, h or d, as in 200ms, 5s, 30m, 1h or 30d",
        ],
    ),
    (
        "version: 1\nproxy:\n  cache: {memory: 256 MB, max_object_size: 1.5GiB, \
         collapsed_forwarding: yes}\n",
        &[
            "cluster.yaml:3:19: error: `MB` in `256 MB` is not a unit here; write 256MiB",
            "cluster.yaml:3:44: error: `1.5GiB` is not one whole number with one unit; write a \
             whole number with its unit: B, KiB, MiB, GiB or TiB, as in 64KiB or 256MiB",
            "cluster.yaml:3:74: error: proxy.cache.collapsed_forwarding must be true or false, not \
             the text `yes`; write true",
        ],
    ),
    (
        "version: 1\nproxy:\n  cache: {memory: 256}\n  cache: {memory: 128}\n",
        &[
            "cluster.yaml:3:19: error: the size `256` has no unit; write a whole number with its \
             unit: B, KiB, MiB, GiB or TiB, as in 64KiB or 256MiB",
            "cluster.yaml:4:3: error: `cache` is there twice; first in line 3; keep one of them",
        ],
    ),
    (
        "version: 1\nproxy:\n  listen: [{bind: \"0.0.0.0:99999\"}]\n",
        &["cluster.yaml:3:19: error: `99999` in `0.0.0.0:99999` is not a port; write a port from \
             1 to 65535"],
    ),
    (
        "version: 1\nproxy:\n  listen: [{bind: 3128}]\n",
        &["cluster.yaml:3:19: error: `3128` is not an address to bind; write :3128 for this port \
             at every IPv4 address"],
    ),
    (
        "version: 1\nproxy:\n  listen: 3128\n",
        &["cluster.yaml:3:11: error: proxy.listen must be a list, not the number 3128; write a \
             list of maps, as in [{key: value}]; the schema (`shoal config schema`) says which \
             keys"],
    ),
    (
        "version: 1\nproxy:\n  listen: {bind: \":3128\"}\n",
        &["cluster.yaml:3:11: error: proxy.listen must be a list, not a map; put brackets around \
             it, as in [{…}], or begin it with `- `"],
    ),
    (
        "version: 1\nproxy:\n  listen: [{bind: localhost:3128}]\n",
        &["cluster.yaml:3:19: error: `localhost:3128` is not an address to bind; write the IP \
             address instead of the name `localhost`, as in 127.0.0.1:3128"],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls: {lan: {src: 192.168.1.5/24}}\n    rules: \
         [{allow: lan}, {deny: [all]}]\n",
        &[
            "cluster.yaml:4:23: error: `192.168.1.5/24` has bits beyond its prefix; write \
             192.168.1.0/24, or 192.168.1.5 for the one address",
            "cluster.yaml:5:21: error: proxy.access.rules[0].allow must be a list, not the text \
             `lan`; write [lan]",
        ],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls: {lan: {src: \"192.168.1.0 - 192.168.1.255\"}}\n\
         \x20   rules: [{allow: [lan]}, {deny: all}]\n",
        &[
            "cluster.yaml:4:23: error: `192.168.1.0 - 192.168.1.255` is not a network; a range is \
             written as its networks: 192.168.1.0/24",
            "cluster.yaml:5:36: error: proxy.access.rules[1].deny must be a list, not the text \
             `all`; write [all]",
        ],
    ),
    (
        "version: 1\nproxy:\n  access:\n    rules: {allow: [all]}\n",
        &["cluster.yaml:4:12: error: proxy.access.rules must be a list, not a map; put brackets \
             around it, as in [{…}], or begin it with `- `"],
    ),
    (
        "version: 1\nproxy:\n  access:\n    rules:\n      - allow all\n",
        &["cluster.yaml:5:9: error: proxy.access.rules[0] must be a map, not the text `allow \
             all`; write {key: value}, or `key: value` lines under it; known here: allow, deny, \
             page"],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls: {x: {url_regex: ''}}\n    rules: [{deny: [x]}, \
         {deny: [all]}]\n",
        &["cluster.yaml:4:27: error: an empty regular expression matches everything; write one \
             that is meant, or remove it"],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls: {x: {url_regex: 'foo|'}, y: {dstdomain: []}, z: \
         {url_regex: [a, '']}}\n    rules: [{deny: [x]}, {deny: [y]}, {deny: [z]}, {deny: \
         [all]}]\n",
        &[
            "cluster.yaml:4:27: warning: `foo|` matches every request; remove the part that \
             matches nothing in particular, such as what is empty beside `|`; `all` says that \
             every request is meant",
            "cluster.yaml:4:39: warning: an ACL without values never matches; give it a value, or \
             remove it",
            "cluster.yaml:4:75: error: an empty regular expression matches everything; write one \
             that is meant, or remove it",
        ],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls: {x: {domain: .a.test}}\n    rules: [{deny: [x]}, \
         {deny: [all]}]\n",
        &["cluster.yaml:4:16: error: unknown key `domain` in proxy.access.acls.x; what others \
             call `domain` is `dstdomain` here"],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls: {x: .a.test}\n    rules: [{deny: [x]}, {deny: \
         [all]}]\n",
        &["cluster.yaml:4:15: error: proxy.access.acls.x must be a map, not the text `.a.test`; \
             write {key: value}, or `key: value` lines under it; known here: dst, dst_list, \
             dstdomain, dstdomain_list, method, port, src, src_list, time, url_regex"],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls: [{x: {dstdomain: .a.test}}]\n    rules: [{deny: \
         [x]}, {deny: [all]}]\n",
        &[
            "cluster.yaml:4:11: error: proxy.access.acls must be a map, not a list; write {key: \
             value}, or `key: value` lines under it",
            "cluster.yaml:5:21: error: unknown ACL `x`; define it, or use one of: all, localhost, \
             to_localhost, to_linklocal",
        ],
    ),
    (
        "version: 1\nbalancer:\n  frontends: [{name: a, bind: \":8080\", backend: n}]\n  backends: \
         [{name: n, servers: {service: proxynode}}]\n",
        &["cluster.yaml:4:43: error: `proxynode` is not a value of \
             balancer.backends[0].servers.service; did you mean `proxy-node`?"],
    ),
    (
        "version: 1\nbalancer:\n  frontends: [{name: a, bind: \":8080\", backend: n}]\n  backends: \
         [{name: n, servers: [10.0.0.1:3128]}]\n",
        &["cluster.yaml:4:33: error: balancer.backends[0].servers must be a map, not a list; \
             write {key: value}, or `key: value` lines under it; known here: backup, datacenter, \
             maxconn, prefer, service, spill_over, static, tags"],
    ),
    (
        "version: 1\nbalancer:\n  frontend: [{name: a, bind: \":8080\", backend: n}]\n  backend: \
         [{name: n, servers: {service: proxy-node}}]\n",
        &[
            "cluster.yaml:3:3: error: unknown key `frontend` in balancer; did you mean \
             `frontends`?",
            "cluster.yaml:4:3: error: unknown key `backend` in balancer; did you mean `backends`?",
        ],
    ),
    (
        "version: 1\nchecks:\n  - name: a\n    type: http\n  - name: b\n   type: http\n",
        &["cluster.yaml:6:4: error: not YAML: this line is indented by 3, and nothing above \
             begins there; line 5 before it is indented by 2; indent it as far as the lines that \
             it stands beside"],
    ),
    (
        "version: 1\nchecks:\n  - name: a\n    type: http\n    interval: 10\n    timeout: 1s\n    \
         expect: 200\n",
        &[
            "cluster.yaml:5:15: error: the duration `10` has no unit; write a whole number with \
             its unit: ms, s, m, h or d, as in 200ms, 5s, 30m, 1h or 30d",
            "cluster.yaml:7:13: error: checks[0].expect must be a map, not the number 200; write \
             {key: value}, or `key: value` lines under it; known here: status",
        ],
    ),
    (
        "version: '1'\n",
        &["cluster.yaml:1:10: error: version must be a whole number, not the text `1`; write 1, \
             without quotes or fraction"],
    ),
    (
        "version: 1.0\n",
        &["cluster.yaml:1:10: error: version must be a whole number, not the number 1.0; write \
             1, without quotes or fraction"],
    ),
    (
        "version: v1\n",
        &["cluster.yaml:1:10: error: version must be a whole number, not the text `v1`; write a \
             whole number without a unit"],
    ),
    (
        "proxy: {}\n",
        &["cluster.yaml:1:1: error: `version` is missing in the file; write version: 1"],
    ),
    (
        "version: 1\nproxy:\n  visible_hostname: @home\n",
        &["cluster.yaml:3:21: error: not YAML: a value cannot begin with `@`; put it in quotes"],
    ),
    (
        "version: 1\nproxy:\n  visible_hostname: a: b\n",
        &["cluster.yaml:3:22: error: not YAML: a second colon in one line; put a value that \
             holds `: ` in quotes; begin every key in a line of its own, or put `{…}` around \
             them"],
    ),
    (
        "version: 1\nproxy:\n  visible_hostname: %x\n",
        &["cluster.yaml:3:21: error: not YAML: a value cannot begin with `%`; put it in quotes"],
    ),
    (
        "version: 1\nproxy:\n  visible_hostname: `x`\n",
        &["cluster.yaml:3:21: error: not YAML: a value cannot begin with ```; put it in quotes"],
    ),
    (
        "version: 1\nproxy:\n  cache {memory: 1MiB}\n",
        &["cluster.yaml:3:3: error: unknown key `cache {memory` in proxy; write a colon behind \
             `cache`"],
    ),
    (
        "version: 1\nproxy\n  cache: {memory: 1MiB}\n",
        &["cluster.yaml:2:1: error: not YAML: `proxy` is neither a key nor the value of one; \
             write `proxy:` for a key"],
    ),
    (
        "version: 1\nproxy:\n  cache: {memory: 1MiB\n  timeouts: {connect: 5s}\n",
        &["cluster.yaml:3:10: error: not YAML: the `{` that is opened here is not closed before \
             line 4; close the `{` with `}` where its content ends, and put a comma between two \
             entries"],
    ),
    (
        "version: 1\nproxy:\n  cache: {memory:1MiB}\n",
        &["cluster.yaml:3:11: error: unknown key `memory:1MiB` in proxy.cache; write a blank \
             behind the colon: `memory: 1MiB`"],
    ),
    (
        "version:1\nproxy:\n  cache: {memory: 1MiB}\n",
        &["cluster.yaml:1:1: error: not YAML: there is no blank behind the colon of `version:1`; \
             write `version: 1`"],
    ),
    (
        "version: 1\nproxy:\n  access: {rules: [{deny: [!connect, all]}]}\n",
        &[
            "cluster.yaml:3:28: error: `!connect` begins with `!`, which YAML takes for a tag; put \
             it in quotes: \"!connect\"",
            "cluster.yaml:3:36: error: unknown ACL `connect`; define it, or use one of: all, \
             localhost, to_localhost, to_linklocal",
        ],
    ),
    (
        "version: 1\nproxy:\n  access: {rules: [{deny: [connect, ssl]}]}\n",
        &[
            "cluster.yaml:3:28: error: unknown ACL `connect`; define it, or use one of: all, \
             localhost, to_localhost, to_linklocal",
            "cluster.yaml:3:37: error: unknown ACL `ssl`; define it, or use one of: all, \
             localhost, to_localhost, to_linklocal",
        ],
    ),
    (
        "version: 1\nproxy:\n  access: {acls: {m: {method: connect}, t: {time: 9-17}, p: {port: \
         \"80,443\"}, l: {dstdomain_list: lists/blocked_sites.txt}, k: {dstdomain_list: \
         blocked_sites.txt}}, rules: [{deny: [m, t, p, l, k]}, {deny: [all]}]}\n",
        &[
            "cluster.yaml:3:31: error: methods are upper case, `connect` would never match; write \
             CONNECT",
            "cluster.yaml:3:51: error: `9-17` in `9-17` is not a span of hours; write days and \
             hours, as in \"MTWHF 09:00-18:00\" (S Sunday, M, T, W, H Thursday, F, A Saturday, D \
             Monday to Friday)",
            "cluster.yaml:3:68: error: `80,443` is not a port or a range of ports; for several, \
             write a list: [80, 443]",
            "cluster.yaml:3:99: error: `lists/blocked_sites.txt` is not a name; write the name \
             alone, without folders and without an ending",
            "cluster.yaml:3:145: error: there is no file lists/blocked_sites.txt.txt; did you mean \
             `blocked_sites`?",
        ],
    ),
    (
        "version: 1\nproxy:\n  access: {acls: {x: {url_regex: '(?=a)b'}, y: {url_regex: \
         \"\\.exe$\"}}, rules: [{deny: [x, y]}, {deny: [all]}]}\n",
        &["cluster.yaml:3:60: error: not YAML: a backslash in double quotes begins an escape, \
             and this is none; write it in single quotes, which keep backslashes"],
    ),
    (
        "version: 1\nproxy:\n  access: {acls: {x: {url_regex: true}, y: {url_regex: 5}, z: \
         {url_regex: [a, [b]]}, w: {url_regex: {a: b}}, v: {url_regex: [~]}}, rules: [{deny: [x, \
         y, z, w, v]}, {deny: [all]}]}\n",
        &[
            "cluster.yaml:3:34: error: proxy.access.acls.x.url_regex must be text, not true; put \
             it in quotes, as in \"true\"",
            "cluster.yaml:3:56: error: proxy.access.acls.y.url_regex must be text, not the number \
             5; put it in quotes, as in \"5\"",
            "cluster.yaml:3:79: error: proxy.access.acls.z.url_regex[1] must be text, not a list; \
             write a single value",
            "cluster.yaml:3:101: error: proxy.access.acls.w.url_regex must be text, not a map; \
             write a single value",
            "cluster.yaml:3:126: error: proxy.access.acls.v.url_regex[0] must be text, not \
             nothing; write a value, or remove it",
        ],
    ),
    (
        "version: 1\nalerts: [{name: \"${node.name}\", metric: m}]\n\
         proxyy: {a: \"${node.name}\"}\n",
        &[
            "cluster.yaml:2:1: warning: `alerts` has no effect in this version; keep it for a \
             later version, or remove it",
            "cluster.yaml:2:17: error: `${node.name}` is not a name; use 1 to 64 letters, digits, \
             `_`, `-` or `.`",
            "cluster.yaml:2:17: error: undefined variable `${node.name}`; no variable is defined \
             here; write the value itself",
            "cluster.yaml:3:1: error: unknown key `proxyy` at the top; did you mean `proxy`?",
        ],
    ),
    (
        "version: 1\nproxy:\n  hierarchy: {parents: [10.0.0.1:3128]}\n",
        &["cluster.yaml:3:25: error: proxy.hierarchy.parents[0] must be a map, not the text \
             `10.0.0.1:3128`; write {key: value}, or `key: value` lines under it; known here: \
             address, login, select, service, tags, tls, weight"],
    ),
    (
        "version: 1\nproxy:\n  hierarchy: {parents: [{address: 10.0.0.1}, {host: a, port: \
         3128}]}\n",
        &[
            "cluster.yaml:3:35: error: `10.0.0.1` is not an address with a port; write host:port, \
             as in 192.168.1.11:3128 or [2001:db8::1]:3128",
            "cluster.yaml:3:46: error: a parent without an address; write \
             {address: \"host:port\"}, or {service: proxy-node, tags: [parent]}",
            "cluster.yaml:3:47: error: unknown key `host` in proxy.hierarchy.parents[1]; known \
             here: address, login, select, service, tags, tls, weight",
            "cluster.yaml:3:56: error: unknown key `port` in proxy.hierarchy.parents[1]; known \
             here: address, login, select, service, tags, tls, weight",
        ],
    ),
    (
        "version: 1\nbackup: {schedule: daily, stores: [/var/backups]}\n",
        &[
            "cluster.yaml:2:20: error: `daily` is not a schedule; write minute, hour, day, month \
             and weekday, as in \"0 3 * * *\"",
            "cluster.yaml:2:36: error: backup.stores[0] must be a map, not the text \
             `/var/backups`; write {key: value}, or `key: value` lines under it; known here: url",
        ],
    ),
    (
        "version: 1\noverrides: [{match: {name: a}, set: {cache: {memory: 1MiB}}}]\n",
        &["cluster.yaml:2:38: error: `cache` cannot be set by an override; it belongs into \
             proxy; an override sets proxy, balancer, checks"],
    ),
    (
        "version: 1\noverrides: {proxy-node-3: {proxy: {}}}\n",
        &["cluster.yaml:2:12: error: overrides must be a list, not a map; put brackets around \
             it, as in [{…}], or begin it with `- `"],
    ),
    (
        "version: 1\nproxy:\n  timeouts: {connect: 0s, read: 0s, dns: 0s}\n",
        &[
            "cluster.yaml:3:23: error: a time of zero leaves no time at all; write a longer one",
            "cluster.yaml:3:33: error: a time of zero leaves no time at all; write a longer one",
            "cluster.yaml:3:42: error: a time of zero leaves no time at all; write a longer one",
        ],
    ),
    (
        "version: 1\nproxy:\n  cache:\n    memory: 64MiB\n   max_object_size: 8MiB\n",
        &["cluster.yaml:5:4: error: not YAML: this line is indented by 3, and nothing above \
             begins there; line 4 before it is indented by 4; indent it as far as the lines that \
             it stands beside"],
    ),
    (
        "version: 1\nproxy:\n  cache: &c {memory: 64MiB}\nbalancer:\n  backends: [{name: &x}]\n",
        &[
            "cluster.yaml:5:14: error: `name` is missing in balancer.backends[0]; add `name:`",
            "cluster.yaml:5:14: error: `servers` is missing in balancer.backends[0]; add \
             `servers:`",
        ],
    ),
    (
        "version: 1\nproxy:\n  access:\n    acls:\n      x: {src: 10.0.0.0/8}\n    rules:\n    - \
         deny: [x]\n    -deny: [all]\n",
        &["cluster.yaml:8:5: error: unknown key `-deny` in proxy.access; write a blank behind \
             the dash: `- deny`"],
    ),
    (
        "version: 1\nproxy: null\nbalancer: []\nchecks: {}\n",
        &[
            "cluster.yaml:3:11: error: balancer must be a map, not a list; write {key: value}, or \
             `key: value` lines under it; known here: acls, backends, frontends, log_targets, \
             max_connections, vrrp, workers",
            "cluster.yaml:4:9: error: checks must be a list, not a map; put brackets around it, as \
             in [{…}], or begin it with `- `",
        ],
    ),
];

#[test]
fn every_slip_is_told_with_its_place_and_a_remedy() {
    let mut wrong = String::new();
    for (text, expected) in CASES {
        let said = said(text);
        if said != *expected {
            wrong.push_str(&format!("\n{text}\nsaid:\n{}\n", said.join("\n")));
        }
        for line in &said {
            assert!(line.contains("; "), "no remedy: {line}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_large_cache_is_worth_a_word() {
    assert_eq!(said("version: 1\nproxy: {cache: {memory: 16TiB}}\n").len(), 1);
    assert!(
        said("version: 1\nproxy: {cache: {memory: 512GiB}}\n")[0].contains("warning"),
        "accepted"
    );
    assert_eq!(said("version: 1\nproxy: {cache: {memory: 64GiB}}\n"), Vec::<String>::new());
}

/// Of a wrong file some lines are shown, and the rest is counted where it begins.
#[test]
fn a_list_of_another_kind_is_counted() {
    let mut files = example_bundle();
    files.insert(
        "lists/blocked_sites.txt".into(),
        "good.test\nbad line here\n".repeat(100).into_bytes(),
    );
    let (bundle, problems) = Bundle::from_files(&files);
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(bundle.is_none() && said.len() == 21, "{said:?}");
    assert!(
        said[0].starts_with(
            "lists/blocked_sites.txt:2: error: `bad line here` is not an entry of \
            a list of domains; write one"
        ),
        "{said:?}"
    );
    assert!(
        said[20].starts_with("lists/blocked_sites.txt:42: error: ")
            && said[20].contains("and 79 more lines are wrong"),
        "{said:?}"
    );
}
