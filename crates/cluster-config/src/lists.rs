//! List files: `lists/NAME.txt`, one entry a line, `#` begins a comment, blank lines are skipped.
//!
//! Lists of domains come in the formats that people publish, told apart line by line: plain names,
//! the lines of a [`hosts`] file, rules of [`adblock`] for whole domains, and the records of a
//! response policy [`zone`]. Each line names what its format means, no more and no less; a line
//! that cannot be said in a set of domains is a problem, never left out.
//!
//! Validation and the nodes read them with the same functions, so that what was accepted is what is
//! loaded. Lines are read lazily: a list may have millions.

mod adblock;
mod hosts;
mod zone;

use crate::document::DomainPattern;
use crate::terms;
use crate::units::Invalid;
use ipnet::IpNet;

/// What to say of a line that is in no format.
const FORMATS: &str = "write one domain a line, or the lines of a hosts file (0.0.0.0 name), of \
    adblock (||name^) or of a response policy zone (name CNAME .)";

/// A line that is not an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl BadLine {
    fn new(line: u32, invalid: Invalid) -> Self {
        Self { line, message: invalid.message, remedy: invalid.remedy }
    }
}

/// Entries of a list of domains, in any of the formats.
pub fn domains(content: &[u8]) -> Domains<'_> {
    Domains {
        lines: Lines::new(content),
        ready: Vec::new().into_iter(),
        zone: zone::Zone::default(),
    }
}

/// Entries of a list of addresses and networks, in the form of `src`.
pub fn networks(content: &[u8]) -> impl Iterator<Item = Result<IpNet, BadLine>> {
    Lines::new(content).filter_map(|(raw, line)| {
        let entry = match text(raw) {
            Ok(text) => uncommented(text).trim(),
            Err(invalid) => return Some(Err(BadLine::new(line, invalid))),
        };
        (!entry.is_empty())
            .then(|| terms::parse_network(entry).map_err(|invalid| BadLine::new(line, invalid)))
    })
}

/// The lines of a file and their numbers, without the mark that some editors put at its beginning.
struct Lines<'a> {
    rest: Option<&'a [u8]>,
    line: u32,
}

impl<'a> Lines<'a> {
    fn new(content: &'a [u8]) -> Self {
        Self { rest: Some(content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content)), line: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], u32);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        self.line = self.line.saturating_add(1);
        let line = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                self.rest = rest.get(end + 1..);
                rest.get(..end).unwrap_or_default()
            }
            None => {
                self.rest = None;
                rest
            }
        };
        Some((line, self.line))
    }
}

/// The domains of a list, see [`domains`].
pub struct Domains<'a> {
    lines: Lines<'a>,
    /// What the last line named beside what was answered already.
    ready: std::vec::IntoIter<DomainPattern>,
    zone: zone::Zone,
}

impl Iterator for Domains<'_> {
    type Item = Result<DomainPattern, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(domain) = self.ready.next() {
                return Some(Ok(domain));
            }
            let Some((raw, line)) = self.lines.next() else {
                let (line, invalid) = self.zone.end()?;
                return Some(Err(BadLine::new(line, invalid)));
            };
            // Nearly every line of nearly every list is one bare name.
            let bare = raw.trim_ascii();
            if !bare.is_empty()
                && bare.iter().all(|byte| is_of_a_name(*byte))
                && !self.zone.is_open()
            {
                let name = String::from_utf8_lossy(bare);
                return Some(
                    terms::parse_domain(&name).map_err(|invalid| BadLine::new(line, invalid)),
                );
            }
            match text(raw).and_then(|text| self.line(text, line)) {
                Ok(named) => self.ready = named.into_iter(),
                Err(invalid) => return Some(Err(BadLine::new(line, invalid))),
            }
        }
    }
}

impl Domains<'_> {
    /// What one line names.
    fn line(&mut self, text: &str, line: u32) -> Result<Vec<DomainPattern>, Invalid> {
        if self.zone.is_open() {
            self.zone.skip(text);
            return Ok(Vec::new());
        }
        let written = text.trim();
        if written.is_empty() || written.starts_with(['#', ';', '!']) {
            return Ok(Vec::new());
        }
        if adblock::is_rule(written) {
            return adblock::read(written);
        }
        let entry = uncommented(text);
        let mut words = entry.split_whitespace();
        match (words.next(), words.next()) {
            (None, _) => Ok(Vec::new()),
            (Some(word), None) if !word.starts_with('$') => {
                terms::parse_domain(word).map(|domain| vec![domain])
            }
            (Some(first), _) => match hosts::address(first) {
                Some(address) => hosts::read(address, entry),
                None => self.zone.read(entry, line),
            },
        }
    }
}

const fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn text(raw: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(raw).map_err(|_| Invalid::new("not UTF-8 text", "save the list as UTF-8"))
}

/// A line up to its comment: from a `#`, or from a `;` that begins a word.
fn uncommented(text: &str) -> &str {
    let text = text.split('#').next().unwrap_or_default();
    let comment = text.match_indices(';').map(|(at, _)| at).find(|at| {
        text.get(..*at).is_none_or(|before| before.is_empty() || before.ends_with([' ', '\t']))
    });
    comment.and_then(|at| text.get(..at)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
