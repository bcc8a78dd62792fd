//! What holds for every message, whatever stands in it.

use proptest::prelude::*;

use super::*;
use crate::cache::{
    facts::{ResponseFacts, http_date_text},
    object,
};

const NOW: u64 = 1_800_000_000;

type Lines = Vec<(String, String)>;

/// Cache-Control of an answer, as it may come: in any case, twice, quoted, with junk between.
fn directives() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        Just("no-store".to_owned()),
        Just("No-Store".to_owned()),
        Just("private".to_owned()),
        Just("private=\"x\"".to_owned()),
        Just("no-cache".to_owned()),
        Just("public".to_owned()),
        Just("must-revalidate".to_owned()),
        Just("must-understand".to_owned()),
        (0u64..200).prop_map(|age| format!("max-age={age}")),
        (0u64..200).prop_map(|age| format!("s-maxage=\"{age}\"")),
        (0u64..200).prop_map(|age| format!("stale-while-revalidate={age}")),
        "[ -~]{0,12}",
    ];
    proptest::collection::vec(one, 0..4).prop_map(|all| all.join(", "))
}

fn answer() -> impl Strategy<Value = Lines> {
    let date = (0u64..400).prop_map(|ago| http_date_text(NOW - 200 + ago));
    let line = prop_oneof![
        5 => directives().prop_map(|value| ("Cache-Control".to_owned(), value)),
        1 => date.clone().prop_map(|value| ("Expires".to_owned(), value)),
        1 => date.clone().prop_map(|value| ("Date".to_owned(), value)),
        1 => date.prop_map(|value| ("Last-Modified".to_owned(), value)),
        1 => "[0-9x, ]{0,5}".prop_map(|value| ("Age".to_owned(), value)),
        1 => Just(("ETag".to_owned(), "\"a\"".to_owned())),
        1 => Just(("Set-Cookie".to_owned(), "a=b".to_owned())),
        1 => Just(("Vary".to_owned(), "*".to_owned())),
        1 => Just(("Content-Range".to_owned(), "bytes 0-1/2".to_owned())),
    ];
    proptest::collection::vec(line, 0..6)
}

fn question() -> impl Strategy<Value = Lines> {
    let line = prop_oneof![
        Just(("Authorization".to_owned(), "x".to_owned())),
        Just(("Cookie".to_owned(), "x".to_owned())),
        Just(("Range".to_owned(), "bytes=0-1".to_owned())),
        Just(("Cache-Control".to_owned(), "no-store".to_owned())),
        Just(("Cache-Control".to_owned(), "max-stale".to_owned())),
    ];
    proptest::collection::vec(line, 0..3)
}

fn status() -> impl Strategy<Value = u16> {
    prop_oneof![Just(200u16), Just(206), Just(304), Just(404), 100u16..600]
}

fn borrowed(lines: &Lines) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// Whether a line of Cache-Control has this directive, read by other code than the cache's: what
/// stands in quotes does not count, and is in none of these.
fn says(lines: &Lines, directive: &str) -> bool {
    lines.iter().filter(|(name, _)| name == "Cache-Control").any(|(_, value)| {
        value
            .split(',')
            .any(|it| it.split('=').next().unwrap_or("").trim().eq_ignore_ascii_case(directive))
    })
}

fn clear(lines: &Lines) -> bool {
    // Quotes of which one is missing make of what follows what nobody can say.
    lines.iter().all(|(_, value)| value.matches('"').count() % 2 == 0 && !value.contains('\\'))
}

fn times() -> Times {
    Times { asked_at: NOW, received_at: NOW, wall: NOW }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_store_is_never_stored(asked in question(), lines in answer(), status in status()) {
        prop_assume!(clear(&lines));
        let request = RequestFacts::new(b"GET", false, borrowed(&asked));
        let mut response = ResponseFacts::new(status, borrowed(&lines));
        let Judgement { storable, .. } =
            judge(&request, &mut response, b"http://h/x", &Exceptions::default(), times());
        let forbidden = says(&lines, "no-store") && !says(&lines, "must-understand");
        prop_assert!(!(forbidden || says(&asked, "no-store")) || storable.is_err());
    }

    #[test]
    fn what_is_for_one_is_never_shared(asked in question(), lines in answer(), status in status()) {
        prop_assume!(clear(&lines));
        let request = RequestFacts::new(b"GET", false, borrowed(&asked));
        let mut response = ResponseFacts::new(status, borrowed(&lines));
        let Judgement { storable, .. } =
            judge(&request, &mut response, b"http://h/x", &Exceptions::default(), times());
        prop_assert!(!says(&lines, "private") || storable.is_err());
        let leave = ["public", "must-revalidate", "s-maxage"].iter().any(|it| says(&lines, it));
        prop_assert!(!request.authorization || leave || storable.is_err());
        let varies = lines.iter().any(|(name, _)| name == "Vary");
        prop_assert!(!varies || storable.is_err());
    }

    #[test]
    fn nothing_stored_outlives_a_304_that_forbids_it(
        before in answer(),
        after in answer(),
    ) {
        prop_assume!(clear(&before) && clear(&after));
        let text = |line: &str, lines: &Lines| {
            lines.iter().fold(format!("{line}\r\n"), |head, (name, value)| {
                format!("{head}{name}: {value}\r\n")
            })
        };
        let stored = text("HTTP/1.1 200 OK", &before);
        let answer = text("HTTP/1.1 304 N", &after);
        let merged = object::refreshed(stored.as_bytes(), answer.as_bytes());
        let mut facts = ResponseFacts::new(200, object::fields(&merged));
        let request = RequestFacts::new(b"GET", false, std::iter::empty());
        let exceptions = Exceptions::default();
        let Judgement { storable, .. } =
            judge(&request, &mut facts, b"http://h/", &exceptions, times());
        let forbidden = ["no-store", "private"].iter().any(|it| says(&after, it));
        prop_assert!(!forbidden || says(&after, "must-understand") || storable.is_err());
    }

    #[test]
    fn an_age_never_falls_while_nothing_is_validated(
        lines in answer(),
        (asked, took, wall) in (0u64..1000, 0u64..100, NOW - 500..NOW + 500),
        moments in proptest::collection::vec(0u64..5000, 2..10),
    ) {
        let times = Times { asked_at: asked, received_at: asked + took, wall };
        let response = ResponseFacts::new(200, borrowed(&lines));
        let freshness = Freshness::new(&response, b"http://h/x", None, times);
        prop_assert!(freshness.initial_age >= response.age.saturating_add(took));
        let mut moments = moments;
        moments.sort_unstable();
        let ages: Vec<u64> = moments.iter().map(|now| freshness.age(*now)).collect();
        prop_assert!(ages.windows(2).all(|two| two[0] <= two[1]), "{ages:?}");
        prop_assert!(ages.iter().all(|age| *age >= freshness.initial_age));
    }

    #[test]
    fn what_is_served_is_fresh_or_wanted_stale(
        lines in answer(),
        asked in question(),
        now in NOW..NOW + 500,
    ) {
        let request = RequestFacts::new(b"GET", false, borrowed(&asked));
        let response = ResponseFacts::new(200, borrowed(&lines));
        let freshness = Freshness::new(&response, b"http://h/x", None, times());
        if let Ok(age) = usable(&freshness, &request.directives, now) {
            prop_assert_eq!(age, freshness.age(now));
            let directives = &freshness.directives;
            prop_assert!(!directives.no_cache);
            let wanted = request.directives.max_stale.is_some() && !directives.forbids_stale();
            prop_assert!(age < freshness.lifetime || wanted);
        }
        if may_precede_validation(&freshness, &request.directives, now) {
            prop_assert!(!freshness.directives.forbids_stale());
        }
    }
}
