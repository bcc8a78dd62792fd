//! What a problem says: what was expected, and which key may have been meant.

use serde_json::Value as Json;

use crate::{
    schema::notation,
    yaml::{Kind, Node, Value},
};

/// What a type is called, and how the value is written as one.
pub(super) fn expectation(
    expected: &str,
    node: &Node,
    schema: &Json,
    root: &Json,
) -> (&'static str, String) {
    let scalar = if let Value::Scalar(scalar) = &node.value { Some(scalar) } else { None };
    let text = scalar.map(|scalar| scalar.text.as_str()).unwrap_or_default();
    match expected {
        "object" => {
            let keys: Vec<&str> = schema
                .get("properties")
                .and_then(Json::as_object)
                .into_iter()
                .flat_map(|map| map.keys().map(String::as_str))
                .collect();
            let known = if keys.is_empty() {
                String::new()
            } else {
                format!("; known here: {}", keys.join(", "))
            };
            ("a map", format!("write {{key: value}}, or `key: value` lines under it{known}"))
        }
        "array" => {
            let remedy = match &node.value {
                Value::Scalar(scalar) if scalar.kind != Kind::Null && holds_maps(schema, root) => {
                    "write a list of maps, as in [{key: value}]; the schema (`shoal config \
                     schema`) says which keys"
                        .to_owned()
                }
                Value::Scalar(scalar) if scalar.kind != Kind::Null => {
                    format!("write [{}]", shorten(text))
                }
                Value::Map(_) => {
                    "put brackets around it, as in [{…}], or begin it with `- `".to_owned()
                }
                _ => "write it in brackets, as in [a, b], or as lines that begin with `- `"
                    .to_owned(),
            };
            ("a list", remedy)
        }
        "boolean" => {
            let meant = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "1" => "write true",
                "no" | "off" | "n" | "0" => "write false",
                _ => "write true or false, without quotes",
            };
            ("true or false", meant.to_owned())
        }
        "integer" | "number" => {
            let whole = if expected == "integer" { "a whole number" } else { "a number" };
            let meant: Option<f64> = text
                .trim_end_matches('%')
                .trim_end()
                .parse()
                .ok()
                .filter(|number: &f64| number.fract() == 0.0 && number.abs() < 1e15);
            (
                whole,
                meant.map_or_else(
                    || format!("write {whole} without a unit"),
                    |number| format!("write {number:.0}, without quotes or fraction"),
                ),
            )
        }
        _ if scalar.is_none() => ("text", "write a single value".to_owned()),
        _ if scalar.is_some_and(|scalar| scalar.kind == Kind::Null) => {
            ("text", "write a value, or remove it".to_owned())
        }
        _ => ("text", format!("put it in quotes, as in \"{}\"", shorten(text))),
    }
}

/// Whether the items of a list are maps.
pub(super) fn holds_maps(schema: &Json, root: &Json) -> bool {
    let items = schema.get("items");
    let described = items
        .and_then(|items| items.get("$ref"))
        .and_then(Json::as_str)
        .and_then(|path| root.pointer(path.trim_start_matches('#')));
    described.or(items).is_some_and(|items| items.get("properties").is_some())
}

/// What a key is that lacks a blank or a colon.
pub(super) fn slip(key: &str, known: &[&str]) -> Option<String> {
    let is = |name: &str| known.contains(&name);
    if let Some((name, value)) = key.split_once(':').filter(|(name, _)| is(name)) {
        return Some(format!("write a blank behind the colon: `{name}: {value}`"));
    }
    if let Some((name, _)) = key.split_once(' ').filter(|(name, _)| is(name)) {
        return Some(format!("write a colon behind `{name}`"));
    }
    key.strip_prefix('-')
        .filter(|name| !name.starts_with('-'))
        .map(|name| format!("write a blank behind the dash: `- {name}`"))
}

/// Notations of which people write several in one text.
pub(super) const OFTEN_SEVERAL: [&str; 6] = [
    "shoal-network",
    "shoal-domain",
    "shoal-ports",
    "shoal-status",
    "shoal-method",
    "shoal-egress-to",
];

/// How several values in one text are written.
pub(super) fn several(format: &str, text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split([',', ' ', ';']).filter(|part| !part.is_empty()).collect();
    let good = parts.len() > 1
        && OFTEN_SEVERAL.contains(&format)
        && parts.iter().all(|part| notation::check(format, part).is_ok());
    good.then(|| format!("for several, write a list: [{}]", parts.join(", ")))
}

pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

pub(super) fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The values of an enumeration: `enum`, or `oneOf` with a `const` each when the variants are
/// described.
pub(super) fn enumerated(schema: &Json) -> Option<Vec<&str>> {
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return Some(values.iter().filter_map(Json::as_str).collect());
    }
    let variants = schema.get("oneOf").and_then(Json::as_array)?;
    let values: Vec<&str> =
        variants.iter().filter_map(|variant| variant.get("const").and_then(Json::as_str)).collect();
    (values.len() == variants.len()).then_some(values)
}
