//! ACLs and rules, in tables.

use std::{collections::BTreeMap, io};

use cluster_config::{
    FileReference,
    document::{
        Access, Acl as AclDocument, DomainPattern, Egress, Rule as RuleDocument,
        Term as TermDocument, UrlPattern,
    },
};

use super::*;

const NO_FILES: fn(&FileReference) -> io::Result<Vec<u8>> = |_| Err(io::ErrorKind::NotFound.into());

fn access(acls: Vec<(&str, AclDocument)>, rules: &[(Verdict, &[&str])]) -> Access {
    let rules = rules.iter().map(|(verdict, terms)| RuleDocument {
        verdict: *verdict,
        terms: terms
            .iter()
            .map(|term| TermDocument {
                acl: term.trim_start_matches('!').into(),
                negated: term.starts_with('!'),
            })
            .collect(),
        page: None,
    });
    let acls: BTreeMap<_, _> = acls.into_iter().map(|(name, acl)| (name.to_owned(), acl)).collect();
    Access { acls, rules: rules.collect(), egress: Egress::default() }
}

fn question() -> Question<'static> {
    Question {
        client: "192.168.1.5".parse().unwrap(),
        host: "www.example.com",
        port: 80,
        method: "GET",
        url: b"http://www.example.com/a?b",
        addresses: None,
        day: 0,
        minute: 600,
    }
}

/// Whether a single ACL matches.
fn holds(acl: AclDocument, question: &Question<'_>) -> Option<bool> {
    let rules =
        Rules::build(&access(vec![("x", acl)], &[(Verdict::Allow, &["x"])]), NO_FILES).unwrap();
    match rules.decide(question) {
        Answer::Decided(decision) => Some(decision.allowed),
        Answer::NeedsAddresses => None,
    }
}

#[test]
fn every_kind_of_acl() {
    let domain =
        |name: &str| DomainPattern { name: name.into(), subdomains: true, only_below: false };
    let window = TimeWindow { days: 0b1, from: 540, until: 1080 };
    let net = |text: &str| text.parse().unwrap();
    let addresses: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    let resolved = Question { addresses: Some(&addresses), ..question() };
    let unresolvable = Question { addresses: Some(&[]), ..question() };
    let literal = Question { host: "192.0.2.1", ..question() };
    let literal6 = Question { host: "2001:db8::1", ..question() };
    for (acl, asked, want) in [
        (AclDocument::All, question(), Some(true)),
        (AclDocument::Src(vec![net("192.168.1.0/24")]), question(), Some(true)),
        (AclDocument::Src(vec![net("192.168.2.0/24"), net("::/0")]), question(), Some(false)),
        (AclDocument::Dst(vec![net("192.0.2.0/24")]), question(), None),
        (AclDocument::Dst(vec![net("192.0.2.0/24")]), resolved, Some(true)),
        (AclDocument::Dst(vec![net("192.0.3.0/24")]), resolved, Some(false)),
        (AclDocument::Dst(vec![net("0.0.0.0/0")]), unresolvable, Some(false)),
        (AclDocument::Dst(vec![net("::ffff:192.0.2.0/120")]), literal, Some(true)),
        (AclDocument::Src(vec![net("::ffff:192.168.1.0/120")]), question(), Some(true)),
        (AclDocument::Dst(vec![net("192.0.2.0/24")]), literal, Some(true)),
        (AclDocument::Dst(vec![net("2001:db8::/32")]), literal6, Some(true)),
        (AclDocument::Dstdomain(vec![domain("example.com")]), question(), Some(true)),
        (AclDocument::Dstdomain(vec![domain("example.org")]), question(), Some(false)),
        (AclDocument::Port(vec![PortRange { first: 80, last: 81 }]), question(), Some(true)),
        (AclDocument::Port(vec![PortRange { first: 81, last: 81 }]), question(), Some(false)),
        (AclDocument::Method(vec!["CONNECT".into(), "GET".into()]), question(), Some(true)),
        (AclDocument::Method(vec!["get".into()]), question(), Some(false)),
        (AclDocument::Time(vec![window]), question(), Some(true)),
        (AclDocument::Time(vec![window]), Question { day: 1, ..question() }, Some(false)),
        (AclDocument::Time(vec![window]), Question { minute: 1080, ..question() }, Some(false)),
        (AclDocument::UrlRegex(vec![UrlPattern { regex: r"\?b$".into() }]), question(), Some(true)),
        (
            AclDocument::UrlRegex(vec![UrlPattern { regex: "^ftp:".into() }]),
            question(),
            Some(false),
        ),
    ] {
        let text = format!("{acl:?} {asked:?}");
        assert_eq!(holds(acl, &asked), want, "{text}");
    }
}

#[test]
fn the_first_match_decides_and_no_match_denies() {
    use Verdict::{Allow, Deny};
    let acls = || {
        vec![
            ("all", AclDocument::All),
            ("local", AclDocument::Src(vec!["192.168.1.0/24".parse().unwrap()])),
            ("connect", AclDocument::Method(vec!["CONNECT".into()])),
            ("ssl", AclDocument::Port(vec![PortRange { first: 443, last: 443 }])),
        ]
    };
    let squid: &[(Verdict, &[&str])] =
        &[(Deny, &["connect", "!ssl"]), (Allow, &["local"]), (Deny, &["all"])];
    let outside = "203.0.113.9".parse().unwrap();
    for (rules, asked, want) in [
        (squid, question(), (true, Some(1))),
        (squid, Question { method: "CONNECT", ..question() }, (false, Some(0))),
        (squid, Question { method: "CONNECT", port: 443, ..question() }, (true, Some(1))),
        (squid, Question { client: outside, ..question() }, (false, Some(2))),
        (&[(Allow, &["local", "ssl"])], question(), (false, None)),
        (&[], question(), (false, None)),
        (&[(Allow, &["!local"]), (Deny, &["all"])], question(), (false, Some(1))),
        (&[(Allow, &["all"]), (Deny, &["all"])], question(), (true, Some(0))),
    ] {
        let built = Rules::build(&access(acls(), rules), NO_FILES).unwrap();
        let Answer::Decided(decision) = built.decide(&asked) else { panic!("needs no addresses") };
        assert_eq!((decision.allowed, decision.rule), want, "{rules:?} {asked:?}");
    }
}

#[test]
fn a_decision_names_its_rule_and_the_way_there() {
    let rules: &[(Verdict, &[&str])] =
        &[(Verdict::Deny, &["all", "!all"]), (Verdict::Allow, &["all"])];
    let built = Rules::build(&access(vec![("all", AclDocument::All)], rules), NO_FILES).unwrap();
    let mut steps = Vec::new();
    let Answer::Decided(decision) = built.walk(&question(), |step| steps.push(step.to_string()))
    else {
        panic!()
    };
    assert_eq!(built.describe(decision), "allow: [all] (rule 2)");
    assert_eq!(
        steps,
        [
            "rule 1, deny: [all, \"!all\"]: does not match, all holds",
            "rule 2, allow: [all]: matches"
        ]
    );
}

#[test]
fn addresses_are_asked_for_only_when_a_rule_needs_them() {
    use Verdict::{Allow, Deny};
    let acls = vec![
        ("all", AclDocument::All),
        ("inner", AclDocument::Dst(vec!["10.0.0.0/8".parse().unwrap()])),
        ("p", AclDocument::Port(vec![PortRange { first: 9, last: 9 }])),
    ];
    let built =
        Rules::build(&access(acls, &[(Deny, &["p", "inner"]), (Allow, &["all"])]), NO_FILES)
            .unwrap();
    assert!(matches!(built.decide(&question()), Answer::Decided(Decision { allowed: true, .. })));
    assert_eq!(built.decide(&Question { port: 9, ..question() }), Answer::NeedsAddresses);
}

#[test]
fn of_several_addresses_those_count_that_the_rule_matches() {
    use Verdict::{Allow, Deny};
    let [inner, outer] = ["10.0.0.1", "192.0.2.1"].map(|text| text.parse::<IpAddr>().unwrap());
    let nat64 = "64:ff9b::a00:1".parse().unwrap();
    let allow_inner: &[(Verdict, &[&str])] = &[(Allow, &["inner"])];
    let allow_not_inner: &[(Verdict, &[&str])] = &[(Allow, &["!inner"])];
    let deny_inner: &[(Verdict, &[&str])] = &[(Deny, &["inner"]), (Allow, &["all"])];
    let deny_not_inner: &[(Verdict, &[&str])] = &[(Deny, &["!inner"]), (Allow, &["all"])];
    for (rules, addresses, want) in [
        (allow_inner, &[inner, outer][..], Some(&[inner][..])),
        (allow_inner, &[outer, inner], Some(&[inner])),
        (allow_inner, &[outer], None),
        (allow_inner, &[inner], Some(&[inner])),
        (allow_inner, &[nat64], None),
        (allow_not_inner, &[inner, outer], Some(&[outer])),
        (allow_not_inner, &[nat64, outer], Some(&[outer])),
        (deny_inner, &[inner, outer], None),
        (deny_inner, &[outer], Some(&[outer])),
        (deny_inner, &[nat64], None),
        (deny_not_inner, &[inner, outer], None),
        (deny_not_inner, &[inner], Some(&[inner])),
        (deny_not_inner, &[nat64], None),
        (&[(Allow, &["all"])], &[inner, outer], Some(&[inner, outer])),
    ] {
        let acls = vec![
            ("all", AclDocument::All),
            ("inner", AclDocument::Dst(vec!["10.0.0.0/8".parse().unwrap()])),
        ];
        let built = Rules::build(&access(acls, rules), NO_FILES).unwrap();
        let Answer::Decided(decision) =
            built.decide(&Question { addresses: Some(addresses), ..question() })
        else {
            panic!("{rules:?}")
        };
        let used = decision.allowed.then(|| decision.narrow(addresses.into()));
        assert_eq!(used.as_deref(), want, "{rules:?} {addresses:?}");
    }
    let many: Vec<IpAddr> = (0..=200).map(|last| IpAddr::from([192, 0, 2, last])).collect();
    let built =
        Rules::build(&access(vec![("all", AclDocument::All)], &[(Allow, &["all"])]), NO_FILES)
            .unwrap();
    let Answer::Decided(decision) =
        built.decide(&Question { addresses: Some(&many), ..question() })
    else {
        panic!()
    };
    assert_eq!(decision.narrow(many.clone().into())[..], many[..MOST_ADDRESSES]);
}

#[test]
fn every_problem_is_reported() {
    let file = |path: &str| FileReference { path: path.into(), sha256: String::new(), size: 0 };
    let acls = vec![
        ("lost", AclDocument::DstdomainList(file("lists/lost.txt"))),
        ("bad", AclDocument::DstdomainList(file("lists/bad.txt"))),
        ("regex", AclDocument::UrlRegex(vec![UrlPattern { regex: "(".into() }])),
    ];
    let read = |file: &FileReference| {
        if file.path.contains("bad") {
            Ok(b"ok.example\nnot a domain\n".to_vec())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    let problems = Rules::build(
        &access(acls, &[(Verdict::Deny, &["lost"]), (Verdict::Allow, &["nobody"])]),
        read,
    )
    .unwrap_err();
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("lists/bad.txt, line 2:")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("names the acl nobody")), "{texts:?}");
}

/// From the bundle as it is written to the decision: a list of patterns is its patterns, and not
/// one class of their characters.
#[test]
fn a_list_in_the_bundle_decides_as_its_values() {
    let decide = |values: &str, verdicts: [&str; 2], url: &'static str| {
        let [matches, otherwise] = verdicts;
        let main = format!(
            "version: 1\nproxy: {{access: {{acls: {{x: {{{values}}}}}, rules: [{{{matches}: [x]}}, \
             {{{otherwise}: [all]}}]}}}}\nbalancer: {{}}\n"
        );
        let mut files = cluster_config::example_bundle();
        files.insert("cluster.yaml".into(), main.into_bytes());
        let (bundle, problems) = cluster_config::Bundle::from_files(&files);
        let bundle = bundle.unwrap_or_else(|| panic!("{problems:?}"));
        let variables = cluster_config::bundle::sample(cluster::Service::ProxyNode);
        let rendered =
            cluster_config::render(&bundle, cluster::Service::ProxyNode, &variables).unwrap();
        let access = cluster_config::ProxyDocument::from_json(&rendered.document).unwrap().access;
        let host = url.trim_start_matches("http://").split('/').next().unwrap();
        match Rules::build(&access, NO_FILES).unwrap().decide(&Question {
            host,
            url: url.as_bytes(),
            ..question()
        }) {
            Answer::Decided(decision) => decision.allowed,
            Answer::NeedsAddresses => panic!("needs no addresses"),
        }
    };
    let two = r"url_regex: ['^http://a\.test/', '^http://b\.test/']";
    for (url, matches) in [
        ("http://a.test/", true),
        ("http://b.test/x", true),
        ("http://stranger.example/", false),
        ("http://c.test/", false),
    ] {
        assert_eq!(decide(two, ["deny", "allow"], url), !matches, "deny {url}");
        assert_eq!(decide(two, ["allow", "deny"], url), matches, "allow {url}");
    }
    for values in ["dstdomain: [a.test, .b.test]", "dstdomain: ['a.test', '.b.test']"] {
        for (url, matches) in [
            ("http://a.test/", true),
            ("http://x.b.test/", true),
            ("http://x.a.test/", false),
            ("http://t/", false),
        ] {
            assert_eq!(decide(values, ["deny", "allow"], url), !matches, "{values} {url}");
        }
    }
}
