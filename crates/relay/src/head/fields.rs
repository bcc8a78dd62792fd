//! The field lines of one head: where they are, which of the known names they carry, and what
//! Connection says about them.

use crate::field::{Field, FieldSet};
use crate::head::{INLINE_FIELDS, MAX_FIELDS};
use crate::hygiene;
use crate::malformed::Malformed;

/// The bit of a slot's tag that says "nominated by Connection"; the others are the [`Field`]'s
/// discriminant.
const NOMINATED: u8 = 0x80;
/// Honest peers send one or two options; each costs a walk over the fields.
const MAX_CONNECTION_OPTIONS: usize = 32;

/// One field line, in twelve bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    name_at: u32,
    value_len: u32,
    /// From the name's first byte to the value's.
    value_off: u16,
    name_len: u8,
    tag: u8,
}

/// The index of a head's field lines.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    /// Of nearly every head all.
    inline: [Slot; INLINE_FIELDS],
    /// All slots of a head that has more; else empty.
    spilled: Vec<Slot>,
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
    pub(crate) upgrade: bool,
}

impl Fields {
    pub(crate) const fn new() -> Self {
        let empty = Slot { name_at: 0, value_len: 0, value_off: 0, name_len: 0, tag: 0 };
        Self {
            inline: [empty; INLINE_FIELDS],
            spilled: Vec::new(),
            count: 0,
            present: FieldSet::EMPTY,
            end: 0,
        }
    }

    #[inline]
    fn slots(&self) -> &[Slot] {
        if self.spilled.is_empty() {
            &self.inline[..self.count]
        } else {
            &self.spilled[..self.count]
        }
    }

    fn slots_mut(&mut self) -> &mut [Slot] {
        if self.spilled.is_empty() {
            &mut self.inline[..self.count]
        } else {
            &mut self.spilled[..self.count]
        }
    }

    /// Room for so many slots, where they belong. A head with more than usual is rare: its room is
    /// not kept.
    fn make_room(&mut self, count: usize) -> &mut [Slot] {
        if self.spilled.capacity() > 0 {
            self.spilled = Vec::new();
        }
        if count > INLINE_FIELDS {
            self.spilled.resize(count, Slot::default());
            return &mut self.spilled;
        }
        &mut self.inline[..count]
    }

    pub(crate) fn present(&self) -> FieldSet {
        self.present
    }

    /// Indexes what the tokeniser found in `head`, a head of `head.len()` bytes that ends in an
    /// empty line. `None` where it was more lenient than we are: a line that ends in a bare LF, a
    /// name too long, too many fields.
    pub(crate) fn index(
        &mut self,
        head: &[u8],
        headers: &[httparse::Header<'_>],
        limit: usize,
    ) -> Option<()> {
        self.count = 0;
        self.present = FieldSet::EMPTY;
        if headers.len() > limit.min(MAX_FIELDS) || !head.ends_with(b"\r\n\r\n") {
            return None;
        }
        let base = head.as_ptr() as usize;
        let mut present = FieldSet::EMPTY;
        for (slot, header) in self.make_room(headers.len()).iter_mut().zip(headers) {
            let name_at = header.name.as_ptr() as usize - base;
            // The line before ends right here; the last one was seen to end in CRLF above.
            if head.get(name_at.wrapping_sub(2)..name_at) != Some(b"\r\n") {
                return None;
            }
            let field = Field::classify(header.name.as_bytes());
            present = present.with(field);
            *slot = Slot {
                name_at: u32::try_from(name_at).ok()?,
                value_off: u16::try_from(header.value.as_ptr() as usize - base - name_at).ok()?,
                value_len: u32::try_from(header.value.len()).ok()?,
                name_len: u8::try_from(header.name.len()).ok()?,
                tag: field as u8,
            };
        }
        self.present = present;
        self.count = headers.len();
        self.end = head.len() - 2;
        Some(())
    }

    /// Reads Connection and Proxy-Connection, and marks the lines that Connection nominates for
    /// removal (RFC 9110 §7.6.1).
    pub(crate) fn read_connection(&mut self, head: &[u8]) -> Result<Options, Malformed> {
        let mut asked = Options::default();
        if !self.present.intersects(FieldSet::of(&[Field::Connection, Field::ProxyConnection])) {
            return Ok(asked);
        }
        let mut seen = 0;
        for at in 0..self.count {
            let slot = self.slots()[at];
            // A line that an earlier option nominates is read all the same.
            let tag = slot.tag & !NOMINATED;
            let nominates = tag == Field::Connection as u8;
            if !nominates && tag != Field::ProxyConnection as u8 {
                continue;
            }
            for option in list(slot.value(head)) {
                seen += 1;
                if seen > MAX_CONNECTION_OPTIONS {
                    return Err(Malformed::TooManyConnectionOptions);
                }
                if option.eq_ignore_ascii_case(b"close") {
                    asked.close = true;
                } else if nominates && option.eq_ignore_ascii_case(b"keep-alive") {
                    asked.keep_alive = true;
                } else if nominates {
                    asked.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    self.nominate(head, option);
                }
            }
        }
        Ok(asked)
    }

    fn nominate(&mut self, head: &[u8], name: &[u8]) {
        let field = Field::classify(name);
        if hygiene::NEVER_NOMINATED.contains(field)
            || (field != Field::Other && !self.present.contains(field))
        {
            return;
        }
        for slot in self.slots_mut() {
            if slot.tag & !NOMINATED == field as u8
                && (field != Field::Other || slot.name(head).eq_ignore_ascii_case(name))
            {
                slot.tag |= NOMINATED;
            }
        }
    }

    #[inline]
    fn line<'a>(&self, head: &'a [u8], at: usize) -> HeaderLine<'a> {
        let slots = self.slots();
        let slot = &slots[at];
        let next = slots.get(at + 1).map_or(self.end, |next| next.name_at as usize);
        HeaderLine {
            field: Field::ALL[usize::from(slot.tag & !NOMINATED)],
            name: slot.name(head),
            value: slot.value(head),
            nominated: slot.tag & NOMINATED != 0,
            start: slot.name_at as usize,
            end: next,
        }
    }
}

impl Slot {
    #[inline]
    fn name<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        slice(head, self.name_at as usize, usize::from(self.name_len))
    }

    #[inline]
    fn value<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        slice(head, self.name_at as usize + usize::from(self.value_off), self.value_len as usize)
    }
}

/// A range of the head; empty if the caller joined an index with other bytes than its own.
fn slice(head: &[u8], at: usize, len: usize) -> &[u8] {
    head.get(at..at + len).unwrap_or_default()
}

/// The members of a comma-separated list, without white space and empty members (RFC 9110 §5.6.1).
/// Not for values with quoted strings.
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
    /// The value without surrounding white space: visible ASCII, spaces, tabs, and bytes from 0x80
    /// on.
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
        let slots = if self.has(field) { self.fields.slots() } else { &[] };
        let head = self.head;
        slots
            .iter()
            .filter(move |slot| slot.tag & !NOMINATED == tag)
            .map(move |slot| slot.value(head))
    }

    /// Every value of the field with this name, known or not, whatever its case.
    pub fn named(self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|line| line.value)
    }

    /// The bytes of the head.
    pub(crate) fn head(self) -> &'a [u8] {
        self.head
    }
}
