//! What every field is checked by: names, ids, addresses, times.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use uuid::Uuid;

use crate::instance::InstanceId;

/// The longest name of an instance, a check, a datacenter, a zone, a tag, a version or a revision,
/// in bytes.
pub const MAX_NAME: usize = 128;
/// The most endpoints or tags that an instance may have.
pub const MAX_ENTRIES: usize = 64;
/// Longer texts for people are cut, in bytes.
pub const MAX_TEXT: usize = 1024;

/// Why a word is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name: names have 1 to 128 letters, digits, `-`, `_` or `.`, and begin with a \
     letter or a digit"
)]
pub struct InvalidName(pub String);

/// Why a text is no instance id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no instance id: ids are UUIDs of version 7")]
pub struct InvalidId(pub String);

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address that others could connect to: addresses are `host:port` or `[ipv6]:port`, \
     with a port from 1 to 65535 and not the unspecified address"
)]
pub struct InvalidAddress(pub String);

/// Checks a name of an instance, a check or a purpose.
///
/// # Errors
/// When it is none.
pub fn name(text: String) -> Result<String, InvalidName> {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = text.len() <= MAX_NAME
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(rest);
    if fits { Ok(text) } else { Err(InvalidName(cut(text, MAX_NAME))) }
}

/// Reads an instance id.
///
/// # Errors
/// When it is no UUID v7.
pub fn id(text: &str) -> Result<InstanceId, InvalidId> {
    match Uuid::try_parse(text) {
        Ok(uuid) if uuid.get_version_num() == 7 => Ok(InstanceId(uuid)),
        _ => Err(InvalidId(cut(text.to_owned(), MAX_NAME))),
    }
}

/// Checks a `host:port` that others are to connect to.
///
/// # Errors
/// When nobody could.
pub fn address(text: String) -> Result<String, InvalidAddress> {
    if is_address(&text) { Ok(text) } else { Err(InvalidAddress(cut(text, MAX_NAME))) }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_fits = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_fits = match (bracketed, host.parse::<IpAddr>()) {
        (Some(inner), _) => {
            inner.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| !ip.is_unspecified())
        }
        (None, Ok(ip)) => ip.is_ipv4() && !ip.is_unspecified(),
        (None, Err(_)) => is_host_name(host),
    };
    port_fits && host_fits
}

/// RFC 1123 §2.1; a last label of digits only would be a mistyped IPv4 address.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_number =
        host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    host.len() <= 253 && !last_is_number && host.split('.').all(label)
}

pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// A domain time as protobuf's.
#[must_use]
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    // Protobuf counts nanoseconds forwards also before 1970; jiff counts them backwards.
    let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        prost_types::Timestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}

/// Protobuf's time as a domain time; `None` when it is absent or out of range.
#[must_use]
pub fn from_timestamp(at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let at = at?;
    if (0..1_000_000_000).contains(&at.nanos) {
        Timestamp::new(at.seconds, at.nanos).ok()
    } else {
        None
    }
}

/// Unix milliseconds as protobuf's time.
#[must_use]
pub fn at_unix_millis(millis: u64) -> prost_types::Timestamp {
    let at = Timestamp::from_millisecond(i64::try_from(millis).unwrap_or(i64::MAX));
    timestamp(at.unwrap_or_default())
}

/// And back; none: before 1970, or none at all.
#[must_use]
pub fn unix_millis(at: Option<prost_types::Timestamp>) -> Option<u64> {
    u64::try_from(from_timestamp(at)?.as_millisecond()).ok()
}

/// A duration as protobuf's; durations beyond what it can carry become the longest it can.
#[must_use]
pub fn duration(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or(0),
    }
}

/// Protobuf's duration; `None` when it is absent, negative or out of range.
#[must_use]
pub fn from_duration(length: Option<prost_types::Duration>) -> Option<Duration> {
    let length = length?;
    let nanos = u32::try_from(length.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(length.seconds).ok()?, nanos))
}
