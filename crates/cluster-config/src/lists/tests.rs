use super::*;

fn read(content: &str) -> Vec<Result<String, (u32, String)>> {
    domains(content.as_bytes())
        .map(|found| found.map(|domain| domain.to_string()).map_err(|bad| (bad.line, bad.message)))
        .collect()
}

fn named(content: &str) -> Vec<String> {
    read(content)
        .into_iter()
        .map(|found| found.unwrap_or_else(|bad| panic!("{content:?}: {bad:?}")))
        .collect()
}

#[test]
fn comments_and_blank_lines_are_skipped_and_bad_lines_numbered() {
    let content = b"\xef\xbb\xbf# heading\n.Example.COM # the whole domain\n\n  \
        host.example.org\r\nbad domain\n\xff\n";
    let found: Vec<_> = domains(content).collect();
    assert_eq!(found[0].as_ref().unwrap().to_string(), ".example.com");
    assert_eq!(found[1].as_ref().unwrap().to_string(), "host.example.org");
    assert_eq!(found[2].as_ref().unwrap_err().line, 5);
    assert_eq!(found[3].as_ref().unwrap_err().line, 6);
    assert_eq!(found.len(), 4);
}

#[test]
fn networks_are_read() {
    let found: Vec<_> =
        networks(b"\xef\xbb\xbf10.0.0.0/8\r\n192.168.1.7 ; why\n10.0.0.1/33\n; all\n").collect();
    assert_eq!(found[1].as_ref().unwrap().to_string(), "192.168.1.7/32");
    assert_eq!(found[2].as_ref().unwrap_err().line, 3);
    assert_eq!(found.len(), 3);
}

/// Content, and everything that it names.
const NAMED: &[(&str, &[&str])] = &[
    // Plain.
    ("\u{feff}bad.test\r\n.worse.test\r\n", &["bad.test", ".worse.test"]),
    ("bad.test.\nWORSE.test#why\n", &["bad.test", "worse.test"]),
    ("; heading\n! heading\n10.0.0.1\n[2001:DB8::1]\n", &["10.0.0.1", "2001:db8::1"]),
    ("bad.test ; why\n\tworse.test\t# why", &["bad.test", "worse.test"]),
    ("bad.test ## why\nworse.test\t#@# why\n", &["bad.test", "worse.test"]),
    // Hosts files.
    (
        "# hosts\n0.0.0.0 bad.test\n127.0.0.1\tworse.test  # why\n\n::1 localhost \
         ip6-localhost\n127.0.0.1 localhost\n",
        &["bad.test", "worse.test"],
    ),
    (
        "0.0.0.0 0.0.0.0\n:: bad.test worse.test. BAD2.test\n",
        &["bad.test", "worse.test", "bad2.test"],
    ),
    (
        "255.255.255.255 broadcasthost\nfe80::1%lo0 localhost\nff02::2 ip6-allrouters\n::1 \
         bad.test\n",
        &["bad.test"],
    ),
    ("  127.0.0.1 bad.test#why\r\n", &["bad.test"]),
    (
        "127.0.0.1 LocalHost\nff02::3 ip6-allhosts\n::ffff:0.0.0.0 bad.test\n255.255.255.255 \
         worse.test\n",
        &["bad.test", "worse.test"],
    ),
    // Ad blockers.
    (
        "[Adblock Plus 2.0]\n! title\n||bad.test^\n||worse.test^$important\n",
        &[".bad.test", ".worse.test"],
    ),
    (
        "||BAD.test^|\n||10.0.0.1^\n||worse.test^$all,important # why\n",
        &[".bad.test", "10.0.0.1", ".worse.test"],
    ),
    // Response policy zones.
    (
        "$TTL 60\n@ SOA localhost. root.localhost. 1 60 60 60 60\n  NS localhost.\nbad.test CNAME \
         .\n*.worse.test CNAME .\nworse.test CNAME .\n",
        &["bad.test", "*.worse.test", "worse.test"],
    ),
    (
        "$ORIGIN rpz.local.\n@ 3600 IN SOA ns. me. (\n 1 ; serial ) no\n 60 60 60\n 60 )\n 3600 IN \
         NS ns.\nbad.test.rpz.local. IN 60 CNAME *. ; why\n60 in cname rpz-drop.\n",
        &["bad.test", "60"],
    ),
    (
        "rpz.local. IN SOA ns. me. 1 1 1 1 1\n*.bad.test.rpz.local. CNAME .\nworse.test 1h A \
         0.0.0.0\n IN AAAA ::\n",
        &["*.bad.test", "worse.test", "worse.test"],
    ),
    (
        "$ORIGIN rpz.\n$ORIGIN test.rpz.\nbad CNAME .\n$ORIGIN rpz.\nworse.test CNAME .\n",
        &["bad.test", "worse.test"],
    ),
    ("@ SOA a. b. (\n1\nserial\n)\nbad.test CNAME .;why\n\tAAAA ::\n", &["bad.test", "bad.test"]),
    ("@ SOA a. b. ( 1 1 1 1 1 )\nbad.test CNAME .\n", &["bad.test"]),
    // The zone's name in any spelling, and names relative to where one is.
    (
        "$ttl 60\nRPZ.Local. SOA a. b. 1 1 1 1 1\nbad.test.rpz.local. CNAME \
         RPZ-DROP.\nWORSE.test.RPZ.local. CNAME .\n",
        &["bad.test", "worse.test"],
    ),
    (
        "$ORIGIN RPZ.Test.\nbad.test.rpz.test. CNAME .\nworse.test A 127.0.0.1\n",
        &["bad.test", "worse.test"],
    ),
    ("$ORIGIN rpz.\n$ORIGIN test\n$ORIGIN sub\nbad CNAME .\n", &["bad.sub.test"]),
    ("$ORIGIN sub\nrpz. SOA a. b. 1 1 1 1 1\nbad.test CNAME .\n", &["bad.test"]),
    ("$ORIGIN .\nbad.test. CNAME .\n", &["bad.test"]),
    // Several at once.
    (
        "bad.test\n0.0.0.0 worse.test\n||bad2.test^\nbad3.test CNAME .\n",
        &["bad.test", "worse.test", ".bad2.test", "bad3.test"],
    ),
    ("", &[]),
    ("\n\r\n  \n", &[]),
];

#[test]
fn every_format_names_what_it_means() {
    for (content, expected) in NAMED {
        assert_eq!(named(content), *expected, "{content:?}");
    }
}

/// Content that is not all entries: the line, and a part of what is said.
const REFUSED: &[(&str, u32, &str)] = &[
    ("bad.test\n*.bad.test\n", 2, "no wildcards"),
    ("bad.test worse.test\n", 1, "not an entry of a list of domains"),
    ("bad.test;worse.test\n", 1, "is not a domain"),
    ("http://bad.test/\n", 1, "URL or a path"),
    ("münchen.test\n", 1, "form that DNS uses"),
    ("\n192.168.1.5 printer.test\n", 2, "the address 192.168.1.5"),
    ("0.0.0.0 .bad.test\n", 1, "not a name of a hosts file"),
    ("0.0.0.0 bad.test 10.0.0.1\n", 1, "not a name of a hosts file"),
    ("bad.test##.banner\n", 1, "whole domains"),
    ("bad.test#@#.banner\n", 1, "whole domains"),
    ("@@||good.test^\n", 1, "an exception"),
    ("||bad.test^$third-party\n", 1, "only under the condition `third-party`"),
    ("||bad.test^$important,domain=a.test\n", 1, "only under the condition `domain=a.test`"),
    ("||bad.test\n", 1, "whole domains"),
    ("||bad.test/path^\n", 1, "whole domains"),
    ("||*.bad.test^\n", 1, "whole domains"),
    ("||.bad.test^\n", 1, "whole domains"),
    ("|http://bad.test^\n", 1, "whole domains"),
    ("/banner/\n", 1, "URL or a path"),
    ("[bad.test]\n", 1, "is not a domain"),
    ("good.test CNAME rpz-passthru.\n", 1, "an exception"),
    ("www.good.test CNAME safe.good.test.\n", 1, "led elsewhere"),
    ("www.good.test A 192.0.2.1\n", 1, "led elsewhere"),
    ("32.1.0.0.127.rpz-ip CNAME .\n", 1, "addresses or servers"),
    ("* CNAME .\n", 1, "every domain"),
    ("@ CNAME .\n", 1, "every domain"),
    ("bad.test. CNAME .\n", 1, "not below the zone's own name"),
    ("rpz.test. SOA a. b. 1 1 1 1 1\nbadrpz.test. CNAME .\n", 2, "not below the zone's own name"),
    ("rpz. SOA a. b. 1 1 1 1 1\nrpz. CNAME .\n", 2, "every domain"),
    ("bad.test A 0.0.0.0 extra\n", 1, "led elsewhere"),
    ("bad.test s CNAME .\n", 1, "not an entry"),
    ("bad.test TXT why\n", 1, "not an entry"),
    ("$INCLUDE other\n", 1, "cannot be read"),
    ("$TTL\n", 1, "cannot be read"),
    ("\n@ SOA a. b. (\n1 1 1\nbad.test\n", 2, "never closed"),
    ("bad.test CNAME . extra\n", 1, "led elsewhere"),
];

#[test]
fn what_no_list_can_say_is_a_problem() {
    for (content, line, part) in REFUSED {
        let found = read(content);
        let bad: Vec<_> = found.iter().filter_map(|found| found.as_ref().err()).collect();
        assert!(
            bad.len() == 1 && bad[0].0 == *line && bad[0].1.contains(part),
            "{content:?}: {found:?}"
        );
    }
}

/// Only what lies below: neither the name itself nor what ends like it.
#[test]
fn a_wildcard_of_a_zone_does_not_name_what_it_is_below() {
    let found: Vec<_> = domains(b"*.worse.test CNAME .\n").map(Result::unwrap).collect();
    let matches = |host: &str| found.iter().any(|domain| domain.matches(host));
    assert!(matches("a.worse.test") && matches("a.b.worse.test"));
    assert!(!matches("worse.test") && !matches("aworse.test"));
}
