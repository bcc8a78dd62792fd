//! A bundle: the files of one directory, checked as a whole. What is found here is found before any
//! node sees it.

mod files;

use files::{contents, file_names, unused};

use crate::document::FileReference;
use crate::overrides::SECTIONS;
use crate::problem::{Place, Problem, any_error, nearest, tidy};
use crate::render::{self, section_of};
use crate::schema;
use crate::variables::{Variables, substitute};
use crate::walk::walk;
use crate::yaml::{self, Node, Value};
use cluster::Service;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The file that describes the cluster.
pub const MAIN: &str = "cluster.yaml";

/// The services that take a section of the bundle.
pub const FOLLOWERS: [Service; 4] =
    [Service::ProxyNode, Service::Balancer, Service::HealthChecker, Service::BackupService];

/// A bundle that [`render::render`] can make documents of. Holds the tree and references to the
/// files, not their content.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub(crate) tree: Node,
    pub(crate) files: BTreeMap<String, FileReference>,
    pub(crate) schema: serde_json::Value,
}

impl Bundle {
    /// Checks the files of a bundle (path inside it to content). The bundle is there when no
    /// problem is an error; problems are sorted by place.
    pub fn from_files<B: AsRef<[u8]>>(files: &BTreeMap<String, B>) -> (Option<Self>, Vec<Problem>) {
        let mut problems = file_names(files.keys());
        let Some(main) = files.get(MAIN) else {
            let remedy = "give a directory with a cluster.yaml; `shoal config schema` describes it";
            problems.push(Problem::error(
                Place::file(MAIN),
                "there is no cluster.yaml in the bundle",
                remedy,
            ));
            return (None, tidy(problems));
        };
        let (tree, mut syntax) = yaml::parse(MAIN, main.as_ref());
        problems.append(&mut syntax);
        let Some(tree) = tree else {
            if problems.is_empty() {
                problems.push(Problem::error(
                    Place::file(MAIN),
                    "cluster.yaml is empty",
                    "write at least `version: 1`",
                ));
            }
            return (None, tidy(problems));
        };
        let references = files
            .iter()
            .map(|(path, content)| (path.clone(), reference(path, content.as_ref())))
            .collect();
        let bundle = Self { tree, files: references, schema: schema::json_schema() };
        problems.extend(bundle.check(files));
        let problems = tidy(problems);
        let good = !any_error(&problems);
        (good.then_some(bundle), problems)
    }

    /// A bundle that was checked when it was stored, from its main file and references to the
    /// others. `None`: it is not readable by this version.
    pub fn reopen(main: &[u8], files: impl IntoIterator<Item = FileReference>) -> Option<Self> {
        let tree = yaml::parse(MAIN, main).0?;
        let files = files.into_iter().map(|file| (file.path.clone(), file)).collect();
        Some(Self { tree, files, schema: schema::json_schema() })
    }

    /// Every file by its content.
    pub fn files(&self) -> impl Iterator<Item = &FileReference> {
        self.files.values()
    }

    fn check<B: AsRef<[u8]>>(&self, files: &BTreeMap<String, B>) -> Vec<Problem> {
        let mut problems = self.form();
        problems.extend(self.override_sections());
        let mut used = BTreeSet::new();
        let mut read = BTreeSet::new();
        for (service, variables) in self.samples() {
            let compiled = render::compile(self, service, &variables);
            problems.extend(compiled.problems);
            used.extend(compiled.files.into_iter().map(|file| file.path));
            read.extend(compiled.lists);
        }
        problems.extend(contents(files, &read));
        problems.extend(unused(files.keys(), &used));
        // What is wrong with a rule may be the name that it misses.
        if !any_error(&problems) {
            problems.extend(self.unused_acls());
        }
        problems
    }

    /// The form of everything that no service takes a section of. Sections that are taken are
    /// walked when they are compiled.
    fn form(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut tree = self.tree.clone();
        if let Value::Map(pairs) = &mut tree.value {
            pairs.retain(|pair| {
                !FOLLOWERS.iter().any(|service| section_of(*service) == Some(pair.key.as_str()))
            });
            let variables = BTreeMap::new();
            let known = |key: &str| {
                self.schema
                    .get("properties")
                    .is_some_and(|properties| properties.get(key).is_some())
            };
            for pair in pairs.iter_mut().filter(|pair| pair.key != "overrides" && known(&pair.key))
            {
                substitute(&mut pair.node, &variables, &mut problems);
            }
        }
        problems.extend(walk(&tree, &self.schema).1);
        problems
    }

    fn override_sections(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for over in self.overrides() {
            let service =
                over.get("match").and_then(|matches| matches.get("service")).and_then(Node::text);
            if over.get("match").is_some_and(|matches| matches.keys().is_empty()) {
                let place = over.place_of("match");
                problems.push(Problem::warning(
                    place,
                    "an override without a condition holds for every node",
                    "set it in the section itself",
                ));
            }
            for pair in over.get("set").map(Node::pairs).unwrap_or_default() {
                if !SECTIONS.contains(&pair.key.as_str()) {
                    let remedy = match nearest(&pair.key, SECTIONS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => match crate::walk::places::of(&self.schema, &pair.key, "") {
                            Some(place) => format!(
                                "it belongs into {place}; an override sets {}",
                                SECTIONS.join(", ")
                            ),
                            None => format!("an override sets {}", SECTIONS.join(", ")),
                        },
                    };
                    problems.push(Problem::error(
                        pair.place.clone(),
                        format!("`{}` cannot be set by an override", pair.key),
                        remedy,
                    ));
                } else if let Some(name) = service
                    && name
                        .parse::<Service>()
                        .is_ok_and(|service| section_of(service) != Some(pair.key.as_str()))
                {
                    let message =
                        format!("a {name} takes nothing from `{}`: this has no effect", pair.key);
                    problems.push(Problem::warning(
                        pair.place.clone(),
                        message,
                        "match the service whose section it is",
                    ));
                }
            }
        }
        problems
    }

    /// ACLs whose name stands nowhere, neither in a rule nor in one of an override.
    fn unused_acls(&self) -> Vec<Problem> {
        fn named<'n>(node: &'n Node, names: &mut BTreeSet<&'n str>) {
            match &node.value {
                Value::Scalar(scalar) => {
                    names.insert(scalar.text.trim_start_matches('!').trim());
                }
                Value::List(items) => items.iter().for_each(|item| named(item, names)),
                Value::Map(pairs) => pairs
                    .iter()
                    .filter(|pair| pair.key != "acls")
                    .for_each(|pair| named(&pair.node, names)),
            }
        }
        let mut names = BTreeSet::new();
        named(&self.tree, &mut names);
        let sections =
            self.overrides().iter().filter_map(|over| over.get("set")).chain([&self.tree]);
        let acls = sections
            .filter_map(|section| section.get("proxy")?.get("access")?.get("acls"))
            .flat_map(Node::pairs);
        acls.filter(|acl| !names.contains(acl.key.as_str()))
            .map(|acl| {
                Problem::warning(
                    acl.place.clone(),
                    format!("no rule uses the ACL `{}`", acl.key),
                    "use it in a rule, or remove it",
                )
            })
            .collect()
    }

    fn overrides(&self) -> &[Node] {
        self.tree.get("overrides").map(Node::items).unwrap_or_default()
    }

    /// One node of each service as it is without overrides, and one that each override holds for.
    fn samples(&self) -> Vec<(Service, Variables)> {
        let mut samples: Vec<(Service, Variables)> =
            FOLLOWERS.map(|service| (service, sample(service))).into();
        for over in self.overrides() {
            let Some(matches) = over.get("match") else { continue };
            let text = |key: &str| matches.get(key).and_then(Node::text).map(str::to_owned);
            for service in FOLLOWERS {
                let concerns = over
                    .get("set")
                    .and_then(|set| set.get(section_of(service).unwrap_or_default()))
                    .is_some();
                if !concerns || text("service").is_some_and(|wanted| wanted != service.as_str()) {
                    continue;
                }
                let mut variables = sample(service);
                for (key, variable) in [
                    ("name", "name"),
                    ("datacenter", "datacenter"),
                    ("zone", "zone"),
                    ("tag", "tags"),
                ] {
                    if let Some(value) = text(key) {
                        variables.insert(variable.to_owned(), value);
                    }
                }
                samples.push((service, variables));
            }
        }
        samples
    }
}

/// The variables that a node of a service has, with values that stand for any. The addresses are
/// for documentation (RFC 5737), so that none is taken for the same as one that a bundle names
/// itself.
pub fn sample(service: Service) -> Variables {
    let mut variables: Variables = [
        ("name", format!("{service}-1")),
        ("service", service.as_str().to_owned()),
        ("address", "192.0.2.1".to_owned()),
        ("datacenter", String::new()),
        ("zone", String::new()),
        ("tags", String::new()),
        ("listen.grpc", "192.0.2.1:7001".to_owned()),
        ("listen.admin", "192.0.2.1:7002".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let listeners: &[(&str, &str)] = match service {
        Service::ProxyNode => {
            &[("listen.proxy", "192.0.2.1:3128"), ("listen.relay", "192.0.2.1:3129")]
        }
        Service::Balancer => &[("listen.frontend", "192.0.2.1:8080")],
        _ => &[],
    };
    variables
        .extend(listeners.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

/// A file by its content.
pub fn reference(path: &str, content: &[u8]) -> FileReference {
    FileReference {
        path: path.to_owned(),
        sha256: hex::encode(Sha256::digest(content)),
        size: content.len() as u64,
    }
}
