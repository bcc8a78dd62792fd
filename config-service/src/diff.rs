//! What differs between two revisions, file by file.

use cluster_config::FileReference;
use similar::TextDiff;
use std::{collections::BTreeMap, time::Duration};

/// Larger files are compared by hash only.
pub const LARGEST: u64 = 1 << 20;

/// A search for the shortest difference ends after this; what is found then is right, but longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Path inside the bundle.
    pub path: String,
    /// In the one revision; `None`: it is not there.
    pub from: Option<FileReference>,
    /// In the other.
    pub to: Option<FileReference>,
}

/// Files that differ, sorted by path.
pub fn files(from: &[FileReference], to: &[FileReference]) -> Vec<Difference> {
    let mut pairs: BTreeMap<&str, (Option<&FileReference>, Option<&FileReference>)> = BTreeMap::new();
    for file in from {
        pairs.entry(&file.path).or_default().0 = Some(file);
    }
    for file in to {
        pairs.entry(&file.path).or_default().1 = Some(file);
    }
    let differs = pairs.into_iter().filter(|(_, (from, to))| from.map(|file| &file.sha256) != to.map(|file| &file.sha256));
    differs.map(|(path, (from, to))| Difference { path: path.to_owned(), from: from.cloned(), to: to.cloned() }).collect()
}

/// The unified diff of one file's two contents; empty when one of them is not text or too large. A side that is not there is empty.
pub fn unified(difference: &Difference, from: &[u8], to: &[u8]) -> String {
    if from.len() as u64 > LARGEST || to.len() as u64 > LARGEST {
        return String::new();
    }
    let (Ok(from), Ok(to)) = (std::str::from_utf8(from), std::str::from_utf8(to)) else { return String::new() };
    let name =
        |side: &str, file: &Option<FileReference>| file.as_ref().map_or("/dev/null".to_owned(), |file| format!("{side}/{}", file.path));
    TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(from, to)
        .unified_diff()
        .context_radius(3)
        .header(&name("a", &difference.from), &name("b", &difference.to))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, sha256: &str) -> FileReference {
        FileReference { path: path.into(), sha256: sha256.into(), size: 0 }
    }

    #[test]
    fn only_what_differs_is_listed() {
        let found = files(&[file("a", "1"), file("b", "1"), file("c", "1")], &[file("a", "1"), file("b", "2"), file("d", "1")]);
        assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
        assert!(found[1].to.is_none() && found[2].from.is_none());
    }

    #[test]
    fn text_is_compared_line_by_line() {
        let both = Difference { path: "x".into(), from: Some(file("x", "1")), to: Some(file("x", "2")) };
        assert_eq!(unified(&both, b"a\nb\n", b"a\nc\n"), "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        let new = Difference { from: None, ..both.clone() };
        assert!(unified(&new, b"", b"a\n").starts_with("--- /dev/null\n+++ b/x\n"));
        assert_eq!(unified(&both, b"\xff", b"a"), "");
        assert_eq!(unified(&both, &vec![b'a'; (LARGEST + 1) as usize], b"a"), "");
    }
}
