//! What is explained is what happens: for a table of configurations, of what is stored and of what
//! is asked, the explanation is compared with what a client gets and with what the origin sees.

use std::{collections::BTreeMap, io::Write};

use cluster_config::document::{
    Acl, ProxyDocument, Rule, Term, Verdict,
    caching::{StoreRule, Where},
    egress::{EgressAllow, EgressTarget},
};
use proxy_node::explain::{self, Explanation};

use crate::support::{Origin, Proxy, Reply, Then, response};

/// Whose request filled the cache, and who may go everywhere.
const FIRST: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.7";

fn rule(verdict: Verdict, acl: &str) -> Rule {
    Rule { verdict, terms: vec![Term { acl: acl.into(), negated: false }], page: None }
}

/// What makes a configuration of the usual one.
type Change = fn(&mut ProxyDocument);

/// Configurations, by name.
const CONFIGURATIONS: [(&str, Change); 6] = [
    ("everything is allowed", |_| {}),
    ("a method is denied", |document| {
        document.access.acls.insert("posts".into(), Acl::Method(vec!["POST".into()]));
        document.access.rules.insert(0, rule(Verdict::Deny, "posts"));
    }),
    ("a rule looks at the client", |document| {
        document
            .access
            .acls
            .insert("other".into(), Acl::Src(vec![format!("{OTHER}/32").parse().unwrap()]));
        document.access.rules.insert(0, rule(Verdict::Deny, "other"));
    }),
    ("the egress policy looks at the client", |document| {
        document.access.egress.allow = vec![EgressAllow {
            to: vec![EgressTarget::Loopback],
            ports: vec![],
            clients: vec![format!("{FIRST}/32").parse().unwrap()],
        }];
    }),
    ("the cache is off", |document| document.cache.memory = 0),
    ("the cache keeps nothing for it", |document| {
        let terms = vec![Term { acl: "all".into(), negated: false }];
        document.cache.policy.rules = vec![StoreRule { store: Where::Never, terms }];
    }),
];

/// Paths, and what the origin answers there.
const STORED: [(&str, &str); 5] = [
    ("fresh", "Cache-Control: max-age=60\r\nETag: \"a\"\r\n"),
    ("stale", "Cache-Control: max-age=0\r\nETag: \"a\"\r\n"),
    ("no-cache", "Cache-Control: no-cache, max-age=60\r\nETag: \"a\"\r\n"),
    ("varies", "Cache-Control: max-age=60\r\nVary: X\r\n"),
    ("no-store", "Cache-Control: no-store\r\n"),
];

/// Method and fields.
const ASKED: [(&str, &[(&str, &str)]); 15] = [
    ("GET", &[]),
    ("GET", &[("X", "1")]),
    ("HEAD", &[]),
    ("POST", &[]),
    ("GET", &[("Cache-Control", "no-cache")]),
    ("GET", &[("Cache-Control", "no-store")]),
    ("GET", &[("Cache-Control", "only-if-cached")]),
    ("GET", &[("Cache-Control", "max-stale=100")]),
    ("GET", &[("Cache-Control", "min-fresh=100")]),
    ("GET", &[("Authorization", "x")]),
    ("GET", &[("If-None-Match", "\"b\"")]),
    ("GET", &[("If-Match", "\"a\"")]),
    ("GET", &[("Range", "bytes=0-1")]),
    ("GET", &[("Range", "bytes=-1")]),
    ("GET", &[("Via", "1.1 proxy-node-1.test")]),
];

/// One of the cases, and what came of it.
struct Happened {
    told: Explanation,
    reply: Reply,
    method: &'static str,
    /// Heads that the origin got for it.
    seen: Vec<String>,
}

impl Happened {
    fn says(&self, text: &str) -> bool {
        self.told.steps.iter().any(|step| step.contains(text))
    }

    /// Where the explanation is not what happened.
    fn contradiction(&self) -> Option<&'static str> {
        let (told, status) = (&self.told, self.reply.status);
        let cache_status = self.reply.field("cache-status").unwrap_or_default().to_owned();
        let refused = matches!(status, 403 | 508);
        let only_if_cached = status == 504;
        let goes = told.allowed && !told.route.is_empty() && told.cache != "hit";
        let forwarded: &[&str] = match told.cache {
            "hit" => &["; hit"],
            "stale" => &["fwd=stale", "fwd=request"],
            "miss" => &["fwd=uri-miss", "fwd=partial"],
            "bypass" => &["fwd=bypass", "fwd=method"],
            _ => &[],
        };
        let validated = self.seen.iter().any(|head| head.contains("If-None-Match: \"a\""));
        let checks = [
            (told.allowed != refused, "whether it is allowed"),
            (self.names_the_rule(), "the rule"),
            (goes != self.seen.is_empty(), "whether the origin is asked"),
            (
                refused || only_if_cached || forwarded.iter().any(|how| cache_status.contains(how)),
                "what the cache does",
            ),
            (self.says("answered with 504") == only_if_cached, "that nothing else was asked for"),
            (
                refused || self.says("would be validated") == validated,
                "whether what is stored is validated",
            ),
        ];
        checks.into_iter().find_map(|(holds, what)| (!holds).then_some(what))
    }

    fn names_the_rule(&self) -> bool {
        let (rule, page) = (&self.told.rule, self.reply.text());
        match (self.reply.status, self.method) {
            (_, "HEAD") => true,
            (403, _) if rule.starts_with("proxy.access.egress") => {
                page.contains("does not connect there")
            }
            (403, _) => page.contains(rule.as_str()),
            (508, _) => rule.contains("answered with 508") && page.contains("a loop"),
            _ => rule.starts_with("allow"),
        }
    }
}

#[test]
fn what_is_explained_is_what_happens() {
    let origin = Origin::start(|stream, head| {
        let path = head.split(['/', ' ']).nth(2).unwrap_or_default();
        let fields = STORED.iter().find(|(name, _)| *name == path).map_or("", |(_, fields)| fields);
        let answer = response(fields, "hello");
        let end = if head.starts_with("HEAD") { answer.len() - 5 } else { answer.len() };
        drop(stream.write_all(&answer.as_bytes()[..end]));
        Then::Keep
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut contradictions = Vec::new();
    let mut number = 0;
    for (configuration, change) in CONFIGURATIONS {
        let proxy = Proxy::with(|document| {
            document.trusted_downstreams = vec!["127.0.0.0/8".parse().unwrap()];
            change(document);
        });
        for (stored, _) in STORED {
            for filled in [false, true] {
                for (method, fields) in ASKED {
                    for client in [FIRST, OTHER] {
                        number += 1;
                        let url = origin.url(&format!("/{stored}/{number}"));
                        if filled {
                            proxy.ask(
                                "GET",
                                &url,
                                &format!("X: 1\r\nX-Forwarded-For: {FIRST}\r\n"),
                            );
                        }
                        let headers: BTreeMap<String, String> =
                            fields.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
                        let told = runtime
                            .block_on(explain::explain(
                                &proxy.node,
                                &url,
                                method,
                                client.parse().unwrap(),
                                &headers,
                                proxy_node::clock::unix_millis(),
                            ))
                            .unwrap();
                        let before = origin.requests().len();
                        let lines: String =
                            fields.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                        let reply = proxy.ask(
                            method,
                            &url,
                            &format!("{lines}X-Forwarded-For: {client}\r\n"),
                        );
                        let seen = origin.requests().split_off(before);
                        let happened = Happened { told, reply, method, seen };
                        if let Some(what) = happened.contradiction() {
                            contradictions.push(format!(
                                "{what}: {configuration}, {stored}{}, {method} {fields:?} of \
                                 {client}: {} {:?}, origin {:?}, explained as {:?}",
                                if filled { " stored" } else { "" },
                                happened.reply.status,
                                happened.reply.field("cache-status"),
                                happened.seen,
                                happened.told
                            ));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(number, 6 * 5 * 2 * 15 * 2);
    assert!(
        contradictions.is_empty(),
        "{} contradictions\n{}",
        contradictions.len(),
        contradictions.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
    );
}
