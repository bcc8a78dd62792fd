//! What is wrong with a bundle, where, and what to do about it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Accepted, but probably not what was meant.
    Warning,
    /// Refused.
    Error,
}

/// Why a node refused a configuration, where that decides what has to be done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The message says it: the bundle does not fit the node, for instance.
    #[default]
    Told,
    /// The node cannot write to its disk; the bundle is right.
    Disk,
    /// The node's process did not survive it.
    Crashed,
}

impl Cause {
    fn is_told(&self) -> bool {
        *self == Self::Told
    }
}

/// A place in a file of the bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Path inside the bundle.
    pub file: String,
    /// From 1; 0: the whole file.
    pub line: u32,
    /// From 1, in characters; 0: the whole line.
    pub column: u32,
}

impl Place {
    /// The whole of a file.
    pub fn file(path: impl Into<String>) -> Self {
        Self { file: path.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub remedy: String,
    /// Why a node refused it.
    #[serde(default, skip_serializing_if = "Cause::is_told")]
    pub cause: Cause,
}

impl Problem {
    /// Something that makes the bundle unacceptable.
    pub fn error(place: Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(place, Severity::Error, message.into(), remedy.into())
    }

    /// Something that is accepted and probably not meant.
    pub fn warning(place: Place, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(place, Severity::Warning, message.into(), remedy.into())
    }

    fn new(place: Place, severity: Severity, message: String, remedy: String) -> Self {
        Self { place, severity, message, remedy, cause: Cause::Told }
    }

    /// Why a node refused it.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    /// Place, message and remedy as the end of a sentence that says already how bad it is.
    pub fn reason(&self) -> String {
        let place =
            if self.place.file.is_empty() { String::new() } else { format!("{}: ", self.place) };
        let remedy =
            if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{place}{}{remedy}", self.message)
    }

    /// Whether it makes the bundle unacceptable.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// `cluster.yaml:3:5: error: …; remedy`; without the place where it has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_error() { "error" } else { "warning" };
        if !self.place.file.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{severity}: {}", self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Sorts by place and drops what is said twice.
pub fn tidy(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

/// Whether any of them is an error.
pub fn any_error(problems: &[Problem]) -> bool {
    problems.iter().any(Problem::is_error)
}

/// The one of `known` that `word` was probably meant to be: [`misspelt`], or the two begin alike
/// for the most part.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    let known: Vec<(Vec<char>, &str)> = known.into_iter().map(|name| (fold(name), name)).collect();
    let alike = || {
        let common =
            |letters: &[char]| folded.iter().zip(letters).take_while(|(a, b)| a == b).count();
        let alike = known
            .iter()
            .map(|(letters, name)| (common(letters), letters.len(), *name))
            .filter(|(common, length, _)| {
                let (shorter, longer) = (folded.len().min(*length), folded.len().max(*length));
                *common >= 4 && common * 4 >= shorter * 3 && common * 2 >= longer
            });
        alike.max_by_key(|(common, ..)| *common).map(|(.., name)| name)
    };
    misspelt(word, known.iter().map(|(_, name)| *name)).or_else(alike)
}

/// The one of `known` that differs from `word` in at most a third of its letters.
pub fn misspelt<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let folded = fold(word);
    known
        .into_iter()
        .map(|name| (distance(&folded, &fold(name)), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

fn fold(word: &str) -> Vec<char> {
    word.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Edit distance in which swapping two neighbours counts one (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best =
                (rows[i][j] + usize::from(x != y)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_place_where_it_has_one() {
        let place = Place { file: "cluster.yaml".to_owned(), line: 3, column: 5 };
        assert_eq!(
            Problem::error(place, "no", "do").to_string(),
            "cluster.yaml:3:5: error: no; do"
        );
        assert_eq!(
            Problem::warning(Place::file("lists/a.txt"), "no", "").to_string(),
            "lists/a.txt: warning: no"
        );
        let nowhere = Problem::error(Place::default(), "no", "do");
        assert_eq!(nowhere.to_string(), "error: no; do");
        assert_eq!(nowhere.reason(), "no; do");
        assert_eq!(Problem::error(Place::file("a"), "no", "").reason(), "a: no");
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["connect", "read", "tunnel_idle", "round_robin"];
        assert_eq!(nearest("conect", known), Some("connect"));
        assert_eq!(nearest("tunnel-idle", known), Some("tunnel_idle"));
        assert_eq!(nearest("roundrobin", known), Some("round_robin"));
        assert_eq!(nearest("raed", known), Some("read"));
        assert_eq!(nearest("tunnels", known), Some("tunnel_idle"));
        assert_eq!(nearest("whatever", known), None);
        assert_eq!(nearest("", known), None);
    }
}
