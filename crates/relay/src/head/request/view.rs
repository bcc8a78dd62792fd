//! What a request asks for, read off its head's index and its bytes.

use super::{RequestHead, part, text};
use crate::field::Field;
use crate::framing::BodyFraming;
use crate::head::{HeaderLine, Lines, Version};
use crate::method::Method;
use crate::target::{Authority, Target};

/// A request's head and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) bytes: &'a [u8],
}

impl<'a> Request<'a> {
    /// The method.
    pub fn method(self) -> Method {
        self.head.line.method
    }

    /// The method as received.
    pub fn method_text(self) -> &'a str {
        text(self.bytes, self.head.line.method_at, self.head.line.method_len)
    }

    /// The same as bytes, which need not be found to be text once more.
    pub fn method_bytes(self) -> &'a [u8] {
        part(self.bytes, self.head.line.method_at, self.head.line.method_len)
    }

    /// The target as received, as bytes.
    pub fn target_bytes(self) -> &'a [u8] {
        self.head.line.target_bytes(self.bytes)
    }

    /// The target as received.
    pub fn target_text(self) -> &'a str {
        self.head.line.target(self.bytes)
    }

    /// The bytes of the head with another target in the place of the received one.
    pub fn with_target(self, target: &str) -> Vec<u8> {
        let at = usize::from(self.head.line.target_at);
        let (before, rest) = self.bytes.split_at(at.min(self.bytes.len()));
        let after = rest.get(usize::from(self.head.line.target_len)..).unwrap_or_default();
        [before, target.as_bytes(), after].concat()
    }

    /// The authority that the target itself names, as received.
    pub fn target_authority(self) -> Option<&'a str> {
        let line = &self.head.line;
        (line.authority_len > 0).then(|| text(self.bytes, line.authority_at, line.authority_len))
    }

    /// The same as bytes.
    pub(crate) fn target_authority_bytes(self) -> Option<&'a [u8]> {
        let line = &self.head.line;
        (line.authority_len > 0).then(|| part(self.bytes, line.authority_at, line.authority_len))
    }

    /// What stands before and behind the authority in the target that names one.
    pub(crate) fn around_authority(self) -> Option<(&'a str, &'a str)> {
        let (line, target) = (&self.head.line, self.target_text());
        let at = usize::from(line.authority_at)
            .checked_sub(usize::from(line.target_at))
            .filter(|_| line.authority_len > 0)?;
        Some((target.get(..at)?, target.get(at + usize::from(line.authority_len)..)?))
    }

    /// The target, taken apart when the head was parsed.
    pub fn target(self) -> Target<'a> {
        self.head.target.join(self.target_text())
    }

    /// Whom the request is for: the target's authority, or else Host's. `None` for 1.0 without
    /// Host, and for `OPTIONS *` with an empty one.
    pub fn authority(self) -> Option<Authority<'a>> {
        self.target().authority().or_else(|| self.host())
    }

    /// Whether the port of [`authority`](Self::authority) is written otherwise than we write it.
    pub(crate) fn has_odd_authority(self) -> bool {
        self.head.odd_authority
    }

    /// The protocol that the request asks for, if it [upgrades](RequestHead::upgrades).
    pub fn upgrade(self) -> Option<&'a [u8]> {
        if self.head.upgrades { self.value(Field::Upgrade) } else { None }
    }

    /// What Host says.
    pub fn host(self) -> Option<Authority<'a>> {
        self.value(Field::Host)
            .and_then(|host| std::str::from_utf8(host).ok())
            .and_then(Authority::parse)
    }

    /// What Max-Forwards says: digits and nothing else (RFC 9110 §7.6.2); more than there can be
    /// hops are all alike.
    pub fn max_forwards(self) -> Option<u64> {
        let digits = self.value(Field::MaxForwards)?;
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(digits.iter().fold(0_u64, |sum, digit| {
            sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        }))
    }

    /// The version.
    pub fn version(self) -> Version {
        self.head.line.version
    }

    /// Where the body ends.
    pub fn framing(self) -> BodyFraming {
        self.head.framing
    }

    /// The index behind this view.
    pub fn head(self) -> &'a RequestHead {
        self.head
    }

    /// The bytes of the head.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The field lines, with look-up.
    pub fn lines(self) -> Lines<'a> {
        Lines::new(&self.head.fields, self.bytes)
    }

    /// Every field line, in order.
    pub fn fields(self) -> impl Iterator<Item = HeaderLine<'a>> + Clone {
        self.lines().iter()
    }

    /// The first value of a known field.
    pub fn value(self, field: Field) -> Option<&'a [u8]> {
        self.lines().get(field)
    }

    /// Every value of a known field.
    pub fn values(self, field: Field) -> impl Iterator<Item = &'a [u8]> {
        self.lines().all(field)
    }
}
