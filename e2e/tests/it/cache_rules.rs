//! Where each rule of the RFCs is in the cache, and what tests it: the table in `docs/cache.md`.
//!
//! The sections come from the sources: what the comments of a function cite it has to do with.
//! [`tested`] says which tests there are for it; every function of the cache that cites a section
//! has some, and each name there is one in the sources. `UPDATE=1 ./test e2e cache_rules` writes
//! the table anew.

mod tested;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const BEGIN: &str = "<!-- rules: generated -->\n";
const END: &str = "<!-- rules: end -->\n";
const SOURCES: &str = "proxy-node/src";
const CASES: &str = "e2e/tests/it/conformance/cases";

/// A section, as it is cited, with a key by which sections are in order.
type Section = (u32, Vec<u32>);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of a directory with this ending, in order.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|it| it == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<&str> {
    let words = line.trim_start().split("fn ").collect::<Vec<_>>();
    let [before, rest, ..] = words.as_slice() else { return None };
    let qualifiers = ["pub", "const", "async", ""];
    let is_qualifier = |word: &str| qualifiers.contains(&word) || word.starts_with("pub(");
    let named = before.split(' ').all(|word| is_qualifier(word) || word == "crate::fetch)");
    let end = rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_')?;
    (named && end > 0).then(|| &rest[..end])
}

/// The sections that a text cites: `RFC 9111 §4.1, §4.3.3`.
fn sections(text: &str) -> BTreeSet<Section> {
    let mut found = BTreeSet::new();
    for cited in text.split("RFC ").skip(1) {
        let digits = cited.find(|it: char| !it.is_ascii_digit()).unwrap_or(cited.len());
        let Ok(rfc) = cited[..digits].parse::<u32>() else { continue };
        let mut rest = &cited[digits..];
        while let Some(section) = rest.trim_start_matches([',', ' ']).strip_prefix('§') {
            let end =
                section.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(section.len());
            let numbers = section[..end].trim_end_matches('.').split('.');
            found.insert((rfc, numbers.filter_map(|it| it.parse().ok()).collect()));
            rest = &section[end..];
        }
    }
    found
}

/// What the functions of a file cite, in their comments before and within.
fn cited(text: &str) -> BTreeMap<String, BTreeSet<Section>> {
    let (mut comments, mut before) = (BTreeMap::<String, String>::new(), String::new());
    let mut inside: Option<String> = None;
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for line in code.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            before.push_str(comment);
        } else if let Some(name) = function(line) {
            let all = comments.entry(name.to_owned()).or_default();
            all.push_str(&std::mem::take(&mut before));
            inside = Some(name.to_owned());
        } else if line.starts_with("//!") || line.starts_with("#[") {
        } else {
            if !std::mem::take(&mut before).is_empty() && !line.ends_with(',') {
                // Something else than a function or a field was described.
                inside = None;
            }
            if let (Some(name), Some((_, comment))) = (&inside, line.split_once("// ")) {
                let all = comments.entry(name.clone()).or_default();
                all.push(' ');
                all.push_str(comment);
            }
        }
    }
    let cited = comments.into_iter().map(|(name, text)| (name, sections(&text)));
    cited.filter(|(_, sections)| !sections.is_empty()).collect()
}

/// The functions of the cache that cite something, by file and name; of what fetches for it, those
/// that have tests named for them.
fn rules() -> BTreeMap<(String, String), BTreeSet<Section>> {
    let sources = root().join(SOURCES);
    let mut all = BTreeMap::new();
    for directory in ["cache", "fetch"] {
        let mut here = files(&sources.join(directory), "rs");
        here.push(sources.join(format!("{directory}.rs")));
        for path in here {
            let name = path.strip_prefix(&sources).expect("below").display().to_string();
            if ["tests", "properties"].iter().any(|it| name.contains(it)) {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a file");
            for (function, sections) in cited(&text) {
                if directory == "cache" || !tested::of(&name, &function).is_empty() {
                    all.insert((name.clone(), function), sections);
                }
            }
        }
    }
    all
}

/// The names of all tests of the node.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for directory in ["proxy-node/src", "proxy-node/tests"] {
        for path in files(&root().join(directory), "rs") {
            let text = fs::read_to_string(&path).expect("a file");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some(name) = function(line) {
                    if is_test {
                        found.insert(name.to_owned());
                    }
                    is_test = false;
                }
            }
        }
    }
    found
}

/// How many cases there are of each section in the conformance suite.
fn cases() -> BTreeMap<Section, usize> {
    let mut found = BTreeMap::new();
    for path in files(&root().join(CASES), "txt") {
        let text = fs::read_to_string(&path).expect("a file");
        let mut here = BTreeSet::new();
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("# ") {
                here = sections(heading);
            } else if line.starts_with("case ") {
                for section in &here {
                    *found.entry(section.clone()).or_default() += 1;
                }
            }
        }
    }
    found
}

fn shown((rfc, numbers): &Section) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("RFC {rfc} §{}", numbers.join("."))
}

fn table() -> String {
    let (rules, cases) = (rules(), cases());
    let mut by_section: BTreeMap<&Section, Vec<&(String, String)>> = BTreeMap::new();
    for (rule, sections) in &rules {
        for section in sections {
            by_section.entry(section).or_default().push(rule);
        }
    }
    let mut out = String::from("| section | function | tests | cases |\n|---|---|---|---|\n");
    for (section, functions) in by_section {
        let (mut names, mut tests) = (Vec::new(), Vec::new());
        for (file, function) in functions {
            names
                .push(format!("`{}::{function}`", file.trim_end_matches(".rs").replace('/', "::")));
            for test in tested::of(file, function) {
                let test = format!("`{test}`");
                if !tests.contains(&test) {
                    tests.push(test);
                }
            }
        }
        let count = cases.get(section).map_or(String::new(), ToString::to_string);
        let (names, tests) = (names.join(", "), tests.join(", "));
        writeln!(out, "| {} | {names} | {tests} | {count} |", shown(section)).expect("a string");
    }
    out
}

#[test]
fn every_rule_has_its_tests_and_every_name_is_there() {
    let (rules, tests) = (rules(), tests());
    assert!(rules.len() > 40 && tests.len() > 300, "{} {}", rules.len(), tests.len());
    let untested: Vec<_> =
        rules.keys().filter(|(file, name)| tested::of(file, name).is_empty()).collect();
    assert!(untested.is_empty(), "name their tests in cache_rules/tested.rs: {untested:#?}");
    for (file, function, its) in tested::ALL {
        let rule = ((*file).to_owned(), (*function).to_owned());
        assert!(rules.contains_key(&rule), "{file} has no {function} that cites a section");
        for test in *its {
            assert!(tests.contains(*test), "there is no test {test}, said of {file} {function}");
        }
    }
}

#[test]
fn the_table_is_that_of_the_sources() {
    let page = root().join("docs/cache.md");
    let text = fs::read_to_string(&page).expect("docs/cache.md");
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (written, after) = rest.split_once(END).expect("where the table ends");
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{before}{BEGIN}{}{END}{after}", table());
        return fs::write(&page, text).expect("docs/cache.md is written");
    }
    assert!(written == table(), "docs/cache.md has another table: run this with UPDATE=1");
}

#[test]
fn what_is_cited_is_read() {
    let text = "/// Nothing (RFC 9111 §4.1,\n/// §4.3.3).\npub(super) async fn one(\n\
                // RFC 9110 §9.3.3.\n\
                /// Of a type, RFC 1 §1.\nstruct X;\n// RFC 2 §2.\nfn two() {}\n\
                #[cfg(test)]\n/// RFC 3 §3\nfn three() {}";
    let found = cited(text);
    let one: Vec<String> = found["one"].iter().map(shown).collect();
    assert_eq!(one, ["RFC 9110 §9.3.3", "RFC 9111 §4.1", "RFC 9111 §4.3.3"]);
    assert_eq!(found.len(), 1, "{found:?}");
}
