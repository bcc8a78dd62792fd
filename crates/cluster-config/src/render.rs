//! Rendering: what one node of one service gets.

use crate::bundle::Bundle;
use crate::compile::{self, Context, ListKind};
use crate::document::{BackupDocument, FileReference};
use crate::overrides;
use crate::problem::{Place, Problem, any_error, tidy};
use crate::variables::{Variables, substitute};
use crate::walk::walk;
use crate::yaml::{Kind, Node, Pair, Scalar, Value};
use cluster::Service;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What a node is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Canonical JSON: keys sorted, no spaces.
    pub document: Vec<u8>,
    /// SHA-256 of `document`, in hex.
    pub sha256: String,
    /// The files that the document refers to, by path.
    pub files: Vec<FileReference>,
}

/// The document of one node. `variables` are those of its hello, names without `node.`; `tags` is a
/// comma-separated list. A service that takes no section of the bundle gets an empty document.
pub fn render(
    bundle: &Bundle,
    service: Service,
    variables: &Variables,
) -> Result<Rendered, Vec<Problem>> {
    let compiled = compile(bundle, service, variables);
    match compiled.document {
        Some(document) if !any_error(&compiled.problems) => {
            let document = canonical(&document);
            let sha256 = hex::encode(Sha256::digest(&document));
            Ok(Rendered { document, sha256, files: compiled.files })
        }
        _ => Err(tidy(compiled.problems)),
    }
}

/// The section of `cluster.yaml` that a service takes.
pub const fn section_of(service: Service) -> Option<&'static str> {
    match service {
        Service::ProxyNode => Some("proxy"),
        Service::Balancer => Some("balancer"),
        Service::HealthChecker => Some("checks"),
        Service::BackupService => Some("backup"),
        Service::Registry | Service::ConfigService | Service::Console => None,
    }
}

/// One section compiled for one node.
pub(crate) struct Compiled {
    pub document: Option<serde_json::Value>,
    pub problems: Vec<Problem>,
    pub files: Vec<FileReference>,
    pub lists: BTreeSet<(String, ListKind)>,
}

pub(crate) fn compile(bundle: &Bundle, service: Service, variables: &Variables) -> Compiled {
    let mut compiled = Compiled {
        document: None,
        problems: Vec::new(),
        files: Vec::new(),
        lists: BTreeSet::new(),
    };
    let Some(section) = section_of(service) else {
        compiled.document = Some(serde_json::Value::Object(serde_json::Map::new()));
        return compiled;
    };
    let merged = overrides::apply(&bundle.tree, service, variables);
    if section == "backup" && merged.get(section).is_none_or(Node::is_null) {
        compiled.document = serde_json::to_value(BackupDocument::default()).ok();
        return compiled;
    }
    let mut written = merged
        .get(section)
        .filter(|node| !node.is_null())
        .cloned()
        .unwrap_or_else(|| empty(&merged, section));
    substitute(&mut written, variables, &mut compiled.problems);
    // A variable that is not defined would be reported again as a value of the wrong form.
    if any_error(&compiled.problems) {
        return compiled;
    }
    let (fitting, problems) = walk(&alone(section, written.clone()), &bundle.schema);
    compiled.problems.extend(problems);
    let Some(fitting) = fitting.as_ref().and_then(|root| root.get(section)) else {
        return compiled;
    };
    let mut context = Context::new(&written, fitting, &bundle.files, variables);
    let json =
        |document: Option<serde_json::Result<serde_json::Value>>| document.and_then(Result::ok);
    compiled.document = match service {
        Service::ProxyNode => json(compile::proxy::compile(&mut context).map(serde_json::to_value)),
        Service::Balancer => {
            json(compile::balancer::compile(&mut context).map(|document| document.to_json()))
        }
        Service::BackupService => {
            json(compile::backup::compile(&mut context).map(serde_json::to_value))
        }
        _ => json(compile::checks::compile(&mut context).map(serde_json::to_value)),
    };
    compiled.problems.append(&mut context.problems);
    compiled.files = context.used.into_values().collect();
    compiled.lists = context.lists;
    compiled
}

/// A root with one section and nothing else.
fn alone(section: &str, node: Node) -> Node {
    let place = node.place.clone();
    let version = Node {
        place: place.clone(),
        value: Value::Scalar(Scalar { text: "1".to_owned(), kind: Kind::Int(1) }),
    };
    let pair = |key: &str, node: Node| Pair { key: key.to_owned(), place: place.clone(), node };
    Node {
        place: place.clone(),
        value: Value::Map(vec![pair("version", version), pair(section, node)]),
    }
}

fn empty(root: &Node, section: &str) -> Node {
    let value = if section == "checks" { Value::List(Vec::new()) } else { Value::Map(Vec::new()) };
    Node { place: Place { line: 0, column: 0, ..root.place.clone() }, value }
}

/// Canonical JSON, independent of whether serde_json's maps are sorted in this build.
fn canonical(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_canonical(value, &mut bytes);
    bytes
}

fn write_canonical(value: &serde_json::Value, bytes: &mut Vec<u8>) {
    match value {
        serde_json::Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            bytes.push(b'{');
            for (index, (key, value)) in pairs.into_iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                bytes.extend_from_slice(
                    serde_json::Value::from(key.as_str()).to_string().as_bytes(),
                );
                bytes.push(b':');
                write_canonical(value, bytes);
            }
            bytes.push(b'}');
        }
        serde_json::Value::Array(items) => {
            bytes.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write_canonical(item, bytes);
            }
            bytes.push(b']');
        }
        scalar => bytes.extend_from_slice(scalar.to_string().as_bytes()),
    }
}
