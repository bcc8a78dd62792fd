//! Which access records somebody wants to see. Pure.
//!
//! A balancer and a proxy-node read the four conditions the same way, so that one question finds a
//! request wherever it left a record.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;
use uuid::Uuid;

use crate::{
    domain::domain,
    search::{Bounds, aside::BYTES},
};

/// The first 48 bits of an id say when its request came, by the clock of whoever gave it: that
/// clock may be as wrong as this, in milliseconds.
const CLOCKS: u64 = 5 * 60 * 1000;

/// All that is asked for; a record has to meet every condition that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    request: Option<Uuid>,
    client: Option<IpNet>,
    status: Option<RangeInclusive<u16>>,
    domain: Option<Domain>,
    /// When it ended, in Unix milliseconds.
    since: Option<u64>,
    until: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Domain {
    /// In lower case, without dots at its ends.
    name: String,
    /// Whether what is below it is meant too.
    below: bool,
}

/// A condition that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id.
    #[error(
        "{0:?} is not a request id; give it as answers carry it in Shoal-Request-Id: \
         0190163d-8694-739b-aea5-966c26f8ad91"
    )]
    Request(String),
    /// The client.
    #[error("{0:?} is neither an address nor a network; give 192.168.1.7 or 192.168.1.0/24")]
    Client(String),
    /// The status.
    #[error("{0:?} is not a status; give 404, 4xx or 500-504 (0: no answer was sent)")]
    Status(String),
    /// The domain.
    #[error(
        "{0:?} is not a domain; give example.com, or .example.com for it and all that is below it"
    )]
    Domain(String),
}

/// What of a record is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its request's id.
    pub request: Uuid,
    /// Who asked, where that is known.
    pub client: Option<IpAddr>,
    /// What was sent; 0: nothing.
    pub status: u16,
    /// What was asked for, as sent.
    pub target: &'a str,
    /// When it ended, in Unix milliseconds.
    pub ended_at: u64,
}

impl Filter {
    /// Reads the conditions; an empty text is none.
    ///
    /// # Errors
    /// The first one that cannot be read.
    pub fn parse(request: &str, client: &str, status: &str, domain: &str) -> Result<Self, Error> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(Self {
            request: given(request)
                .map(|text| Uuid::try_parse(&text).map_err(|_| Error::Request(text)))
                .transpose()?,
            client: given(client)
                .map(|text| network(&text).ok_or(Error::Client(text)))
                .transpose()?,
            status: given(status)
                .map(|text| statuses(&text).ok_or(Error::Status(text)))
                .transpose()?,
            domain: given(domain)
                .map(|text| Domain::parse(&text).ok_or(Error::Domain(text)))
                .transpose()?,
            since: None,
            until: None,
        })
    }

    /// The same for what ended between these times, in Unix milliseconds, and at them.
    #[must_use]
    pub const fn between(self, since: Option<u64>, until: Option<u64>) -> Self {
        let mut wanted = self;
        (wanted.since, wanted.until) = (since, until);
        wanted
    }

    /// Whether there is no condition but of time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request.is_none()
            && self.client.is_none()
            && self.status.is_none()
            && self.domain.is_none()
    }

    /// What is left to be looked for in files, when memory has told of `found` of `count` wanted
    /// records and reaches back to `kept_since`: none, when nothing can be left there.
    #[must_use]
    pub fn beyond(&self, count: usize, found: usize, kept_since: Option<u64>) -> Option<Bounds> {
        let began = self.request.and_then(|id| id.get_timestamp()).map(|at| at.to_unix());
        let began = began.map(|(seconds, nanos)| {
            (seconds * 1000 + u64::from(nanos) / 1_000_000).saturating_sub(CLOCKS)
        });
        let since = self.since.max(began);
        let all = found >= count || kept_since.zip(since).is_some_and(|(kept, since)| kept < since);
        (!all).then(|| Bounds { results: count - found, bytes: BYTES, since, until: self.until })
    }

    /// The one request that is looked for, if it is one.
    #[must_use]
    pub const fn request(&self) -> Option<Uuid> {
        self.request
    }

    /// Whether a record meets all of them.
    #[must_use]
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        self.request.is_none_or(|id| id == facts.request)
            && self.since.is_none_or(|since| since <= facts.ended_at)
            && self.until.is_none_or(|until| facts.ended_at <= until)
            && self.status.as_ref().is_none_or(|statuses| statuses.contains(&facts.status))
            && self.client.is_none_or(|network| {
                facts.client.is_some_and(|client| network.contains(&client.to_canonical()))
            })
            && self.domain.as_ref().is_none_or(|wanted| wanted.matches(&domain(facts.target)))
    }
}

/// A network, or an address as a network of one.
fn network(text: &str) -> Option<IpNet> {
    let address = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address
        .map(|address| IpNet::from(address.to_canonical()))
        .ok()
        .or_else(|| text.parse::<IpNet>().ok().map(|network| network.trunc()))
}

/// `404`, `4xx`, `500-504`.
fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|status| *status == 0 || (100..=999).contains(status))
    };
    if let Some(class) = text.to_ascii_lowercase().strip_suffix("xx") {
        let hundreds = class.parse::<u16>().ok().filter(|class| (1..=9).contains(class))? * 100;
        return Some(hundreds..=hundreds + 99);
    }
    match text.split_once('-') {
        Some((first, last)) => {
            Some(number(first)?..=number(last)?).filter(|range| !range.is_empty())
        }
        None => number(text).map(|status| status..=status),
    }
}

impl Domain {
    fn parse(text: &str) -> Option<Self> {
        let below = text.starts_with('.') || text.starts_with("*.");
        let name = text
            .trim_start_matches("*.")
            .trim_matches('.')
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"/?#@[]".contains(&byte);
        (!name.is_empty() && name.bytes().all(fits)).then_some(Self { name, below })
    }

    fn matches(&self, host: &str) -> bool {
        let above = || host.strip_suffix(&self.name).is_some_and(|rest| rest.ends_with('.'));
        host == self.name || (self.below && above())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(client: &str, status: u16, target: &'static str) -> Facts<'static> {
        Facts { request: Uuid::nil(), client: client.parse().ok(), status, target, ended_at: 5000 }
    }

    #[test]
    fn every_condition_has_to_be_met() {
        let record = facts("10.1.2.3", 404, "http://User@WWW.Example.com:8080/x");
        for (client, status, domain, expected) in [
            ("", "", "", true),
            ("10.1.2.3", "404", "www.example.com", true),
            ("10.1.2.4", "", "", false),
            ("10.1.0.0/16", "4xx", ".example.com", true),
            ("10.1.9.9/16", "4XX", "*.Example.Com.", true),
            ("10.2.0.0/16", "", "", false),
            ("::ffff:10.1.2.3", "", "", true),
            ("", "400-404", "", true),
            ("", "405-499", "", false),
            ("", "0", "", false),
            ("", "5xx", "", false),
            ("", "", "example.com", false),
            ("", "", ".ample.com", false),
            ("", "", ".www.example.com", true),
        ] {
            let filter =
                Filter::parse("", client, status, domain).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(filter.matches(&record), expected, "{client} {status} {domain}");
        }
        assert!(Filter::parse("", "", "", "[2001:DB8::1]").is_ok_and(|it| it.matches(&facts(
            "",
            0,
            "http://[2001:db8::1]:80/"
        ))));
        assert!(
            !Filter::parse("", "10.0.0.0/8", "", "")
                .is_ok_and(|it| it.matches(&facts("", 200, "x"))),
            "nobody is in no network"
        );
    }

    #[test]
    fn one_request_by_its_id() {
        let id = Uuid::from_u128(7);
        let filter = Filter::parse(&format!(" {id} "), "", "", "").expect("an id");
        assert_eq!(filter.request(), Some(id));
        assert!(
            filter.matches(&Facts { request: id, ..facts("", 0, "") })
                && !filter.matches(&facts("", 0, ""))
        );
        assert!(Filter::parse("", " ", "", "").is_ok_and(|filter| filter.is_empty()));
    }

    #[test]
    fn times_and_what_is_left_to_be_looked_for() {
        let record = facts("10.0.0.1", 200, "");
        for (since, until, expected) in [
            (None, None, true),
            (Some(5000), Some(5000), true),
            (Some(5001), None, false),
            (None, Some(4999), false),
        ] {
            assert_eq!(
                Filter::default().between(since, until).matches(&record),
                expected,
                "{since:?} {until:?}"
            );
        }
        assert!(Filter::default().between(Some(1), Some(2)).is_empty());
        let bounds = |filter: Filter, found, kept| {
            filter
                .beyond(20, found, kept)
                .map(|bounds| (bounds.results, bounds.since, bounds.until))
        };
        let all = Filter::default();
        assert_eq!(bounds(all.clone(), 3, Some(1000)), Some((17, None, None)));
        assert_eq!(bounds(all.clone(), 20, Some(1000)), None, "enough was found");
        let since = all.between(Some(2000), Some(9000));
        assert_eq!(
            bounds(since.clone(), 0, Some(1999)),
            None,
            "memory reaches back as far as is asked"
        );
        assert_eq!(bounds(since.clone(), 0, Some(2000)), Some((20, Some(2000), Some(9000))));
        assert_eq!(bounds(since, 0, None), Some((20, Some(2000), Some(9000))));
        // 2023-11-14 22:13:20, and no earlier than five minutes before.
        let one = Filter::parse("018bcfe5-6800-7000-8000-000000000000", "", "", "").expect("an id");
        assert_eq!(
            bounds(one.clone(), 0, Some(1_700_000_000_000)),
            Some((20, Some(1_700_000_000_000 - CLOCKS), None))
        );
        assert_eq!(bounds(one, 0, Some(1_699_999_000_000)), None);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (request, client, status, domain) in [
            ("abc", "", "", ""),
            ("", "10.0.0", "", ""),
            ("", "10.0.0.0/33", "", ""),
            ("", "", "4x", ""),
            ("", "", "0xx", ""),
            ("", "", "504-500", ""),
            ("", "", "20", ""),
            ("", "", "200,404", ""),
            ("", "", "", "."),
            ("", "", "", "http://a/"),
            ("", "", "", "a b"),
        ] {
            let error = Filter::parse(request, client, status, domain).expect_err("unreadable");
            assert!(error.to_string().contains("give "), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_given_panics(text in ".{0,40}", target in ".{0,60}") {
            for filter in [
                Filter::parse(&text, "", "", ""),
                Filter::parse("", &text, "", ""),
                Filter::parse("", "", &text, ""),
                Filter::parse("", "", "", &text),
            ] {
                let record = Facts {
                    request: Uuid::nil(),
                    client: None,
                    status: 200,
                    target: &target,
                    ended_at: 0,
                };
                let _either = filter.is_ok_and(|filter| filter.matches(&record));
            }
        }
    }
}
