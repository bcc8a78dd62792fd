//! Thousands of requests by chance, to an origin that answers by chance: whatever comes of them,
//! nobody gets from the cache what it must not give.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    sync::{Arc, Mutex},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::support::{Origin, Proxy, Then, until};

const PATHS: [&str; 3] = ["/a", "/b", "/c"];
const REQUESTS: usize = 2500;

/// What the origin has said of one answer.
#[derive(Clone, Debug, Default)]
struct Said {
    path: String,
    by_post: bool,
    cache_control: String,
    location: bool,
    vary: String,
    /// The requests that it was made for, or confirmed to, by number.
    of: BTreeSet<usize>,
    /// How often it was confirmed.
    confirmed: usize,
}

#[derive(Default)]
struct World {
    said: BTreeMap<usize, Said>,
    /// Fields of each request, by number.
    asked: BTreeMap<usize, Vec<(String, String)>>,
}

fn fields(head: &str) -> Vec<(String, String)> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
}

fn values<'f>(fields: &'f [(String, String)], name: &str) -> Option<Vec<&'f str>> {
    let all: Vec<&str> =
        fields.iter().filter(|(it, _)| it == name).map(|(_, value)| value.as_str()).collect();
    // Several lines are one list, and blanks mean nothing.
    let list = all.iter().flat_map(|it| it.split(',')).map(str::trim).filter(|it| !it.is_empty());
    (!all.is_empty()).then(|| list.collect())
}

fn one_of<'a>(random: &mut SmallRng, all: &[&'a str]) -> &'a str {
    all[random.random_range(0..all.len())]
}

const CACHE_CONTROL: [&str; 12] = [
    "max-age=60",
    "max-age=60",
    "max-age=60, stale-while-revalidate=60",
    "max-age=0",
    "max-age=0, stale-while-revalidate=60",
    "s-maxage=60",
    "public, max-age=60",
    "max-age=60, must-revalidate",
    "no-cache, max-age=60",
    "no-store",
    "private, max-age=60",
    "max-age=60, no-store",
];

fn answers(seed: u64, world: &Arc<Mutex<World>>) -> Origin {
    let (random, world) = (Mutex::new(SmallRng::seed_from_u64(seed)), Arc::clone(world));
    Origin::start(move |stream, head| {
        let mut random = random.lock().unwrap();
        let mut world = world.lock().unwrap();
        let mut line = head.split(' ');
        let (method, path) = (line.next().unwrap(), line.next().unwrap().to_owned());
        let asked = fields(head);
        let number: usize = values(&asked, "x-seq").unwrap()[0].parse().unwrap();
        world.asked.insert(number, asked.clone());
        if method == "POST" {
            stream.read_exact(&mut [0; 3]).unwrap();
        }
        let cache_control = one_of(&mut random, &CACHE_CONTROL).to_owned();
        // It may confirm what it is asked of, with other words.
        let tags = values(&asked, "if-none-match").unwrap_or_default();
        let known: Vec<usize> =
            tags.iter().filter_map(|tag| tag.trim_matches('"').parse().ok()).collect();
        if !known.is_empty() && random.random_bool(0.6) {
            let id = known[random.random_range(0..known.len())];
            let said = world.said.get_mut(&id).unwrap();
            said.of.insert(number);
            said.confirmed += 1;
            let silent = random.random_bool(0.3);
            let line =
                if silent { String::new() } else { format!("Cache-Control: {cache_control}\r\n") };
            // What is said to somebody with Authorization is for others where it says so.
            let leave = ["public", "s-maxage", "must-revalidate", "no-store", "private"];
            let for_all = values(&asked, "authorization").is_none()
                || leave.iter().any(|it| cache_control.contains(it));
            if !silent && for_all {
                said.cache_control = cache_control;
            }
            let text = format!("HTTP/1.1 304 Not Modified\r\nETag: \"{id}\"\r\n{line}\r\n");
            drop(stream.write_all(text.as_bytes()));
            return Then::Keep;
        }
        let id = world.said.len();
        let vary = one_of(&mut random, &["", "", "", "X-A", "X-A, X-B", "*"]).to_owned();
        let location = method == "POST" && random.random_bool(0.7);
        let mut text =
            format!("Cache-Control: {cache_control}\r\nETag: \"{id}\"\r\nX-Id: {id}\r\n");
        if !vary.is_empty() {
            text += &format!("Vary: {vary}\r\n");
        }
        if location {
            text += &format!("Content-Location: {path}\r\n");
        }
        if random.random_bool(0.2) {
            text += &format!("Set-Cookie: of={number}\r\n");
        }
        let body = if method == "HEAD" { String::new() } else { format!("body of {id}") };
        let length = format!("body of {id}").len();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{text}\r\n{body}");
        let by_post = method == "POST";
        let of = [number].into();
        world
            .said
            .insert(id, Said { path, by_post, cache_control, location, vary, of, confirmed: 0 });
        drop(stream.write_all(text.as_bytes()));
        Then::Keep
    })
}

/// What is wrong with it that `number` got what the origin did not say to it.
fn wrong(world: &World, said: &Said, number: usize, asked: &[(String, String)]) -> Option<String> {
    let has = |directive: &str| {
        said.cache_control.split(", ").any(|it| it.split('=').next() == Some(directive))
    };
    let forbidden = ["no-store", "private", "no-cache"].iter().find(|it| has(it));
    if let Some(forbidden) = forbidden {
        return Some(format!("it says {forbidden}"));
    }
    let leave = ["public", "s-maxage", "must-revalidate"].iter().any(|it| has(it));
    let anonymous = said.of.iter().any(|of| values(&world.asked[of], "authorization").is_none());
    if !leave && !anonymous {
        return Some("it was made for somebody with Authorization alone".to_owned());
    }
    if said.vary == "*" {
        return Some("it varies with everything".to_owned());
    }
    let alike = |of: &usize| {
        let names = said.vary.split(", ").map(str::to_ascii_lowercase);
        let mut names = names.filter(|name| !name.is_empty());
        names.all(|name| values(&world.asked[of], &name) == values(asked, &name))
    };
    if !said.of.iter().any(alike) {
        return Some(format!("it varies with {}", said.vary));
    }
    let explicit = has("max-age") || has("s-maxage");
    if said.by_post && !(explicit && said.location) {
        return Some("it is an answer to a POST".to_owned());
    }
    if values(asked, "cache-control").is_some() {
        return Some("the request wants the origin's word".to_owned());
    }
    (number == 0).then(String::new)
}

#[test]
fn nobody_gets_from_the_cache_what_it_must_not_give() {
    for seed in [1, 2, 3] {
        let world = Arc::new(Mutex::new(World::default()));
        let origin = answers(seed, &world);
        let proxy = Proxy::start();
        let mut random = SmallRng::seed_from_u64(seed ^ 0xff);
        let (mut hits, mut ages) = (0, BTreeMap::<usize, (usize, u64)>::new());
        // Of each path, the number of the answers that a POST made void.
        let mut void = BTreeMap::<String, usize>::new();
        for number in 1..=REQUESTS {
            // What is validated behind an answer says something of the next.
            until("nothing is under way", || {
                (proxy.node.store.budget().at_work() == 0).then_some(())
            });
            let path = one_of(&mut random, &PATHS);
            let method =
                one_of(&mut random, &["GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST"]);
            let mut lines = format!("X-Seq: {number}\r\n");
            for name in ["X-A", "X-B"] {
                match random.random_range(0..6) {
                    0 => lines += &format!("{name}: 1\r\n"),
                    1 => lines += &format!("{name}: 1 ,2\r\n"),
                    2 => lines += &format!("{name}: 1\r\n{name}: 2\r\n"),
                    _ => {}
                }
            }
            for (chance, line) in [
                (0.15, "Authorization: x\r\n"),
                (0.2, "Cookie: y\r\n"),
                (0.05, "Cache-Control: no-cache\r\n"),
                (0.05, "Cache-Control: no-store\r\n"),
            ] {
                if random.random_bool(chance) {
                    lines += line;
                }
            }
            if method == "POST" {
                lines += "Content-Length: 3\r\n\r\na=b";
                let host = origin.address;
                let text = format!(
                    "POST {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}",
                    origin.url(path)
                );
                let before = world.lock().unwrap().said.len();
                let answer = proxy.raw(text.as_bytes(), "POST");
                let id: usize = answer.field("x-id").unwrap().parse().unwrap();
                assert!(id >= before, "seed {seed}: a POST is answered by the origin");
                void.insert(path.to_owned(), id);
                continue;
            }
            let answer = proxy.ask(method, &origin.url(path), &lines);
            assert_eq!(answer.status, 200, "seed {seed}, {number}: {}", answer.head);
            let id: usize = answer.field("x-id").unwrap().parse().unwrap();
            let world = world.lock().unwrap();
            let said = &world.said[&id];
            let told = || format!("seed {seed}, {method} {path} {lines:?} ({number}) got {said:?}");
            assert_eq!(said.path, path, "{}", told());
            if method == "GET" {
                assert_eq!(answer.text(), format!("body of {id}"), "{}", told());
            }
            let cookie = answer.field("set-cookie");
            assert!(
                cookie.is_none_or(|cookie| cookie == format!("of={number}")),
                "the cookie of another: {}",
                told()
            );
            if !said.of.contains(&number) {
                hits += 1;
                let asked = fields(&format!("\n{lines}"));
                let wrong = wrong(&world, said, number, &asked);
                assert_eq!(wrong, None, "{}", told());
                assert!(void.get(path).is_none_or(|void| id >= *void), "void: {}", told());
                let age: u64 = answer.field("age").unwrap().parse().unwrap();
                let last = ages.insert(id, (said.confirmed, age));
                assert!(
                    last.is_none_or(|(confirmed, last)| confirmed < said.confirmed || last <= age),
                    "the age fell from {last:?}: {}",
                    told()
                );
            }
        }
        assert!(hits > REQUESTS / 10, "seed {seed}: {hits} hits say little");
        println!("seed {seed}: {hits} of {REQUESTS} from the cache");
    }
}
