//! Every key of an ACL, and whatever else takes one value or several, with every kind of value that
//! YAML has.

use cluster::Service;
use cluster_config::bundle::sample;
use cluster_config::document::Acl;
use cluster_config::{Bundle, ProxyDocument, example_bundle, render};

/// Keys, and two values that each takes.
const KEYS: [(&str, &str, &str); 7] = [
    ("src", "10.0.0.0/8", "192.168.1.7"),
    ("dst", "10.0.0.0/8", "2001:db8::/32"),
    ("dstdomain", ".a.test", "b.test"),
    ("port", "443", "8000-8100"),
    ("method", "GET", "CONNECT"),
    ("time", "MTWHF 09:00-18:00", "SA"),
    ("url_regex", r"^http://a\.test/", r"^http://b\.test/[0-9]+$"),
];

/// What an ACL of this YAML becomes; `Err`: what is said of it.
fn acl(yaml: &str) -> Result<Acl, Vec<String>> {
    let mut files = example_bundle();
    let text = format!(
        "version: 1\nproxy:\n  access:\n    acls:\n      x: {yaml}\n    rules: [{{deny: [x]}}, \
         {{allow: [all]}}]\n"
    );
    files.insert("cluster.yaml".into(), text.into_bytes());
    let (bundle, problems) = Bundle::from_files(&files);
    let said = || {
        problems
            .iter()
            .filter(|problem| problem.is_error())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let bundle = bundle.ok_or_else(said)?;
    let rendered = render(&bundle, Service::ProxyNode, &sample(Service::ProxyNode)).unwrap();
    Ok(ProxyDocument::from_json(&rendered.document).unwrap().access.acls.remove("x").unwrap())
}

/// How many alternatives an ACL has, and their text.
fn values(acl: &Acl) -> Vec<String> {
    match acl {
        Acl::Src(values) | Acl::Dst(values) => values.iter().map(ToString::to_string).collect(),
        Acl::Dstdomain(values) => values.iter().map(ToString::to_string).collect(),
        Acl::Port(values) => {
            values.iter().map(|value| format!("{}-{}", value.first, value.last)).collect()
        }
        Acl::Method(values) => values.clone(),
        Acl::Time(values) => values.iter().map(|value| format!("{value:?}")).collect(),
        Acl::UrlRegex(values) => values.iter().map(|value| value.regex.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

fn values_of(yaml: &str) -> Vec<String> {
    values(&acl(yaml).unwrap_or_else(|said| panic!("{yaml}: {said:?}")))
}

#[test]
fn a_list_is_its_values_and_nothing_else() {
    for (key, one, two) in KEYS {
        let (first, second) =
            (values_of(&format!("{{{key}: '{one}'}}")), values_of(&format!("{{{key}: '{two}'}}")));
        assert_eq!((first.len(), second.len()), (1, 1), "{key}");
        let both = [first.clone(), second].concat();
        assert_eq!(values_of(&format!("{{{key}: ['{one}', '{two}']}}")), both, "{key}");
        assert_eq!(
            values_of(&format!("\n        {key}:\n          - '{one}'\n          - '{two}'")),
            both,
            "{key}"
        );
        for single in [
            format!("{{{key}: ['{one}']}}"),
            format!("\n        {key}: \"{}\"", one.replace('\\', "\\\\")),
        ] {
            assert_eq!(values_of(&single), first, "{single}");
        }
        // A block scalar, without the line break at its end.
        assert_eq!(values_of(&format!("\n        {key}: >-\n          {one}")), first, "{key}");
        assert_eq!(values_of(&format!("{{{key}: []}}")), Vec::<String>::new(), "{key}");
    }
}

#[test]
fn other_kinds_are_refused_where_they_stand() {
    for (key, one, _) in KEYS {
        for wrong in ["true", "{a: b}", "[[x]]", "[{a: b}]", "[~]", "[true]", "''", "['']", "3.5"] {
            let said = acl(&format!("{{{key}: {wrong}}}"))
                .err()
                .unwrap_or_else(|| panic!("{key}: {wrong} is accepted"));
            assert!(
                said.len() == 1 && said[0].starts_with("cluster.yaml:5:") && said[0].contains("; "),
                "{key}: {wrong}: {said:?}"
            );
        }
        let said = acl(&format!("{{{key}: ~}}")).unwrap_err();
        assert!(said[0].contains("an ACL without a condition"), "{key}: {said:?}");
        // One wrong value of several is the one that is named.
        let said = acl(&format!("{{{key}: ['{one}', [], '{one}']}}")).unwrap_err();
        assert!(
            said.len() == 1 && said[0].contains(&format!("{key}[1] must be text, not a list")),
            "{key}: {said:?}"
        );
    }
    for key in ["src_list", "dst_list", "dstdomain_list"] {
        for wrong in ["[blocked_sites]", "{a: b}", "true", "''"] {
            assert!(acl(&format!("{{{key}: {wrong}}}")).is_err(), "{key}: {wrong}");
        }
    }
}

/// A bare number is what it says where a number makes sense, and nowhere else text.
#[test]
fn numbers_without_quotes() {
    assert_eq!(values_of("{port: 443}"), ["443-443"]);
    assert_eq!(values_of("{port: [443, 80]}"), ["443-443", "80-80"]);
    for wrong in ["{url_regex: 5}", "{method: 5}", "{dstdomain: 5}", "{src: 10}", "{time: 9}"] {
        assert!(acl(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn statuses_of_checks_are_the_same_kind() {
    let problems = |status: &str| {
        let mut files = example_bundle();
        let text = format!(
            "version: 1\nchecks: [{{name: a, type: http, expect: {{status: {status}}}}}]\n"
        );
        files.insert("cluster.yaml".into(), text.into_bytes());
        Bundle::from_files(&files)
            .1
            .iter()
            .filter(|problem| problem.is_error())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    for good in ["200", "'200-299'", "[200, 301-302]", "['200']"] {
        assert_eq!(problems(good), Vec::<String>::new(), "{good}");
    }
    for wrong in ["true", "{a: b}", "[[200]]", "[~]", "ok", "[200, 700]"] {
        assert_eq!(problems(wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn what_matches_everything_is_said() {
    let said = |regex: &str| {
        let mut files = example_bundle();
        let text = format!(
            "version: 1\nproxy: {{access: {{acls: {{x: {{url_regex: {regex}}}}}, rules: [{{deny: \
             [x]}}, {{allow: [all]}}]}}}}\n"
        );
        files.insert("cluster.yaml".into(), text.into_bytes());
        Bundle::from_files(&files)
            .1
            .iter()
            .filter(|problem| problem.message.contains("every"))
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    for everything in
        ["''", "['']", "'ads|'", "['ads', '|ads']", "'.*'", "'.'", "'^'", "'(ads)?'", "'ads*|b*'"]
    {
        assert_eq!(said(everything).len(), 1, "{everything}");
    }
    for some in ["'ads'", "['a', 'b']", "'^http://a.test/'", "'^$'", "'[/?]ads'"] {
        assert_eq!(said(some), Vec::<String>::new(), "{some}");
    }
}
