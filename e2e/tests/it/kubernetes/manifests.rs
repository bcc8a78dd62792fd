//! The manifests as Kubernetes gets them: built with kubectl, checked and parsed with a little
//! Python.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::process::Command;

/// A directory's documents.
pub struct Manifests {
    /// In the order of the build.
    pub documents: Vec<Value>,
    /// What the typed objects refuse.
    pub problems: Vec<String>,
    /// Kinds that Kubernetes itself does not have.
    pub untyped: Vec<String>,
}

/// Labels of a pod, or those that a selector asks for.
pub type Labels = BTreeMap<String, String>;

/// What a workload makes pods from.
pub struct Template<'a> {
    /// `Deployment proxy-node`
    pub owner: String,
    /// Its component, by the recommended label.
    pub component: &'a str,
    /// Labels of its pods.
    pub labels: Labels,
    /// What the pods are.
    pub spec: &'a Value,
}

/// Where the manifests are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/k8s")
}

/// Builds a directory of `deploy/k8s`.
pub async fn build(place: &str) -> Manifests {
    build_at(&directory().join(place)).await
}

/// Builds any directory.
pub async fn build_at(place: &Path) -> Manifests {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(place)
        .env("HOME", "/nonexistent")
        .output()
        .await;
    let output = output.expect("kubectl, of Debian's package kubernetes-client");
    assert!(
        output.status.success(),
        "kubectl kustomize {}: {}",
        place.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let scratch = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(scratch.path(), &output.stdout).expect("the built manifests");
    check(scratch.path()).await
}

/// Checks and parses a file of documents.
pub async fn check(file: &Path) -> Manifests {
    let python = testkit::lab::binary()
        .parent()
        .and_then(Path::parent)
        .expect("a target directory")
        .join("e2e-python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run the test command of README.md, which sets it up",
        python.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/kubernetes.py");
    let output = Command::new(python).arg(script).arg(file).output().await.expect("run Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut parsed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let strings = |value: &Value| list(value).iter().map(|entry| text(entry).to_owned()).collect();
    let (problems, untyped) = (strings(&parsed["problems"]), strings(&parsed["untyped"]));
    let Value::Array(documents) = parsed["documents"].take() else { panic!("no documents") };
    Manifests { documents, problems, untyped }
}

impl Manifests {
    /// Documents of one kind.
    pub fn kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// Whether there is a document of this kind and name.
    pub fn has(&self, kind: &str, name: &str) -> bool {
        self.kind(kind).any(|document| document["metadata"]["name"] == name)
    }

    /// Everything that becomes a pod.
    pub fn templates(&self) -> Vec<Template<'_>> {
        let place = |document: &Value| match document["kind"].as_str() {
            Some("Deployment" | "StatefulSet" | "Job") => Some("/spec/template"),
            Some("CronJob") => Some("/spec/jobTemplate/spec/template"),
            Some("Pod") => Some(""),
            _ => None,
        };
        let template = |document| {
            let found: &Value =
                Value::pointer(document, place(document)?).expect("a template of pods");
            let labels = labels(&found["metadata"]["labels"]);
            let component = text(&found["metadata"]["labels"]["app.kubernetes.io/component"]);
            Some(Template { owner: name(document), component, labels, spec: &found["spec"] })
        };
        self.documents.iter().filter_map(template).collect()
    }

    /// What makes the pods of a component.
    pub fn template(&self, component: &str) -> Template<'_> {
        let found = self.templates().into_iter().find(|template| template.component == component);
        found.unwrap_or_else(|| panic!("no pods of {component}"))
    }
}

impl<'a> Template<'a> {
    /// Its containers, the initial ones too.
    pub fn containers(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.spec["initContainers"]).iter().chain(list(&self.spec["containers"]))
    }

    /// Its ports by name.
    pub fn ports(&self) -> BTreeMap<String, u64> {
        let ports = self.containers().flat_map(|container| list(&container["ports"]));
        ports
            .map(|port| {
                (text(&port["name"]).to_owned(), port["containerPort"].as_u64().expect("a port"))
            })
            .collect()
    }
}

/// `Deployment proxy-node`
pub fn name(document: &Value) -> String {
    format!("{} {}", text(&document["kind"]), text(&document["metadata"]["name"]))
}

/// A list, empty when there is none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text that has to be there.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// A map of texts, empty when there is none.
pub fn labels(value: &Value) -> Labels {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), text(value).to_owned()))
        .collect()
}

/// Whether a selector (`matchLabels`, or a bare map of labels) chooses these labels. An empty one
/// chooses everything.
pub fn selects(selector: &Value, of: &Labels) -> bool {
    assert!(selector.get("matchExpressions").is_none(), "this test reads no matchExpressions");
    let asked = labels(selector.get("matchLabels").unwrap_or(selector));
    asked.iter().all(|(key, value)| of.get(key) == Some(value))
}
