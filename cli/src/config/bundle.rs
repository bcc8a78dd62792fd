//! A directory becomes a bundle; what is wrong with it becomes lines that editors understand.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use cluster_config::Place;
use proto::config::Severity;
use serde::Serialize;

use crate::output::{self, Format, View};

/// What makes a directory a bundle.
const MAIN: &str = "cluster.yaml";

/// Content by path inside the bundle.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Reads a bundle's directory: all files except hidden ones and editors' backups. Links are
/// followed as long as they stay inside: what is read here is uploaded, and nobody means to upload
/// what lies elsewhere.
///
/// # Errors
/// It is no bundle's directory, cannot be read, or holds what leads out of it.
pub fn read(directory: &Path) -> Result<Files> {
    if !directory.is_dir() {
        bail!(
            "{} is not a directory: give the directory that holds cluster.yaml",
            directory.display()
        );
    }
    // Before the rest, which may be large, is read in vain.
    if !directory.join(MAIN).is_file() {
        bail!("{} holds no {MAIN}: give the directory of a bundle", directory.display());
    }
    let root = real(directory)?;
    let mut files = Files::new();
    let (mut open, mut entered) = (vec![directory.to_owned()], BTreeSet::from([root.clone()]));
    while let Some(folder) = open.pop() {
        for path in visible(&folder)? {
            let meant = real(&path)?;
            if !meant.starts_with(&root) {
                bail!(
                    "{} leads out of the bundle, to {}: put the file itself there",
                    path.display(),
                    meant.display()
                );
            }
            if path.is_dir() {
                if !entered.insert(meant.clone()) {
                    bail!("{} is another way to {}: remove it", path.display(), meant.display());
                }
                open.push(path);
                continue;
            }
            if !path.is_file() {
                bail!("{} is neither a file nor a directory: remove it", path.display());
            }
            let bytes =
                std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let inside = path
                .strip_prefix(directory)?
                .to_str()
                .with_context(|| format!("the name of {} is not UTF-8", path.display()))?;
            files.insert(inside.to_owned(), bytes);
        }
    }
    Ok(files)
}

fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot read {}", path.display()))
}

fn visible(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !name.ends_with('~') {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// `shoal config validate`.
///
/// # Errors
/// The bundle cannot be read or has errors.
pub fn validate(directory: &Path, format: Format) -> Result<()> {
    let findings = Findings::of(&read(directory)?);
    output::show(&findings, format)?;
    findings.verdict()
}

/// Reads a bundle that is about to be used: its problems go to stderr.
///
/// # Errors
/// The bundle cannot be read or has errors.
pub fn checked(directory: &Path) -> Result<Files> {
    let files = read(directory)?;
    let findings = Findings::of(&files);
    findings.remark();
    findings.verdict()?;
    Ok(files)
}

/// What is wrong with a bundle.
#[derive(Debug, Serialize)]
pub struct Findings {
    pub valid: bool,
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `error` or `warning`.
    pub severity: &'static str,
    pub file: String,
    /// From 1; 0 when the problem has no line.
    pub line: u32,
    /// From 1; 0 when the problem has no column.
    pub column: u32,
    pub message: String,
    pub remedy: String,
}

impl Findings {
    fn of(files: &Files) -> Self {
        let (_, problems) = cluster_config::Bundle::from_files(files);
        Self::new(problems.into_iter().map(Problem::from).collect())
    }

    /// Errors make a bundle invalid, warnings do not.
    pub fn new(problems: Vec<Problem>) -> Self {
        Self { valid: !problems.iter().any(Problem::is_error), problems }
    }

    /// What the config-service found.
    pub fn from_wire(problems: Vec<proto::config::Problem>) -> Self {
        Self::new(problems.into_iter().map(Problem::from).collect())
    }

    /// Prints the problems on stderr.
    pub fn remark(&self) {
        for problem in &self.problems {
            output::remark(&problem.line());
        }
    }

    /// # Errors
    /// There are errors: their number.
    pub fn verdict(&self) -> Result<()> {
        let errors = self.problems.iter().filter(|problem| problem.is_error()).count();
        match errors {
            0 => Ok(()),
            1 => bail!("the bundle has 1 error and is not used: correct it and try again"),
            _ => {
                bail!("the bundle has {errors} errors and is not used: correct them and try again")
            }
        }
    }
}

impl View for Findings {
    fn text(&self) -> String {
        if self.problems.is_empty() {
            return "The bundle is valid.".to_owned();
        }
        let mut lines: Vec<_> = self.problems.iter().map(Problem::line).collect();
        if self.valid {
            lines.push("The bundle is valid, with warnings.".to_owned());
        }
        lines.join("\n")
    }
}

impl Problem {
    fn is_error(&self) -> bool {
        self.severity == "error"
    }

    /// `file:line:column: error: message`, and the remedy on a line of its own.
    #[must_use]
    pub fn line(&self) -> String {
        let mut place = self.file.clone();
        for number in [self.line, self.column].into_iter().take_while(|number| *number > 0) {
            place.push_str(&format!(":{number}"));
        }
        if !place.is_empty() {
            place.push_str(": ");
        }
        let remedy =
            if self.remedy.is_empty() { String::new() } else { format!("\n    {}", self.remedy) };
        format!("{place}{}: {}{remedy}", self.severity, self.message)
    }
}

impl From<proto::config::Problem> for Problem {
    fn from(problem: proto::config::Problem) -> Self {
        let severity = if problem.severity() == Severity::Warning { "warning" } else { "error" };
        let proto::config::Problem { file, line, column, message, remedy, .. } = problem;
        Self { severity, file, line, column, message, remedy }
    }
}

impl From<cluster_config::Problem> for Problem {
    fn from(problem: cluster_config::Problem) -> Self {
        let severity = if problem.is_error() { "error" } else { "warning" };
        let cluster_config::Problem {
            place: Place { file, line, column }, message, remedy, ..
        } = problem;
        Self { severity, file, line, column, message, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_editors_understand() {
        let problem = |file: &str, line, column, remedy: &str| Problem {
            severity: "error",
            file: file.into(),
            line,
            column,
            message: "no such key".into(),
            remedy: remedy.into(),
        };
        for (problem, text) in [
            (
                problem("cluster.yaml", 3, 5, "write `proxy`"),
                "cluster.yaml:3:5: error: no such key\n    write `proxy`",
            ),
            (problem("cluster.yaml", 3, 0, ""), "cluster.yaml:3: error: no such key"),
            (problem("lists/x.txt", 0, 0, ""), "lists/x.txt: error: no such key"),
            (problem("", 0, 0, ""), "error: no such key"),
        ] {
            assert_eq!(problem.line(), text);
        }
    }

    #[test]
    fn a_directory_is_read_without_what_editors_leave() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("lists")).unwrap();
        for name in ["cluster.yaml", "lists/blocked.txt", "cluster.yaml~", ".cluster.yaml.swp"] {
            std::fs::write(scratch.path().join(name), name).unwrap();
        }
        let files = read(scratch.path()).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["cluster.yaml", "lists/blocked.txt"]);
        assert!(
            read(&scratch.path().join("cluster.yaml"))
                .unwrap_err()
                .to_string()
                .contains("holds cluster.yaml")
        );
    }

    #[test]
    fn links_stay_inside_and_nothing_but_files_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        let place = |path: &str| scratch.path().join(path);
        let refused = || read(&place("bundle")).unwrap_err().to_string();
        std::fs::create_dir_all(place("bundle/..data/lists")).unwrap();
        assert!(refused().contains("holds no cluster.yaml"));
        std::fs::write(place("secret"), "x").unwrap();
        std::fs::write(place("bundle/..data/cluster.yaml"), "version: 1").unwrap();
        std::fs::write(place("bundle/..data/lists/a.txt"), "a.example").unwrap();
        let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, place(from)).unwrap();
        // As a ConfigMap is mounted.
        link("..data/cluster.yaml", "bundle/cluster.yaml");
        link("..data/lists", "bundle/lists");
        assert_eq!(
            read(&place("bundle")).unwrap().keys().collect::<Vec<_>>(),
            ["cluster.yaml", "lists/a.txt"]
        );
        for (to, said) in [
            ("../secret", "leads out of the bundle"),
            (".", "is another way to"),
            ("nowhere", "cannot read"),
        ] {
            link(to, "bundle/z");
            assert!(refused().contains(said), "{to}: {}", refused());
            std::fs::remove_file(place("bundle/z")).unwrap();
        }
        let socket = std::os::unix::net::UnixListener::bind(place("bundle/z")).unwrap();
        assert!(refused().contains("neither a file nor a directory"), "{}", refused());
        drop(socket);
    }
}
