//! The field lines of one head: where they are, which of the known names they carry, and what Connection says about them.

use crate::field::{Field, FieldSet};
use crate::head::MAX_FIELDS;
use crate::hygiene;
use crate::malformed::Malformed;

/// The bit of a slot's tag that says "nominated by Connection"; the others are the [`Field`]'s discriminant.
const NOMINATED: u8 = 0x80;
/// Honest peers send one or two options; each costs a walk over the fields.
const MAX_CONNECTION_OPTIONS: usize = 32;

/// One field line, in eight bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    name_at: u16,
    value_at: u16,
    value_len: u16,
    name_len: u8,
    tag: u8,
}

/// The index of a head's field lines.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    slots: [Slot; MAX_FIELDS],
    count: usize,
    present: FieldSet,
    /// Where the empty line begins: the last field line ends there.
    end: usize,
}

/// What Connection (and Proxy-Connection) ask for, beside nominations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
}

impl Fields {
    pub(crate) const fn new() -> Self {
        let empty = Slot { name_at: 0, value_at: 0, value_len: 0, name_len: 0, tag: 0 };
        Self { slots: [empty; MAX_FIELDS], count: 0, present: FieldSet::EMPTY, end: 0 }
    }

    pub(crate) fn present(&self) -> FieldSet {
        self.present
    }

    /// Indexes what the tokeniser found in `head`, a head of `head.len()` bytes that ends in an empty line.
    /// `None` where it was more lenient than we are: a line that ends in a bare LF, a name too long, too many fields.
    pub(crate) fn index(&mut self, head: &[u8], headers: &[httparse::Header<'_>], limit: usize) -> Option<()> {
        self.count = 0;
        self.present = FieldSet::EMPTY;
        if headers.len() > limit.min(MAX_FIELDS) || !head.ends_with(b"\r\n\r\n") {
            return None;
        }
        let base = head.as_ptr() as usize;
        for (slot, header) in self.slots.iter_mut().zip(headers) {
            let name_at = header.name.as_ptr() as usize - base;
            // The line before ends right here; the last one was seen to end in CRLF above.
            if head.get(name_at.wrapping_sub(2)..name_at) != Some(b"\r\n") {
                return None;
            }
            let field = Field::classify(header.name.as_bytes());
            self.present = self.present.with(field);
            *slot = Slot {
                name_at: u16::try_from(name_at).ok()?,
                value_at: u16::try_from(header.value.as_ptr() as usize - base).ok()?,
                value_len: u16::try_from(header.value.len()).ok()?,
                name_len: u8::try_from(header.name.len()).ok()?,
                tag: field as u8,
            };
        }
        self.count = headers.len();
        self.end = head.len() - 2;
        Some(())
    }

    /// Reads Connection and Proxy-Connection, and marks the lines that Connection nominates for removal (RFC 9110 §7.6.1).
    pub(crate) fn read_connection(&mut self, head: &[u8]) -> Result<Options, Malformed> {
        let mut asked = Options::default();
        if !self.present.intersects(FieldSet::of(&[Field::Connection, Field::ProxyConnection])) {
            return Ok(asked);
        }
        let mut seen = 0;
        for at in 0..self.count {
            let slot = self.slots[at];
            // A line that an earlier option nominates is read all the same.
            let tag = slot.tag & !NOMINATED;
            let nominates = tag == Field::Connection as u8;
            if !nominates && tag != Field::ProxyConnection as u8 {
                continue;
            }
            for option in list(slice(head, slot.value_at, usize::from(slot.value_len))) {
                seen += 1;
                if seen > MAX_CONNECTION_OPTIONS {
                    return Err(Malformed::TooManyConnectionOptions);
                }
                if option.eq_ignore_ascii_case(b"close") {
                    asked.close = true;
                } else if nominates && option.eq_ignore_ascii_case(b"keep-alive") {
                    asked.keep_alive = true;
                } else if nominates {
                    self.nominate(head, option);
                }
            }
        }
        Ok(asked)
    }

    fn nominate(&mut self, head: &[u8], name: &[u8]) {
        let field = Field::classify(name);
        if hygiene::NEVER_NOMINATED.contains(field) || (field != Field::Other && !self.present.contains(field)) {
            return;
        }
        for slot in &mut self.slots[..self.count] {
            if slot.tag & !NOMINATED == field as u8 && (field != Field::Other || slot.name(head).eq_ignore_ascii_case(name)) {
                slot.tag |= NOMINATED;
            }
        }
    }

    fn line<'a>(&self, head: &'a [u8], at: usize) -> HeaderLine<'a> {
        let slot = &self.slots[at];
        let next = if at + 1 < self.count { usize::from(self.slots[at + 1].name_at) } else { self.end };
        HeaderLine {
            field: Field::ALL[usize::from(slot.tag & !NOMINATED)],
            name: slot.name(head),
            value: slice(head, slot.value_at, usize::from(slot.value_len)),
            nominated: slot.tag & NOMINATED != 0,
            start: usize::from(slot.name_at),
            end: next,
        }
    }
}

impl Slot {
    fn name<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        slice(head, self.name_at, usize::from(self.name_len))
    }
}

/// A range of the head; empty if the caller joined an index with other bytes than its own.
fn slice(head: &[u8], at: u16, len: usize) -> &[u8] {
    let at = usize::from(at);
    head.get(at..at + len).unwrap_or_default()
}

/// The members of a comma-separated list, without white space and empty members (RFC 9110 §5.6.1). Not for values with quoted strings.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// One field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderLine<'a> {
    /// Which known field it is.
    pub field: Field,
    /// The name as received: a token, never empty.
    pub name: &'a [u8],
    /// The value without surrounding white space: visible ASCII, spaces, tabs, and bytes from 0x80 on.
    pub value: &'a [u8],
    /// Named in Connection, so not for the next hop.
    pub nominated: bool,
    /// Where the line begins in the head.
    pub(crate) start: usize,
    /// Where the next line begins.
    pub(crate) end: usize,
}

/// The field lines of a head, in their order.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    fields: &'a Fields,
    head: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(crate) fn new(fields: &'a Fields, head: &'a [u8]) -> Self {
        Self { fields, head }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.fields.count
    }

    /// Every line, as received.
    pub fn iter(self) -> impl Iterator<Item = HeaderLine<'a>> + Clone {
        (0..self.fields.count).map(move |at| self.fields.line(self.head, at))
    }

    /// Whether a known field is there.
    #[inline]
    pub fn has(self, field: Field) -> bool {
        self.fields.present.contains(field)
    }

    /// The known fields that are there.
    #[inline]
    pub fn present(self) -> FieldSet {
        self.fields.present
    }

    /// The first value of a known field.
    pub fn get(self, field: Field) -> Option<&'a [u8]> {
        if self.has(field) { self.all(field).next() } else { None }
    }

    /// Every value of a known field.
    pub fn all(self, field: Field) -> impl Iterator<Item = &'a [u8]> {
        let tag = field as u8;
        let slots = if self.has(field) { &self.fields.slots[..self.fields.count] } else { &[] };
        let head = self.head;
        slots
            .iter()
            .filter(move |slot| slot.tag & !NOMINATED == tag)
            .map(move |slot| slice(head, slot.value_at, usize::from(slot.value_len)))
    }

    /// Every value of the field with this name, known or not, whatever its case.
    pub fn named(self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |line| line.name.eq_ignore_ascii_case(name.as_bytes())).map(|line| line.value)
    }

    /// The bytes of the head.
    pub(crate) fn head(self) -> &'a [u8] {
        self.head
    }
}
