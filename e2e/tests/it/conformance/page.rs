//! The scores in docs/cache.md.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{
    Score,
    case::{Case, Kind},
};

const BEGIN: &str = "<!-- scores: generated -->\n";
const END: &str = "<!-- scores: end -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> PathBuf {
    root().join("docs/cache.md")
}

/// The scores as a table.
fn table(cases: &[Case], scores: &[Score]) -> String {
    let mut out = String::from("| section | cases |");
    for score in scores {
        let _ = write!(out, " {} |", score.name);
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(scores.len()));
    out.push('\n');
    let mut sections: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        sections.entry(case.section).or_default().push(index);
    }
    let mut row = |title: &str, among: &[usize]| {
        let _ = write!(out, "| {title} | {} |", among.len());
        for score in scores {
            let passed = among.iter().filter(|index| score.results[**index].is_ok()).count();
            let _ = write!(out, " {passed} |");
        }
        out.push('\n');
    };
    for (section, among) in &sections {
        row(section, among);
    }
    for (title, kind) in [("**required**", Kind::Required), ("**optional**", Kind::Optional)] {
        let among: Vec<usize> =
            (0..cases.len()).filter(|index| cases[*index].kind == kind).collect();
        row(title, &among);
    }
    out
}

/// Writes the scores, where that is wanted; or sees that the page has those of the node.
pub fn check(cases: &[Case], scores: &[Score]) {
    let text = std::fs::read_to_string(page()).expect("docs/cache.md");
    let (before, rest) = text.split_once(BEGIN).expect("where the scores begin");
    let (written, after) = rest.split_once(END).expect("where the scores end");
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{before}{BEGIN}{}{END}{after}", table(cases, scores));
        return std::fs::write(page(), text).expect("docs/cache.md is written");
    }
    // Others have other versions elsewhere.
    let ours = |table: &str| -> Vec<String> {
        let rows = table.lines().skip(2);
        rows.map(|row| row.split('|').take(4).collect::<Vec<_>>().join("|")).collect()
    };
    assert_eq!(
        ours(written),
        ours(&table(cases, scores)),
        "docs/cache.md has other scores: run this with UPDATE=1"
    );
}
