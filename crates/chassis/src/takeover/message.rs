//! What two processes say to each other: frames of a length (4 octets, big-endian) and JSON. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Totals;

/// Of these messages. A process of another one is refused, and may be restarted instead.
pub(super) const PROTOCOL: u32 = 1;
/// Octets of a message: the counters of some ten thousand servers.
pub(super) const LONGEST: usize = 64 << 20;
/// Octets of the length in front of each.
pub(super) const PREFIX: usize = 4;

/// Who wants to take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    pub(super) service: String,
    pub(super) name: String,
    /// Fingerprints of its cluster's authorities; none without certificates.
    pub(super) clusters: Vec<String>,
    /// Of the program.
    pub(super) version: String,
    pub(super) pid: u32,
}

impl Hello {
    /// Why it may not take over from this process.
    pub(super) fn refused_by(&self, own: &Self) -> Option<String> {
        let Self { protocol, service, name, clusters, .. } = self;
        if *protocol != own.protocol {
            return Some(format!(
                "it speaks version {protocol} of the protocol, and the running process (Shoal {}) \
                 version {}: restart it instead",
                own.version, own.protocol
            ));
        }
        if (service, name) != (&own.service, &own.name) {
            let (is, own_name) = (&own.service, &own.name);
            return Some(format!("{is} {own_name} runs there, not {service} {name}"));
        }
        let shared = clusters.iter().any(|it| own.clusters.contains(it));
        if !shared && clusters.is_empty() != own.clusters.is_empty() {
            return Some("one of the two has certificates, and the other has none".to_owned());
        }
        (!shared && !clusters.is_empty()).then(|| "it belongs to another cluster".to_owned())
    }
}

/// The answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Refused(String),
    Offer(Terms),
}

/// What is offered; the descriptors follow in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// With which the process is registered.
    pub(super) id: String,
    pub(super) handed: Vec<Described>,
    pub(super) state: BTreeMap<String, String>,
}

/// How many descriptors of one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) purpose: String,
    pub(super) which: String,
    pub(super) count: usize,
}

/// What the new process says after the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    Ready,
    Taken,
}

/// What the old process says then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// It is the new one's turn.
    Go(Totals),
    /// It has changed its mind.
    Withdrawn(String),
    /// What it has counted while it drained: all of it.
    Late(Totals),
}

/// Why something is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("a message of {0} octets is longer than any")]
    TooLong(usize),
    #[error("a message that is none: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// With its length in front.
pub(super) fn write(message: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut frame = vec![0; PREFIX];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - PREFIX;
    let prefix = u32::try_from(length).ok().filter(|_| length <= LONGEST);
    frame[..PREFIX].copy_from_slice(&prefix.ok_or(Error::TooLong(length))?.to_be_bytes());
    Ok(frame)
}

/// How long the message after this is.
pub(super) fn length(prefix: [u8; PREFIX]) -> Result<usize, Error> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > LONGEST { Err(Error::TooLong(length)) } else { Ok(length) }
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    Ok(serde_json::from_slice(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL,
            service: "balancer".into(),
            name: "b-1".into(),
            clusters: vec!["aa".into()],
            version: "1.0.0".into(),
            pid: 7,
        }
    }

    #[test]
    fn who_may_take_over() {
        let own = hello();
        let cases: [(Hello, Option<&str>); 8] = [
            (Hello { version: "2.0.0".into(), pid: 8, ..hello() }, None),
            (Hello { clusters: vec!["bb".into(), "aa".into()], ..hello() }, None),
            (Hello { protocol: 2, ..hello() }, Some("version 2 of the protocol")),
            (Hello { service: "proxy-node".into(), ..hello() }, Some("balancer b-1 runs there")),
            (Hello { name: "b-2".into(), ..hello() }, Some("not balancer b-2")),
            (Hello { clusters: vec!["bb".into()], ..hello() }, Some("another cluster")),
            (Hello { clusters: Vec::new(), ..hello() }, Some("certificates")),
            (Hello { protocol: 0, name: "x".into(), ..hello() }, Some("version 0")),
        ];
        for (it, expected) in cases {
            let refused = it.refused_by(&own);
            match expected {
                None => assert_eq!(refused, None, "{it:?}"),
                Some(why) => assert!(refused.is_some_and(|it| it.contains(why)), "{it:?}"),
            }
        }
        let plain = Hello { clusters: Vec::new(), ..hello() };
        assert_eq!(plain.refused_by(&plain), None, "without certificates on both sides");
    }

    #[test]
    fn what_is_written_is_read_and_what_is_no_message_is_an_error() {
        let written = write(&hello()).unwrap();
        let prefix = written[..PREFIX].try_into().unwrap();
        assert_eq!(length(prefix).unwrap(), written.len() - PREFIX);
        assert_eq!(read::<Hello>(&written[PREFIX..]).unwrap(), hello());
        assert!(matches!(length([0xff; PREFIX]), Err(Error::TooLong(_))));
        for bytes in [&b""[..], b"{", b"null", b"\xff\xfe", &written[PREFIX..written.len() - 1]] {
            assert!(read::<Hello>(bytes).is_err(), "{bytes:?}");
        }
        assert!(read::<Step>(b"\"Late\"").is_err(), "the other side's word");
    }
}
