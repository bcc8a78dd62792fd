//! The request as a client would send it.

use std::collections::BTreeMap;

use bytes::Bytes;
use dataplane::trace::Onward;
use relay::head::{Limits, Progress, RequestHead};

use super::Meaningless;
use crate::transaction::Request;

/// The request as a client would send it.
pub(super) fn request(
    url: &str,
    method: &str,
    headers: &BTreeMap<String, String>,
) -> Result<Request, Meaningless> {
    let method = if method.is_empty() { "GET" } else { method };
    let authority = match url.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => url,
    };
    let target = url.split('#').next().unwrap_or_default();
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for (name, value) in headers {
        if name.contains(['\r', '\n']) || value.contains(['\r', '\n']) {
            return Err(Meaningless("a header holds a line break".to_owned()));
        }
        if !name.eq_ignore_ascii_case("host") {
            text.extend([name, ": ", value, "\r\n"]);
        }
    }
    text.push_str("\r\n");
    let bytes = Bytes::from(text);
    let mut head = Box::new(RequestHead::new());
    match head.parse(&bytes, &Limits::default()) {
        Ok(Progress::Complete(_)) => Ok(Request { head, bytes, onward: Onward::default() }),
        Ok(Progress::NeedMore) => Err(Meaningless("it is not complete".to_owned())),
        Err(malformed) => Err(Meaningless(malformed.to_string())),
    }
}
