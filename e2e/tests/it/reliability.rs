//! `docs/reliability.md` cannot go stale silently: what tests print, what is promised and what is
//! on the page are the same.

use std::{collections::BTreeSet, path::Path};

use e2e::promises::PROMISES;

/// Names that the sources of this suite print counts by: the long snake-case words in quotes, and
/// the tests that a macro makes.
fn printed() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"))
        .expect("the tests")
    {
        let path = entry.expect("an entry").path();
        if !path.is_file() || path.ends_with("reliability.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("a source file");
        let words = source
            .split('"')
            .chain(source.split("node_fault!(").skip(1).filter_map(|rest| rest.split(',').next()));
        let is_name = |word: &&str| {
            word.matches('_').count() >= 3
                && word.chars().all(|letter| {
                    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
                })
        };
        names.extend(words.filter(is_name).map(str::to_owned));
    }
    names
}

#[test]
fn whatever_is_printed_has_a_promise_and_whatever_is_promised_is_tried() {
    let promised: BTreeSet<_> = PROMISES.iter().map(|promise| promise.name.to_owned()).collect();
    assert_eq!(promised.len(), PROMISES.len(), "a name stands twice in e2e/src/promises.rs");
    let printed = printed();
    let missing: Vec<_> = printed.difference(&promised).collect();
    assert!(missing.is_empty(), "printed without a row in e2e/src/promises.rs: {missing:?}");
    let untried: Vec<_> = promised.difference(&printed).collect();
    assert!(
        untried.is_empty(),
        "promised in e2e/src/promises.rs and printed by no test: {untried:?}"
    );
}

#[test]
fn the_page_has_a_row_for_every_promise() {
    let page = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md"),
    )
    .expect("docs/reliability.md");
    // Rows with counts have eight cells.
    let rows = page
        .lines()
        .filter(|line| line.ends_with("` |") && line.matches(" | ").count() == 7)
        .count();
    for promise in PROMISES {
        let row = format!("| {} | {} | ", promise.fault, promise.promise);
        let found = page
            .lines()
            .any(|line| line.starts_with(&row) && line.ends_with(&format!("`{}` |", promise.name)));
        assert!(
            found,
            "{} is not on the page as promised: make it anew as it says at its beginning",
            promise.name
        );
    }
    assert_eq!(rows, PROMISES.len(), "the page has rows that nobody promises");
}
