use super::*;

fn record(client: u8, url: &str, status: u16, bytes: u64) -> Record {
    Record {
        client: Some(IpAddr::from([10, 0, 0, client])),
        url: url.into(),
        status,
        bytes,
        ..Record::default()
    }
}

fn total(lately: &Lately, now: u64, since: u64) -> Window {
    let windows = lately.windows(now, since);
    Window::merged(windows.iter().map(|window| &**window))
}

#[test]
fn counts_by_everything() {
    let mut lately = Lately::new(1000);
    lately.note(&record(1, "http://a.example/x", 200, 10), 1001);
    lately.note(&record(1, "http://a.example/y", 404, 20), 1002);
    lately.note(&record(2, "b.example:443", 200, 30), 1003);
    let all = total(&lately, 1004, 60);
    assert_eq!((all.requests, all.bytes, all.begins), (3, 60, 1000));
    assert_eq!(all.statuses, BTreeMap::from([(200, (2, 40)), (404, (1, 20))]));
    let clients = all.clients.top(9).entries;
    assert_eq!(
        (clients[0].key, clients[0].requests, clients[0].bytes),
        (Some(IpAddr::from([10, 0, 0, 1])), 2, 30)
    );
    let domains: Vec<_> = all
        .domains
        .top(9)
        .entries
        .iter()
        .map(|entry| (entry.key.to_string(), entry.requests))
        .collect();
    assert_eq!(domains, [("a.example".to_owned(), 2), ("b.example".to_owned(), 1)]);
    assert_eq!(all.urls.entries.len(), 3);
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let mut lately = Lately::new(0);
    // One request a second for two hours.
    for now in 0..7200 {
        lately.note(&record(1, "http://a.example/", 200, 1), now);
    }
    for (since, least, most) in [
        (0, 1, 10),
        (30, 30, 40),
        (300, 300, 310),
        (600, 600, 660),
        (3600, 3540, 3720),
        (100_000, 3600, 4030),
    ] {
        let found = total(&lately, 7199, since);
        assert!((least..=most).contains(&found.requests), "{since} s: {}", found.requests);
        // What is counted is what happened since then, all of it and nothing else.
        assert_eq!(found.requests, 7200 - found.begins, "{since} s");
    }
    assert!(lately.short.len() <= SHORTS && lately.long.len() <= LONGS);
    // After an hour of silence nothing is left of it.
    assert_eq!(total(&lately, 7200 + 3700, 3600).requests, 0);
}

#[test]
fn memory_is_bounded_whatever_is_asked_for() {
    let mut lately = Lately::new(0);
    let long = "x".repeat(100_000);
    for number in 0..20_000_u64 {
        lately.note(&record(1, &format!("http://h{number}.example/{long}"), 200, 1), number / 10);
    }
    let windows = lately.windows(2000, 3600);
    let most = |window: &Window| window.urls.entries.len().max(window.domains.entries.len());
    assert!(windows.iter().all(|window| most(window) <= KEYS));
    assert!(
        windows
            .iter()
            .flat_map(|window| &window.urls.entries)
            .all(|entry| entry.key.len() <= KEY_BYTES)
    );
    assert_eq!(total(&lately, 2000, 3600).requests, 20_000, "and nothing is left out of the sums");
}
