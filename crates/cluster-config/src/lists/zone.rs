//! The records of a response policy zone: `name CNAME .` says that a name does not exist, `*.name
//! CNAME .` that nothing below it does.
//!
//! What a zone does beside that (exceptions, other addresses, triggers by address) is not the
//! naming of domains, and a problem.

use super::{FORMATS, terms};
use crate::document::DomainPattern;
use crate::units::Invalid;
use std::net::IpAddr;

/// Targets that take the name away: it does not exist, it has no records, the question is not
/// answered.
const TAKEN_AWAY: [&str; 3] = [".", "*.", "rpz-drop."];
const CLASSES: [&str; 3] = ["IN", "CH", "HS"];
const TYPES: [&str; 5] = ["SOA", "NS", "CNAME", "A", "AAAA"];
/// The last label of triggers that are not names.
const OTHER_TRIGGERS: [&str; 4] = ["rpz-ip", "rpz-client-ip", "rpz-nsip", "rpz-nsdname"];

/// What the lines before have said of the zone.
#[derive(Debug, Default)]
pub struct Zone {
    /// The zone's own name; names in it are relative to it.
    apex: Option<String>,
    /// What relative names stand before, in the zone: empty, or labels with a dot at the end.
    below: String,
    /// The owner of the record before.
    owner: String,
    /// The line with a bracket that is still open.
    open: Option<u32>,
}

impl Zone {
    /// Whether the record before goes on.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Passes over a line of a record that began before: only an SOA has several.
    pub fn skip(&mut self, line: &str) {
        if line.split(';').next().is_some_and(|line| line.contains(')')) {
            self.open = None;
        }
    }

    /// What is wrong at the end of the file.
    pub fn end(&mut self) -> Option<(u32, Invalid)> {
        let line = self.open.take()?;
        Some((line, Invalid::new("a bracket is opened here and never closed", "close it with `)`")))
    }

    /// What a record of several words names.
    pub fn read(&mut self, entry: &str, line: u32) -> Result<Vec<DomainPattern>, Invalid> {
        let entry = entry.split(';').next().unwrap_or_default();
        let words: Vec<&str> = entry.split_whitespace().collect();
        if let Some(directive) = words.first().filter(|word| word.starts_with('$')) {
            return self.directive(directive, words.get(1).copied()).map(|()| Vec::new());
        }
        let inherits = entry.starts_with([' ', '\t']);
        let (owner, rest) = if inherits {
            (self.owner.clone(), words.as_slice())
        } else {
            (
                words.first().copied().unwrap_or_default().to_owned(),
                words.get(1..).unwrap_or_default(),
            )
        };
        let Some((kind, data)) = record(rest) else {
            return Err(Invalid::new(
                format!("`{}` is not an entry of a list of domains", entry.trim()),
                FORMATS,
            ));
        };
        self.owner.clone_from(&owner);
        match kind.as_str() {
            "SOA" => {
                self.begin(&owner);
                let unclosed = data.iter().any(|word| word.contains('('))
                    && !data.iter().any(|word| word.contains(')'));
                self.open = unclosed.then_some(line);
                Ok(Vec::new())
            }
            "NS" => Ok(Vec::new()),
            "CNAME" => self.alias(&owner, data),
            _ => self.address(&owner, data),
        }
    }

    /// The zone's name is known where it is written out.
    fn begin(&mut self, owner: &str) {
        if let Some(apex) = owner.strip_suffix('.') {
            self.apex = Some(apex.to_ascii_lowercase());
            self.below.clear();
        }
    }

    fn directive(&mut self, directive: &str, value: Option<&str>) -> Result<(), Invalid> {
        match (directive.to_ascii_uppercase().as_str(), value) {
            ("$TTL", Some(_)) => Ok(()),
            ("$ORIGIN", Some(origin)) => self.origin(&origin.to_ascii_lowercase()),
            _ => Err(Invalid::new(
                format!("`{directive}` cannot be read"),
                "write the records themselves; $TTL and $ORIGIN are known",
            )),
        }
    }

    fn origin(&mut self, origin: &str) -> Result<(), Invalid> {
        let Some(absolute) = origin.strip_suffix('.') else {
            self.below = format!("{origin}.{}", self.below);
            return Ok(());
        };
        let Some(apex) = &self.apex else {
            self.apex = Some(absolute.to_owned());
            return Ok(());
        };
        self.below = match below(absolute, apex) {
            Some("") => String::new(),
            Some(labels) => format!("{labels}."),
            None => {
                return Err(Invalid::new(
                    format!("`{origin}` is not in the zone {apex}"),
                    "keep one zone in a list",
                ));
            }
        };
        Ok(())
    }

    fn alias(&self, owner: &str, data: &[&str]) -> Result<Vec<DomainPattern>, Invalid> {
        let target = data.first().map(|target| target.to_ascii_lowercase()).unwrap_or_default();
        if data.len() == 1 && TAKEN_AWAY.contains(&target.as_str()) {
            return self.named(owner);
        }
        if target == "rpz-passthru." {
            let remedy = "put what is to be spared into a list of its own, and a rule that allows \
                it before the one that denies";
            return Err(Invalid::new(
                format!("`{owner}` is an exception, and a list has none"),
                remedy,
            ));
        }
        Err(Invalid::new(
            format!("`{owner}` is led elsewhere, not taken away"),
            "write `CNAME .` to name it, or remove the record",
        ))
    }

    fn address(&self, owner: &str, data: &[&str]) -> Result<Vec<DomainPattern>, Invalid> {
        let address = data.first().and_then(|address| address.parse::<IpAddr>().ok());
        match address {
            Some(address)
                if data.len() == 1 && (address.is_unspecified() || address.is_loopback()) =>
            {
                self.named(owner)
            }
            _ => Err(Invalid::new(
                format!("`{owner}` is led elsewhere, not taken away"),
                "write `CNAME .` to name it, or remove the record",
            )),
        }
    }

    fn named(&self, owner: &str) -> Result<Vec<DomainPattern>, Invalid> {
        let name = self.relative(owner)?;
        if name.rsplit('.').next().is_some_and(|last| OTHER_TRIGGERS.contains(&last)) {
            return Err(Invalid::new(
                format!("`{owner}` names no domain but addresses or servers"),
                "remove the record; networks have lists of their own",
            ));
        }
        let (name, only_below) =
            name.strip_prefix("*.").map_or((name.as_str(), false), |name| (name, true));
        if name.is_empty() || name == "@" || name == "*" {
            return Err(Invalid::new(
                format!("`{owner}` would name every domain"),
                "remove the record, or deny `all` by a rule",
            ));
        }
        let domain = terms::parse_domain(name)?;
        Ok(vec![DomainPattern { subdomains: only_below, only_below, ..domain }])
    }

    /// An owner without the zone's own name.
    fn relative(&self, owner: &str) -> Result<String, Invalid> {
        let owner = owner.to_ascii_lowercase();
        let Some(absolute) = owner.strip_suffix('.') else {
            return Ok(format!("{owner}.{}", self.below).trim_end_matches('.').to_owned());
        };
        let within = self.apex.as_deref().and_then(|apex| below(absolute, apex));
        within.map(str::to_owned).ok_or_else(|| {
            let remedy = "write it without the dot at its end, relative to the zone, or give the \
                zone's name by $ORIGIN";
            Invalid::new(format!("`{owner}` is not below the zone's own name"), remedy)
        })
    }
}

/// What of a name lies below a zone.
fn below<'n>(name: &'n str, apex: &str) -> Option<&'n str> {
    if apex.is_empty() || name == apex {
        return Some(if apex.is_empty() { name } else { "" });
    }
    name.strip_suffix(apex)?.strip_suffix('.')
}

/// Type and data of a record, behind its time to live and class in either order.
fn record<'w>(words: &'w [&'w str]) -> Option<(String, &'w [&'w str])> {
    let passed =
        |word: &str| CLASSES.contains(&word.to_ascii_uppercase().as_str()) || is_time(word);
    let at = words.iter().take(3).position(|word| !passed(word))?;
    let kind = words.get(at)?.to_ascii_uppercase();
    TYPES.contains(&kind.as_str()).then(|| (kind, words.get(at + 1..).unwrap_or_default()))
}

/// `3600`, `1h30m`.
fn is_time(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.bytes().all(|b| b.is_ascii_digit() || b"smhdwSMHDW".contains(&b))
}
