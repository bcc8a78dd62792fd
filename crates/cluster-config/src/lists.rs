//! List files: `lists/NAME.txt`, one entry a line, `#` begins a comment, blank lines are skipped.
//!
//! Validation and the nodes read them with the same functions, so that what was accepted is what is loaded. Lines are read lazily: a list may
//! have millions.

use crate::document::DomainPattern;
use crate::terms;
use ipnet::IpNet;

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

/// Entries of a list of domains, in the form of `dstdomain`.
pub fn domains(content: &[u8]) -> impl Iterator<Item = Result<DomainPattern, BadLine>> {
    entries(content, terms::parse_domain)
}

/// Entries of a list of addresses and networks, in the form of `src`.
pub fn networks(content: &[u8]) -> impl Iterator<Item = Result<IpNet, BadLine>> {
    entries(content, terms::parse_network)
}

fn entries<T>(content: &[u8], parse: fn(&str) -> Result<T, crate::units::Invalid>) -> impl Iterator<Item = Result<T, BadLine>> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    content.split(|byte| *byte == b'\n').zip(1u32..).filter_map(move |(raw, line)| {
        let Ok(text) = std::str::from_utf8(raw) else {
            return Some(Err(BadLine { line, message: "not UTF-8 text".into(), remedy: "save the list as UTF-8".into() }));
        };
        let entry = text.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            return None;
        }
        Some(parse(entry).map_err(|invalid| BadLine { line, message: invalid.message, remedy: invalid.remedy }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_skipped_and_bad_lines_numbered() {
        let content = b"\xef\xbb\xbf# heading\n.Example.COM # the whole domain\n\n  host.example.org\r\nbad domain\n\xff\n";
        let found: Vec<_> = domains(content).collect();
        assert_eq!(found[0].as_ref().unwrap().to_string(), ".example.com");
        assert_eq!(found[1].as_ref().unwrap().to_string(), "host.example.org");
        assert_eq!(found[2].as_ref().unwrap_err().line, 5);
        assert_eq!(found[3].as_ref().unwrap_err().line, 6);
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn networks_are_read() {
        let found: Vec<_> = networks(b"10.0.0.0/8\n192.168.1.7\n10.0.0.1/33\n").collect();
        assert_eq!(found[1].as_ref().unwrap().to_string(), "192.168.1.7/32");
        assert_eq!(found[2].as_ref().unwrap_err().line, 3);
    }
}
