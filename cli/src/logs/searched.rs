//! How far the files of access logs were searched, for people and programs.

use std::collections::BTreeMap;

use cluster::wire::from_timestamp;
use jiff::{Timestamp, tz::TimeZone};
use proto::access;
use serde::Serialize;

use crate::output::bytes;

/// Of one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Searched {
    /// Whatever ended after this was looked at; null: there was no record.
    pub back_to: Option<Timestamp>,
    pub bytes: u64,
    pub files: u32,
    /// Why it ended before everything was looked at that was asked for; null: everything was.
    pub stopped: Option<&'static str>,
    /// Files that were left out, and why.
    pub skipped: Vec<String>,
    /// Records without an id, when a request was looked for.
    pub without_id: u64,
    #[serde(skip)]
    pub under_way: bool,
}

impl From<access::Searched> for Searched {
    fn from(told: access::Searched) -> Self {
        use access::SearchStopped as Stopped;
        let stopped = match told.stopped() {
            Stopped::Unspecified => None,
            Stopped::Bytes => Some("bytes"),
            Stopped::Time => Some("time"),
            Stopped::Busy => Some("busy"),
            Stopped::Unreadable => Some("unreadable"),
        };
        let back_to = from_timestamp(told.back_to);
        let access::Searched { bytes, files, skipped, without_id, under_way, .. } = told;
        Self { back_to, bytes, files, stopped, skipped, without_id, under_way }
    }
}

/// What people have to know of it: who was searched to the end, who was not, and what was left out.
/// Pure.
pub fn remarks(searched: &BTreeMap<String, Searched>, zone: &TimeZone) -> Vec<String> {
    let time = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%F %T").to_string();
    let mut remarks = Vec::new();
    let whole: Vec<_> = searched.iter().filter(|(_, it)| it.stopped.is_none()).collect();
    if let Some(oldest) = whole.iter().filter_map(|(_, it)| it.back_to).min() {
        let names: Vec<_> = whole.iter().map(|(name, _)| name.as_str()).collect();
        let read = bytes(whole.iter().map(|(_, it)| it.bytes).sum());
        remarks.push(format!(
            "The log files of {} were searched, too, back to {} ({read}).",
            names.join(", "),
            time(oldest)
        ));
    }
    for (name, it) in searched {
        match (it.stopped, it.back_to) {
            (None, _) => {}
            (Some("busy"), _) => remarks.push(format!(
                "The log files of {name} were not searched: another search is \
                    under way there. Ask again."
            )),
            (Some("unreadable"), _) => remarks.push(format!(
                "The log files of {name} cannot be \
                read: {}.",
                it.skipped.join(", ")
            )),
            (Some(_), back_to) => {
                let (back, go_on) = back_to.map_or_else(
                    || (String::new(), "ask again with --since and --until".to_owned()),
                    |at| {
                        (
                            format!(" back to {}", time(at)),
                            format!(
                                "for what is older, --until \
                        \"{}\"",
                                time(at)
                            ),
                        )
                    },
                );
                let read = bytes(it.bytes);
                remarks.push(format!(
                    "The log files of {name} were searched only{back}: one search reads no more \
                     than {read}. Go on {go_on}."
                ));
            }
        }
        if !it.skipped.is_empty() && it.stopped != Some("unreadable") {
            remarks.push(format!("Left out at {name}: {}.", it.skipped.join(", ")));
        }
        if it.without_id > 0 {
            remarks.push(format!(
                "{} records in the files of {name} carry no request id (an older version's, or \
                 access_log: {{request_id: false}}).",
                it.without_id
            ));
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_learn_how_far_it_went() {
        let at = |second| Timestamp::from_second(second).ok();
        let whole = Searched { back_to: at(1000), bytes: 2048, files: 2, ..Searched::default() };
        let cut = Searched {
            back_to: at(5000),
            bytes: 4 << 30,
            stopped: Some("bytes"),
            ..Searched::default()
        };
        let busy = Searched { stopped: Some("busy"), ..Searched::default() };
        let left_out = Searched {
            skipped: vec!["access.log.2.gz (compressed)".into()],
            without_id: 7,
            back_to: at(2000),
            ..Searched::default()
        };
        let all = BTreeMap::from([
            ("a".to_owned(), whole),
            ("b".to_owned(), cut),
            ("c".to_owned(), busy),
            ("d".to_owned(), left_out),
        ]);
        let text = remarks(&all, &TimeZone::UTC).join("\n");
        for part in [
            "of a, d were searched, too, back to 1970-01-01 00:16:40",
            "of b were searched only back to 1970-01-01 01:23:20: one search reads no more than \
             4.0 GiB. Go on for what is older, --until \"1970-01-01 01:23:20\"",
            "of c were not searched: another search is under way",
            "Left out at d: access.log.2.gz (compressed).",
            "7 records in the files of d carry no request id",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(remarks(&BTreeMap::new(), &TimeZone::UTC).is_empty());
    }
}
