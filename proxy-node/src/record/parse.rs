//! A line of the access log, read again: the way back from [`Record::write`].

use std::net::IpAddr;

use dataplane::search::{self, Look};
use uuid::Uuid;

use super::{Hierarchy, Outcome, Record};

/// What is told of a URL, in bytes; one may be long.
const RECORD_URL: usize = 2048;

/// Written length of a request's id.
const ID: usize = 36;

impl search::Record for Record {
    /// Ten columns, and the id where there is one. Whatever has others is none of ours.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut columns = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let ended_at = millis(columns.next()?)?;
        let elapsed = columns.next()?.parse().ok()?;
        let client = address(columns.next()?)?;
        let (outcome, status) = columns.next()?.split_once('/')?;
        let (outcome, aborted) =
            outcome.strip_suffix("_ABORTED").map_or((outcome, false), |outcome| (outcome, true));
        let record = Self {
            ended_at,
            elapsed,
            client,
            outcome: Outcome::parse(outcome)?,
            aborted,
            status: status.parse().ok()?,
            bytes: columns.next()?.parse().ok()?,
            method: text(columns.next()?),
            url: text(columns.next().map(|url| &url[..url.floor_char_boundary(RECORD_URL)])?),
            user: text(columns.next()?),
            hierarchy: columns.next().and_then(Hierarchy::parse)?,
            media_type: text(columns.next()?),
            id: columns.next().map_or(Some(Uuid::nil()), |id| Uuid::try_parse(id).ok())?,
        };
        columns.next().is_none().then_some(record)
    }

    fn ended_at(&self) -> u64 {
        self.ended_at
    }
}

/// `1700000000.045`
fn millis(text: &str) -> Option<u64> {
    let (seconds, millis) = text.split_once('.').filter(|(_, millis)| millis.len() == 3)?;
    seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis.parse().ok()?)
}

/// Some address, or none that could be known.
#[allow(
    clippy::option_option,
    reason = "what cannot be read is another thing than what was not known"
)]
fn address(text: &str) -> Option<Option<IpAddr>> {
    if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
}

fn text(column: &str) -> Box<str> {
    if column == "-" { "".into() } else { column.into() }
}

/// A line may be one of the request that is looked for: its end says so. Without one, every line
/// has to be read.
#[must_use]
pub fn look(line: &[u8], request: Option<&str>) -> Look {
    let Some(request) = request else { return Look::Perhaps };
    if line.ends_with(request.as_bytes()) {
        return Look::Perhaps;
    }
    let end = line.len().checked_sub(ID).map(|begin| &line[begin..]);
    if end
        .is_some_and(|end| end[8] == b'-' && end[13] == b'-' && end[18] == b'-' && end[23] == b'-')
    {
        Look::No
    } else {
        Look::NoId
    }
}

#[cfg(test)]
mod tests {
    use dataplane::search::Record as _;
    use proptest::prelude::*;

    use super::*;

    fn line(record: &Record, ids: bool) -> Vec<u8> {
        let mut line = Vec::new();
        record.write(&mut line, ids);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    #[test]
    fn what_was_written_is_read() {
        let address: IpAddr = "2001:db8::7".parse().unwrap();
        let id = Uuid::from_u128(7);
        let hierarchies = [
            Hierarchy::None,
            Hierarchy::Direct(address),
            Hierarchy::Parent(address),
            Hierarchy::RoundRobin(address),
            Hierarchy::Carp(address),
            Hierarchy::SourceHash(address),
            Hierarchy::OwnerHit(address),
            Hierarchy::OwnerMiss(address),
            Hierarchy::SiblingHit(address),
        ];
        for (outcome, hierarchy) in Outcome::ALL.into_iter().zip(hierarchies.into_iter().cycle()) {
            for aborted in [false, true] {
                let record = Record {
                    id,
                    ended_at: 1_700_000_000_045,
                    elapsed: 12,
                    client: Some(address),
                    outcome,
                    aborted,
                    status: 200,
                    bytes: 1234,
                    method: "GET".into(),
                    url: "http://example.com/a?b=c".into(),
                    user: "alice".into(),
                    hierarchy,
                    media_type: "text/html".into(),
                };
                assert_eq!(Record::parse(&line(&record, true)).as_ref(), Some(&record));
                assert_eq!(
                    Record::parse(&line(&record, false)),
                    Some(Record { id: Uuid::nil(), ..record })
                );
            }
        }
        assert_eq!(Record::parse(&line(&Record::default(), true)), Some(Record::default()));
        let long =
            Record { url: format!("http://a/{}", "x".repeat(5000)).into(), ..Record::default() };
        assert_eq!(Record::parse(&line(&long, true)).unwrap().url.len(), RECORD_URL);
    }

    #[test]
    fn what_is_none_of_ours_is_none() {
        let good = "1700000000.045     12 10.0.0.5 TCP_MISS/200 1234 GET http://a/ - HIER_NONE/- \
            text/html";
        assert!(Record::parse(good.as_bytes()).is_some());
        for (from, to) in [
            ("1700000000.045", "1700000000"),
            ("1700000000.045", "99999999999999999999.000"),
            ("10.0.0.5", "host.example"),
            ("TCP_MISS/200", "TCP_MISS"),
            ("TCP_MISS", "UDP_HIT"),
            ("HIER_NONE/-", "-"),
            ("text/html", ""),
            ("text/html", "text/html x"),
            ("text/html", "text/html 00000000-0000-0000-0000-000000000007 x"),
        ] {
            let line = good.replace(from, to);
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_quick_look() {
        let record = Record { id: Uuid::from_u128(7), ..Record::default() };
        let id = record.id.to_string();
        for (line, request, expected) in [
            (line(&record, true), Some(id.as_str()), Look::Perhaps),
            (line(&record, true), Some("00000000-0000-0000-0000-000000000008"), Look::No),
            (line(&record, false), Some(id.as_str()), Look::NoId),
            (line(&record, false), None, Look::Perhaps),
            (Vec::new(), Some(id.as_str()), Look::NoId),
        ] {
            assert_eq!(look(&line, request), expected, "{}", String::from_utf8_lossy(&line));
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_there_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = (Record::parse(&line), look(&line, Some("x")));
        }
    }
}
