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
    let mut pairs: BTreeMap<&str, (Option<&FileReference>, Option<&FileReference>)> =
        BTreeMap::new();
    for file in from {
        pairs.entry(&file.path).or_default().0 = Some(file);
    }
    for file in to {
        pairs.entry(&file.path).or_default().1 = Some(file);
    }
    let differs = pairs
        .into_iter()
        .filter(|(_, (from, to))| from.map(|file| &file.sha256) != to.map(|file| &file.sha256));
    differs
        .map(|(path, (from, to))| Difference {
            path: path.to_owned(),
            from: from.cloned(),
            to: to.cloned(),
        })
        .collect()
}

/// Where a bundle keeps lists.
const LISTS: &str = "lists/";
/// Of lists in which more entries differ, not every line is shown.
const SHORT: usize = 20;
/// So many of them are.
const EXAMPLES: usize = 5;

/// What differs between two states of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListDifference {
    /// Entries of the later state that the earlier one has not.
    pub added: usize,
    /// Entries of the earlier state that the later one has not.
    pub removed: usize,
    /// Entries of the later state.
    pub entries: usize,
    /// A few of those added.
    pub added_examples: Vec<String>,
    /// A few of those removed.
    pub removed_examples: Vec<String>,
}

/// What differs in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// See [`unified`]; empty also for a list in which much differs.
    pub unified: String,
    pub list: Option<ListDifference>,
}

/// Whether a file of a bundle is a list.
pub fn is_list(path: &str) -> bool {
    path.starts_with(LISTS)
}

/// What differs between the two contents of a file: lists as numbers and examples, for they may
/// have millions of lines.
pub fn content(difference: &Difference, from: &[u8], to: &[u8]) -> Content {
    if !is_list(&difference.path) {
        return Content { unified: unified(difference, from, to), list: None };
    }
    let list = lists(from, to);
    let short = list.added + list.removed <= SHORT;
    Content {
        unified: if short { unified(difference, from, to) } else { String::new() },
        list: Some(list),
    }
}

/// Compares two lists entry by entry. Order, comments and blank lines do not count.
fn lists(from: &[u8], to: &[u8]) -> ListDifference {
    let (from, to) = (sorted_entries(from), sorted_entries(to));
    let mut found = ListDifference { entries: to.len(), ..ListDifference::default() };
    let (mut old, mut new) = (from.iter().peekable(), to.iter().peekable());
    let example = |examples: &mut Vec<String>, entry: &[u8]| {
        if examples.len() < EXAMPLES {
            examples.push(String::from_utf8_lossy(entry).chars().take(256).collect());
        }
    };
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(old), Some(new)) => old.cmp(new),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
        };
        if order.is_le()
            && let Some(entry) = old.next()
            && order.is_lt()
        {
            found.removed += 1;
            example(&mut found.removed_examples, entry);
        }
        if order.is_ge()
            && let Some(entry) = new.next()
            && order.is_gt()
        {
            found.added += 1;
            example(&mut found.added_examples, entry);
        }
    }
}

fn sorted_entries(content: &[u8]) -> Vec<&[u8]> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let entry = |line| -> &[u8] {
        <[u8]>::split(line, |byte| *byte == b'#').next().unwrap_or_default().trim_ascii()
    };
    let mut entries: Vec<&[u8]> =
        content.split(|byte| *byte == b'\n').map(entry).filter(|entry| !entry.is_empty()).collect();
    entries.sort_unstable();
    entries.dedup();
    entries
}

/// The unified diff of one file's two contents; empty when one of them is not text or too large. A
/// side that is not there is empty.
pub fn unified(difference: &Difference, from: &[u8], to: &[u8]) -> String {
    if from.len() as u64 > LARGEST || to.len() as u64 > LARGEST {
        return String::new();
    }
    let (Ok(from), Ok(to)) = (std::str::from_utf8(from), std::str::from_utf8(to)) else {
        return String::new();
    };
    let name = |side: &str, file: &Option<FileReference>| {
        file.as_ref().map_or("/dev/null".to_owned(), |file| format!("{side}/{}", file.path))
    };
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
        let found = files(
            &[file("a", "1"), file("b", "1"), file("c", "1")],
            &[file("a", "1"), file("b", "2"), file("d", "1")],
        );
        assert_eq!(
            found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["b", "c", "d"]
        );
        assert!(found[1].to.is_none() && found[2].from.is_none());
    }

    #[test]
    fn lists_are_compared_by_what_they_hold() {
        let list = Difference {
            path: "lists/a.txt".into(),
            from: Some(file("lists/a.txt", "1")),
            to: Some(file("lists/a.txt", "2")),
        };
        let lines = |numbers: std::ops::Range<usize>| {
            numbers.map(|number| format!("{number:07}.test\n")).collect::<String>()
        };
        let found = content(
            &list,
            lines(0..300_000).as_bytes(),
            format!("# heading\n\n{}", lines(100..300_050)).as_bytes(),
        );
        assert_eq!(found.unified, "", "not a line for each");
        let counted = found.list.unwrap();
        assert_eq!((counted.added, counted.removed, counted.entries), (50, 100, 299_950));
        assert_eq!(counted.added_examples[0], "0300000.test");
        assert_eq!(
            (counted.added_examples.len(), counted.removed_examples.len()),
            (EXAMPLES, EXAMPLES)
        );
        let found = content(&list, b"b.test # why\na.test\r\n", b"a.test\nb.test\nc.test\n");
        assert_eq!(
            (found.list.as_ref().unwrap().added, found.list.as_ref().unwrap().removed),
            (1, 0)
        );
        assert!(found.unified.contains("+c.test"), "few lines are shown: {}", found.unified);
        let whole =
            content(&Difference { from: None, ..list.clone() }, b"", lines(0..30).as_bytes());
        assert_eq!((whole.unified.as_str(), whole.list.unwrap().added), ("", 30));
        let other = Difference { path: "cluster.yaml".into(), ..list };
        assert!(content(&other, b"a\n", b"b\n").list.is_none());
    }

    #[test]
    fn text_is_compared_line_by_line() {
        let both =
            Difference { path: "x".into(), from: Some(file("x", "1")), to: Some(file("x", "2")) };
        assert_eq!(
            unified(&both, b"a\nb\n", b"a\nc\n"),
            "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
        let new = Difference { from: None, ..both.clone() };
        assert!(unified(&new, b"", b"a\n").starts_with("--- /dev/null\n+++ b/x\n"));
        assert_eq!(unified(&both, b"\xff", b"a"), "");
        assert_eq!(unified(&both, &vec![b'a'; (LARGEST + 1) as usize], b"a"), "");
    }
}
