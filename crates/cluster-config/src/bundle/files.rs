//! The files of a bundle by themselves: how they are called, what is in them, whether they are
//! used.

use super::MAIN;
use crate::authorities;
use crate::compile::ListKind;
use crate::lists::{self, BadLine};
use crate::pages;
use crate::problem::{Place, Problem, nearest};
use std::collections::{BTreeMap, BTreeSet};

/// Of one list this many bad lines are shown; a wrong file has millions.
const MOST_BAD_LINES: usize = 20;

pub(super) fn file_names<'a>(paths: impl Iterator<Item = &'a String>) -> Vec<Problem> {
    let good = |path: &str| {
        path.len() <= 255
            && path.split('/').all(|part| {
                !part.is_empty()
                    && !part.starts_with('.')
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            })
    };
    let remedy =
        "use letters, digits, `.`, `_` and `-` in file names, none of which begins with a dot";
    paths
        .filter(|path| !good(path))
        .map(|path| {
            Problem::error(
                Place::file(path),
                format!("`{path}` cannot be a path in a bundle"),
                remedy,
            )
        })
        .collect()
}

pub(super) fn contents<B: AsRef<[u8]>>(
    files: &BTreeMap<String, B>,
    read: &BTreeSet<(String, ListKind)>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, kind) in read {
        let Some(content) = files.get(path) else { continue };
        match kind {
            ListKind::Domains => bad_lines(
                path,
                lists::domains(content.as_ref()).filter_map(Result::err),
                &mut problems,
            ),
            ListKind::Networks => bad_lines(
                path,
                lists::networks(content.as_ref()).filter_map(Result::err),
                &mut problems,
            ),
            ListKind::Authorities => {
                if let Err(unreadable) = authorities::read(content.as_ref()) {
                    let remedy = "put the certificates of authorities there, in PEM: blocks that \
                        begin with -----BEGIN CERTIFICATE-----";
                    problems.push(Problem::error(
                        Place::file(path),
                        unreadable.to_string(),
                        remedy,
                    ));
                }
            }
        }
    }
    for (path, content) in files.iter().filter(|(path, _)| path.starts_with("pages/")) {
        page(path, content.as_ref(), &mut problems);
    }
    problems
}

fn bad_lines(path: &str, bad: impl Iterator<Item = BadLine>, problems: &mut Vec<Problem>) {
    let mut bad = bad;
    let place = |line: &BadLine| Place { file: path.to_owned(), line: line.line, column: 0 };
    for line in bad.by_ref().take(MOST_BAD_LINES) {
        problems.push(Problem::error(place(&line), line.message, line.remedy));
    }
    if let Some(next) = bad.next() {
        let more = bad.count();
        let message = if more == 0 {
            next.message.clone()
        } else {
            format!("{}; and {more} more lines are wrong", next.message)
        };
        problems.push(Problem::error(
            place(&next),
            message,
            format!("is this the right file? {}", next.remedy),
        ));
    }
}

fn page(path: &str, content: &[u8], problems: &mut Vec<Problem>) {
    let Ok(text) = std::str::from_utf8(content) else {
        problems.push(Problem::error(
            Place::file(path),
            "not UTF-8 text",
            "save the page as UTF-8",
        ));
        return;
    };
    let names: Vec<&str> = pages::PLACEHOLDERS.iter().map(|(name, _)| *name).collect();
    for (offset, name) in pages::unknown_placeholders(text) {
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = Place {
            file: path.to_owned(),
            line: u32::try_from(line).unwrap_or(0),
            column: u32::try_from(column).unwrap_or(0),
        };
        let remedy = match nearest(&name, names.iter().copied()) {
            Some(near) => format!("did you mean `{{{{{near}}}}}`?"),
            None => format!("known: {}", names.join(", ")),
        };
        problems.push(Problem::error(
            place,
            format!("unknown placeholder `{{{{{name}}}}}`"),
            remedy,
        ));
    }
}

pub(super) fn unused<'a>(
    paths: impl Iterator<Item = &'a String>,
    used: &BTreeSet<String>,
) -> Vec<Problem> {
    let unused = paths.filter(|path| *path != MAIN && !used.contains(*path));
    unused
        .map(|path| {
            Problem::warning(
                Place::file(path),
                "nothing in cluster.yaml refers to this file",
                "remove it, or refer to it",
            )
        })
        .collect()
}
