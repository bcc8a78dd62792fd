//! Proxy-Status (RFC 9209): who failed, a node or what is behind it. Evidence against a node is the
//! node's own failure only.

mod error_type;

use std::net::SocketAddr;

pub use self::error_type::ErrorType;
use crate::field::Field;
use crate::head::Lines;
use crate::head::lines::is_tchar;

/// Writes an entry: who, which error, and what a person should know (may be empty).
pub fn entry(who: &str, error: ErrorType, details: &str) -> String {
    let error = error.as_str();
    let mut value = String::with_capacity(who.len() + error.len() + details.len() + 24);
    push_name(&mut value, who);
    value.push_str("; error=");
    value.push_str(error);
    if !details.is_empty() {
        value.push_str("; details=");
        push_string(&mut value, details);
    }
    value
}

/// Writes an entry that says whom the answer was had from.
pub fn from_next_hop(who: &str, next_hop: SocketAddr) -> String {
    let mut value = String::with_capacity(who.len() + 64);
    push_name(&mut value, who);
    value.push_str("; next-hop=");
    push_string(&mut value, &next_hop.to_string());
    value
}

/// The error that `who` reports in a message's Proxy-Status, if there is an entry of that name with
/// one of RFC 9209's.
pub fn error_of(lines: Lines<'_>, who: &str) -> Option<ErrorType> {
    parameter_of(lines, who, "error=").and_then(ErrorType::parse)
}

/// Whom `who` had the answer from (RFC 9209 §2.1.2), where it says an address.
pub fn next_hop_of(lines: Lines<'_>, who: &str) -> Option<SocketAddr> {
    parameter_of(lines, who, "next-hop=").and_then(|text| text.parse().ok())
}

/// The value of a parameter in the first entry of `who` that has it.
fn parameter_of<'a>(lines: Lines<'a>, who: &str, parameter: &str) -> Option<&'a str> {
    lines
        .all(Field::ProxyStatus)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| split(value, b','))
        .find_map(|member| {
            let mut parts = split(member, b';').map(|part| part.trim_matches([' ', '\t']));
            let name = parts.next()?;
            if unquote(name) != who {
                return None;
            }
            parts.find_map(|it| it.strip_prefix(parameter)).map(unquote)
        })
}

/// Whether somebody on the way says that it received the status, and did not make it (RFC 9209
/// §2.1.4).
pub fn was_received(lines: Lines<'_>) -> bool {
    lines
        .all(Field::ProxyStatus)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| split(value, b','))
        .any(|member| {
            split(member, b';').skip(1).any(|parameter| parameter.starts_with("received-status="))
        })
}

/// `sf-token` of RFC 8941 §3.3.4.
fn is_sf_token(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*')
        && text.bytes().all(|byte| is_tchar(byte) || byte == b':' || byte == b'/')
}

fn push_name(value: &mut String, who: &str) {
    if is_sf_token(who) { value.push_str(who) } else { push_string(value, who) }
}

/// `sf-string`: printable ASCII; anything else becomes `?`.
fn push_string(value: &mut String, text: &str) {
    value.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => value.extend(['\\', character]),
            ' '..='~' => value.push(character),
            _ => value.push('?'),
        }
    }
    value.push('"');
}

/// The text of a token or of a string. (Names with escapes in them are not found; ours have none.)
fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// Splits at a separator that is not inside a string.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character: char| {
        let inside = quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        !inside && character == char::from(separator)
    })
    .map(|part| part.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Limits, ResponseHead};

    #[test]
    fn finds_who_failed() {
        let cases = [
            ("proxy-node-1; error=proxy_internal_error", Some(ErrorType::ProxyInternalError)),
            (
                "a; error=dns_error, proxy-node-1;error=connection_limit_reached;details=\"x, y; \
                 error=z\"",
                Some(ErrorType::ConnectionLimitReached),
            ),
            (
                "\"proxy-node-1\"; received-status=503; error=connection_refused",
                Some(ErrorType::ConnectionRefused),
            ),
            ("proxy-node-2; error=proxy_internal_error", None),
            ("b; details=\"a, proxy-node-1; error=proxy_internal_error\"", None),
            ("b; details=\"\\\", proxy-node-1; error=x\"", None),
            ("proxy-node-1; error=proxy_internal_limit", None),
            ("proxy-node-1", None),
            ("", None),
            (";,\"", None),
        ];
        for (value, expected) in cases {
            let bytes = format!("HTTP/1.1 503 X\r\nProxy-Status: {value}\r\n\r\n");
            let mut head = ResponseHead::new();
            head.parse(bytes.as_bytes(), &Limits::default()).expect("well-formed");
            assert_eq!(
                error_of(head.view(bytes.as_bytes()).lines(), "proxy-node-1"),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn says_whom_an_answer_was_had_from() {
        for (who, address) in [("node-2", "192.0.2.1:80"), ("2", "[2001:db8::1]:443")] {
            let address = address.parse().unwrap();
            let value = from_next_hop(who, address);
            let bytes = format!("HTTP/1.1 200 X\r\nProxy-Status: x; next-hop=a, {value}\r\n\r\n");
            let mut head = ResponseHead::new();
            head.parse(bytes.as_bytes(), &Limits::default()).expect("well-formed");
            let lines = head.view(bytes.as_bytes()).lines();
            assert_eq!((next_hop_of(lines, who), next_hop_of(lines, "x")), (Some(address), None));
            assert_eq!((error_of(lines, who), was_received(lines)), (None, false));
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for (who, details) in [("proxy-node-1", "say \"no\", twice; é"), ("1 odd name", "")] {
            let bytes = format!(
                "HTTP/1.1 503 X\r\nProxy-Status: {}\r\n\r\n",
                entry(who, ErrorType::ProxyInternalError, details)
            );
            let mut head = ResponseHead::new();
            head.parse(bytes.as_bytes(), &Limits::default()).expect("well-formed");
            let error = error_of(head.view(bytes.as_bytes()).lines(), who);
            assert_eq!(error, Some(ErrorType::ProxyInternalError));
        }
    }
}
