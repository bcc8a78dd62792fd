//! `docs/configuration.md` is the schema, read aloud: every key with what may be written, what is
//! there without it, and what it means.
//!
//! `UPDATE=1 cargo test --release -p cluster-config --test it reference::` writes the page anew.

use std::{collections::VecDeque, fmt::Write as _, fs, path::Path};

use serde_json::{Map, Value};

const INTRODUCTION: &str = "# Configuration\n\n\
    Every key of a bundle's `cluster.yaml`. Made of the schema by `UPDATE=1 cargo test --release \
    -p cluster-config --test it reference::`; do not \
    edit it. `shoal config schema` prints the same as a JSON Schema for editors, and `shoal config \
    validate DIR` judges a bundle with places and \
    remedies.\n\n\
    A key without a default is required where it says so, and else may be left out. Where one \
    value or a list is taken, both mean the same. `[]` \
    behind a name: each member of a list; `<name>`: each key of a map.\n";

/// A part of the page that is still to be written.
struct Section<'a> {
    path: String,
    schema: &'a Value,
}

/// Follows references, and what may be left out to what it is when it is there.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
        return resolved(&root["$defs"][name], root);
    }
    let there = |it: &&Value| it["type"] != "null";
    match schema["anyOf"]
        .as_array()
        .map(|all| all.iter().filter(there).collect::<Vec<_>>())
        .as_deref()
    {
        Some([one]) => resolved(one, root),
        _ => schema,
    }
}

fn words(values: &Value) -> String {
    let text = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_owned);
    values
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| format!("`{}`", text(it)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What may be written, in words.
fn form(schema: &Value, root: &Value) -> String {
    let schema = resolved(schema, root);
    if let Some(choices) = schema["oneOf"].as_array() {
        let choices: Vec<_> =
            choices.iter().map(|it| format!("`{}`", it["const"].as_str().unwrap_or("…"))).collect();
        return choices.join(", ");
    }
    if let Some(all) = schema["anyOf"].as_array() {
        let single = all
            .iter()
            .find(|it| it["type"] != "array")
            .map_or_else(String::new, |it| form(it, root));
        return format!("{single}; or a list");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        kinds => kinds
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|it| *it != "null")
            .collect(),
    };
    let kind = match kinds.first().copied().unwrap_or_default() {
        "array" => return format!("a list: {}", form(&schema["items"], root)),
        "boolean" => "`true`, `false`".to_owned(),
        "integer" => match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
            (Some(least), Some(most)) if least == most => least.to_string(),
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) if least > 0 => format!("a number from {least} on"),
            _ => "a number".to_owned(),
        },
        "number" => "a number".to_owned(),
        "object" if schema["properties"].is_object() => return "the keys below".to_owned(),
        "object" => return format!("a map to {}", form(&schema["additionalProperties"], root)),
        _ => named(schema["format"].as_str().unwrap_or_default()).to_owned(),
    };
    let shown = schema["examples"].as_array().filter(|_| schema["format"] != "shoal-name");
    shown.map_or_else(|| kind.clone(), |_| format!("{kind}: {}", words(&schema["examples"])))
}

fn named(format: &str) -> &'static str {
    match format {
        "shoal-duration" => "a duration",
        "shoal-size" => "a size",
        "shoal-name" => "a name",
        "shoal-network" => "an address or network",
        "shoal-domain" => "a host, or with a dot a domain",
        "shoal-regex" => "a regular expression",
        "shoal-glob" => "a glob",
        "shoal-secret" => "a secret's reference",
        "shoal-percent" => "percent",
        "shoal-bind" | "shoal-address" => "address and port",
        _ => "text",
    }
}

/// The object that a value is made of, and how it is reached from the key.
fn inside<'a>(schema: &'a Value, root: &'a Value) -> Option<(&'static str, &'a Value)> {
    let schema = resolved(schema, root);
    if schema["properties"].is_object() {
        return Some(("", schema));
    }
    let deeper = |how, inner| inside(inner, root).map(|(_, found)| (how, found));
    if schema["items"].is_object() {
        return deeper("[]", &schema["items"]);
    }
    if schema["additionalProperties"].is_object() {
        return deeper(".<name>", &schema["additionalProperties"]);
    }
    let members = schema["anyOf"].as_array()?;
    members.iter().find_map(|it| {
        if it["items"].is_object() { deeper("[]", &it["items"]) } else { deeper("", it) }
    })
}

fn meaning(key: &Value, root: &Value) -> String {
    let mut text = key["description"].as_str().unwrap_or_default().to_owned();
    for choice in resolved(key, root)["oneOf"].as_array().into_iter().flatten() {
        let (word, means) = (
            choice["const"].as_str().unwrap_or("…"),
            choice["description"].as_str().unwrap_or_default(),
        );
        let _infallible = write!(text, " `{word}`: {}", means.trim_end_matches('.'));
        text.push('.');
    }
    text.replace('\n', " ").replace('|', "\\|")
}

fn default(name: &str, key: &Value, required: &Value) -> String {
    if required.as_array().into_iter().flatten().any(|it| it == name) {
        return "required".to_owned();
    }
    match &key["default"] {
        Value::Null => String::new(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(all) if all.is_empty() => String::new(),
        other => format!("`{}`", other.to_string().replace('"', "")),
    }
}

fn rows(page: &mut String, properties: &Map<String, Value>, required: &Value, root: &Value) {
    page.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for (name, key) in properties {
        let (form, default, meaning) =
            (form(key, root), default(name, key, required), meaning(key, root));
        let _infallible =
            writeln!(page, "| `{name}` | {} | {default} | {meaning} |", form.replace('|', "\\|"));
    }
}

fn page() -> String {
    let root = cluster_config::schema::json_schema();
    let mut page = INTRODUCTION.to_owned();
    let mut sections = VecDeque::from([Section { path: String::new(), schema: &root }]);
    while let Some(Section { path, schema }) = sections.pop_front() {
        let Some(properties) = schema["properties"].as_object() else { continue };
        let heading = if path.is_empty() { "cluster.yaml" } else { &path };
        let _infallible = write!(
            page,
            "\n## `{heading}`\n\n{}\n",
            schema["description"].as_str().unwrap_or_default().replace('\n', " ")
        );
        rows(&mut page, properties, &schema["required"], &root);
        let below = properties.iter().filter_map(|(name, key)| {
            let dot = if path.is_empty() { "" } else { "." };
            let (how, schema) = inside(key, &root)?;
            Some(Section { path: format!("{path}{dot}{name}{how}"), schema })
        });
        // Depth first, in the order of the keys.
        below
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .for_each(|section| sections.push_front(section));
        assert!(page.len() < 1 << 20, "the schema holds itself at {path}");
    }
    page
}

#[test]
fn the_page_is_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(&path, page).expect("the page is written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "docs/configuration.md is not what the schema says: run this test once with UPDATE=1, and \
         commit it"
    );
}
