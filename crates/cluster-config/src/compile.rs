//! The meaning of a bundle: a section whose form is right becomes the document of one node, or
//! problems with their places.

pub mod access;
pub mod backup;
pub mod balancer;
pub mod checks;
pub mod heads;
mod log;
pub mod proxy;
pub mod shadow;

use crate::document::{FileReference, balancer::Bind};
use crate::problem::{Place, Problem, nearest};
use crate::variables::Variables;
use crate::yaml::Node;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// What a list file is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListKind {
    /// [`crate::lists::domains`]
    Domains,
    /// [`crate::lists::networks`]
    Networks,
    /// [`crate::authorities::read`]
    Authorities,
}

/// What compiling one section works with.
pub struct Context<'a> {
    /// The section as written, for names that something wrong was said of already.
    pub written: &'a Node,
    /// The part of the section whose form is right; paths refer to it.
    pub fitting: &'a Node,
    /// Every file of the bundle.
    pub files: &'a BTreeMap<String, FileReference>,
    /// Values of `${node.*}`.
    pub variables: &'a Variables,
    /// What has been found wrong.
    pub problems: Vec<Problem>,
    /// Files that the document refers to.
    pub used: BTreeMap<String, FileReference>,
    /// How the list files among them are read.
    pub lists: BTreeSet<(String, ListKind)>,
}

impl<'a> Context<'a> {
    /// Nothing found yet.
    pub fn new(
        written: &'a Node,
        fitting: &'a Node,
        files: &'a BTreeMap<String, FileReference>,
        variables: &'a Variables,
    ) -> Self {
        Self {
            written,
            fitting,
            files,
            variables,
            problems: Vec::new(),
            used: BTreeMap::new(),
            lists: BTreeSet::new(),
        }
    }

    /// The section in its schema's type.
    pub fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        match serde_json::from_value(self.fitting.to_json()) {
            Ok(section) => Some(section),
            Err(error) => {
                self.problems.push(Problem::error(
                    self.fitting.place.clone(),
                    format!("this section cannot be read: {error}"),
                    "",
                ));
                None
            }
        }
    }

    fn place(&self, path: &str) -> Place {
        self.fitting.place_of(path)
    }

    fn error(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let place = self.place(path);
        self.problems.push(Problem::error(place, message, remedy));
    }

    fn warning(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let place = self.place(path);
        self.problems.push(Problem::warning(place, message, remedy));
    }

    /// A reference to a file of a folder, by its name without ending.
    fn file(
        &mut self,
        path: &str,
        folder: &str,
        name: &str,
        ending: &str,
    ) -> Option<FileReference> {
        let file = format!("{folder}/{name}.{ending}");
        if let Some(reference) = self.files.get(&file) {
            self.used.insert(file, reference.clone());
            return Some(reference.clone());
        }
        let prefix = format!("{folder}/");
        let known: Vec<&str> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix)?.strip_suffix(&format!(".{ending}")))
            .collect();
        let remedy = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("add the file {file}"),
            None => format!("add the file {file}, or use one of: {}", known.join(", ")),
        };
        self.error(path, format!("there is no file {file}"), remedy);
        None
    }

    /// Reports names that occur twice; `path_of` gives the path of the n-th.
    fn unique<'n>(
        &mut self,
        what: &str,
        names: impl Iterator<Item = &'n str>,
        path_of: impl Fn(usize) -> String,
    ) {
        let mut seen = BTreeMap::new();
        for (index, name) in names.enumerate() {
            match seen.get(name) {
                Some(first) => {
                    let line = self.place(&path_of(*first)).line;
                    self.error(
                        &path_of(index),
                        format!("{what} `{name}` is there twice; first in line {line}"),
                        "give each its own name",
                    );
                }
                None => {
                    seen.insert(name, index);
                }
            }
        }
    }
}

/// The path of a bind in the section, what it means, and its text.
type Bound = (String, Bind, String);

/// Reports what two listeners of one process would bind.
fn distinct_addresses(context: &mut Context, what: &str, binds: &[Bound]) {
    for (index, (path, bind, text)) in binds.iter().enumerate() {
        let before = binds[..index].iter();
        if let Some((first, ..)) = before.into_iter().find(|it| it.1 == *bind && bind.is_fixed()) {
            let line = context.place(first).line;
            let message =
                format!("two {what} bind {}; the first in line {line}", written(context, text));
            let remedy = match bind {
                Bind::Ip(_) => "give each a port of its own",
                Bind::Unix(_) => "give each a file of its own",
            };
            context.error(path, message, remedy);
        }
    }
}

/// As in the bundle: a variable by its name, since its value here stands for any.
fn written(context: &Context, text: &str) -> String {
    let variable = context
        .variables
        .iter()
        .find(|(name, value)| name.starts_with("listen.") && value.as_str() == text);
    variable.map_or_else(|| text.to_owned(), |(name, _)| format!("${{node.{name}}}"))
}

/// What to say of a name that is not known.
fn unknown<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "define it first".to_owned(),
        None => format!("define it, or use one of: {}", known.join(", ")),
    }
}
