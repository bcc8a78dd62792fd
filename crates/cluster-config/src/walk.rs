//! The form of a bundle: a walk over the tree along the JSON Schema that reports everything that
//! does not fit, and returns what does, so that what the values mean can be looked at in the same
//! pass.
//!
//! It knows the part of JSON Schema that schemars writes for [`crate::schema`], and the extensions
//! described there.

mod elsewhere;
pub mod places;
mod words;

use serde_json::Value as Json;

use self::words::{enumerated, expectation, several, shorten, slip, types};
use crate::problem::{Place, Problem, nearest};
use crate::schema::notation;
use crate::yaml::{Kind, Node, Pair, Scalar, Value};

/// Walks a tree along a schema. What comes back has only what fits: no unknown keys, no wrong
/// values, no nulls, no incomplete maps.
pub fn walk(tree: &Node, schema: &Json) -> (Option<Node>, Vec<Problem>) {
    let mut walk = Walk { root: schema, problems: Vec::new() };
    let fitting = walk.value(tree, schema, "");
    (fitting, walk.problems)
}

struct Walk<'a> {
    root: &'a Json,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, node: &Node, schema: &'a Json, path: &str) -> Option<Node> {
        // Extensions stand beside a reference, not behind it.
        let later = schema.get("x-later");
        let schema = self.choose(schema, node);
        if let Some(values) = enumerated(schema) {
            return self.enumeration(node, later, &values, path);
        }
        let types = types(schema);
        match &node.value {
            _ if types.is_empty() => Some(node.clone()),
            Value::Map(pairs) if types.contains(&"object") => self.map(node, pairs, schema, path),
            Value::List(items) if types.contains(&"array") => {
                Some(self.list(node, items, schema, path)).flatten()
            }
            Value::Scalar(scalar) => self.scalar(node, scalar, schema, &types, path),
            _ => self.mismatch(node, schema, &types, path),
        }
    }

    /// Follows references and picks the alternative that has the node's shape.
    fn choose(&self, schema: &'a Json, node: &Node) -> &'a Json {
        let mut schema = schema;
        for _ in 0..16 {
            if let Some(target) = schema
                .get("$ref")
                .and_then(Json::as_str)
                .and_then(|path| self.root.pointer(path.trim_start_matches('#')))
            {
                schema = target;
                continue;
            }
            let Some(alternatives) = schema.get("anyOf").and_then(Json::as_array) else { break };
            let real: Vec<&Json> =
                alternatives.iter().filter(|one| types(one) != ["null"]).collect();
            let shape = match &node.value {
                Value::List(_) => "array",
                Value::Map(_) => "object",
                Value::Scalar(_) => "",
            };
            match real.iter().find(|one| types(one).contains(&shape)).or(real.first()) {
                Some(chosen) => schema = chosen,
                None => break,
            }
        }
        schema
    }

    fn map(&mut self, node: &Node, pairs: &[Pair], schema: &'a Json, path: &str) -> Option<Node> {
        let properties = schema.get("properties").and_then(Json::as_object);
        let mut fitting = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let inner = join(path, &pair.key);
            let schema = match properties.and_then(|properties| properties.get(&pair.key)) {
                Some(property) => property,
                None => match schema.get("additionalProperties") {
                    Some(Json::Bool(false)) => {
                        self.unknown_key(pair, properties, path);
                        continue;
                    }
                    Some(others) => others,
                    None => &Json::Bool(true),
                },
            };
            // A key without a value is what commenting out its last line leaves: as good as absent.
            if pair.node.is_null() && types(schema).first() != Some(&"null") {
                continue;
            }
            let refused = self.notice_status(pair, schema);
            if let Some(node) = self.value(&pair.node, schema, &inner)
                && !refused
            {
                fitting.push(Pair { key: pair.key.clone(), place: pair.place.clone(), node });
            }
        }
        let complete = self.required(node, pairs, &fitting, schema, path);
        complete.then(|| Node { place: node.place.clone(), value: Value::Map(fitting) })
    }

    /// Says that a key has no effect, or that it cannot be accepted; true: it cannot.
    fn notice_status(&mut self, pair: &Pair, schema: &Json) -> bool {
        let empty = matches!(&pair.node.value, Value::List(items) if items.is_empty());
        if schema.get("x-no-effect").is_some() && !empty {
            let message = format!("`{}` has no effect in this version", pair.key);
            self.problems.push(Problem::warning(
                pair.place.clone(),
                message,
                "keep it for a later version, or remove it",
            ));
        }
        let Some(reason) = schema.get("x-refused").and_then(Json::as_str) else { return false };
        let message = format!(
            "`{}` is not supported in this version, and ignoring it would not be safe",
            pair.key
        );
        self.problems.push(Problem::error(pair.place.clone(), message, reason));
        true
    }

    fn unknown_key(
        &mut self,
        pair: &Pair,
        known: Option<&serde_json::Map<String, Json>>,
        path: &str,
    ) {
        let names: Vec<&str> =
            known.map(|known| known.keys().map(String::as_str).collect()).unwrap_or_default();
        let remedy = slip(&pair.key, &names).unwrap_or_else(|| {
            match nearest(&pair.key, names.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => match (
                    elsewhere::word(&pair.key, &names),
                    places::of(self.root, &pair.key, path),
                ) {
                    (Some(ours), _) => format!("what others call `{}` is `{ours}` here", pair.key),
                    (None, Some(place)) => format!(
                        "it belongs into {place}: look at the indentation; known here: {}",
                        names.join(", ")
                    ),
                    (None, None) => format!("known here: {}", names.join(", ")),
                },
            }
        });
        let within = if path.is_empty() { "at the top".to_owned() } else { format!("in {path}") };
        self.problems.push(Problem::error(
            pair.place.clone(),
            format!("unknown key `{}` {within}", pair.key),
            remedy,
        ));
    }

    /// Whether all required keys are there. A key that is there and wrong has been reported
    /// already.
    fn required(
        &mut self,
        node: &Node,
        pairs: &[Pair],
        fitting: &[Pair],
        schema: &Json,
        path: &str,
    ) -> bool {
        let mut complete = true;
        for key in schema
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
        {
            if fitting.iter().any(|pair| pair.key == key) {
                continue;
            }
            complete = false;
            if !pairs.iter().any(|pair| pair.key == key && !pair.node.is_null()) {
                let within = if path.is_empty() { "the file".to_owned() } else { path.to_owned() };
                let hint = if key == "version" {
                    "write version: 1".to_owned()
                } else {
                    format!("add `{key}:`")
                };
                self.problems.push(Problem::error(
                    node.place.clone(),
                    format!("`{key}` is missing in {within}"),
                    hint,
                ));
            }
        }
        complete
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'a Json, path: &str) -> Option<Node> {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            self.problems.push(Problem::error(
                node.place.clone(),
                format!("{path} is empty"),
                "write at least one value",
            ));
            return None;
        }
        let schema = schema.get("items").unwrap_or(&Json::Bool(true));
        let fitting = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| self.value(item, schema, &format!("{path}[{index}]")))
            .collect();
        Some(Node { place: node.place.clone(), value: Value::List(fitting) })
    }

    fn enumeration(
        &mut self,
        node: &Node,
        later: Option<&Json>,
        values: &[&str],
        path: &str,
    ) -> Option<Node> {
        let Value::Scalar(scalar) = &node.value else {
            return self.mismatch(node, &Json::Null, &["string"], path);
        };
        if values.contains(&scalar.text.as_str()) {
            return Some(text_node(node, scalar));
        }
        let later = later.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        let (message, remedy) = if later.clone().any(|value| value == scalar.text) {
            (
                format!("`{}` is not in this version", scalar.text),
                format!("use {}", values.join(" or ")),
            )
        } else {
            let nearest = || nearest(&scalar.text, values.iter().copied().chain(later));
            let remedy = match elsewhere::value(&scalar.text, values).or_else(nearest) {
                Some(value) => format!("did you mean `{value}`?"),
                None => format!("one of: {}", values.join(", ")),
            };
            (format!("`{}` is not a value of {path}", scalar.text), remedy)
        };
        self.problems.push(Problem::error(node.place.clone(), message, remedy));
        None
    }

    fn scalar(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        schema: &Json,
        types: &[&str],
        path: &str,
    ) -> Option<Node> {
        if let Some(format) = schema
            .get("format")
            .and_then(Json::as_str)
            .filter(|format| format.starts_with("shoal-"))
        {
            let wrong_kind = match scalar.kind {
                Kind::Null | Kind::Bool(_) => true,
                Kind::Int(_) | Kind::Float(_) => !notation::takes_numbers(format),
                Kind::Text => false,
            };
            if wrong_kind {
                return self.mismatch(node, schema, types, path);
            }
            return match notation::check(format, &scalar.text) {
                Ok(()) => Some(text_node(node, scalar)),
                Err(invalid) => {
                    let remedy = several(format, &scalar.text).unwrap_or(invalid.remedy);
                    self.refuse(&node.place, invalid.message, remedy)
                }
            };
        }
        let fits = match scalar.kind {
            Kind::Bool(_) => types.contains(&"boolean"),
            Kind::Int(_) => types.contains(&"integer") || types.contains(&"number"),
            Kind::Float(_) => types.contains(&"number"),
            Kind::Text => types.contains(&"string"),
            Kind::Null => false,
        };
        if !fits {
            return self.mismatch(node, schema, types, path);
        }
        if let Kind::Int(value) = scalar.kind
            && !self.in_range(node, value, schema, path)
        {
            return None;
        }
        let length = scalar.text.chars().count() as u64;
        let bound = |name: &str| schema.get(name).and_then(Json::as_u64);
        if scalar.kind == Kind::Text
            && (bound("minLength").is_some_and(|least| length < least)
                || bound("maxLength").is_some_and(|most| length > most))
        {
            return self.refuse(
                &node.place,
                format!("{path} is too short or too long"),
                String::new(),
            );
        }
        Some(node.clone())
    }

    fn in_range(&mut self, node: &Node, value: i64, schema: &Json, path: &str) -> bool {
        let bound = |name: &str| schema.get(name).and_then(Json::as_i64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most) {
            return true;
        }
        let remedy = match (least, most) {
            (Some(least), Some(most)) if least == most => format!("write {least}"),
            (Some(least), Some(most)) => format!("write a number from {least} to {most}"),
            (Some(least), None) => format!("write a number of at least {least}"),
            (_, most) => format!("write a number of at most {}", most.unwrap_or_default()),
        };
        self.problems.push(Problem::error(
            node.place.clone(),
            format!("{path} cannot be {value}"),
            remedy,
        ));
        false
    }

    fn mismatch(&mut self, node: &Node, schema: &Json, types: &[&str], path: &str) -> Option<Node> {
        let expected = types.iter().find(|kind| **kind != "null").copied().unwrap_or("string");
        let (expected, remedy) = expectation(expected, node, schema, self.root);
        let found = match &node.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => "nothing".to_owned(),
                Kind::Bool(value) => value.to_string(),
                Kind::Int(_) | Kind::Float(_) => format!("the number {}", scalar.text),
                Kind::Text => format!("the text `{}`", shorten(&scalar.text)),
            },
        };
        let subject = if path.is_empty() { "the file" } else { path };
        self.refuse(&node.place, format!("{subject} must be {expected}, not {found}"), remedy)
    }

    fn refuse(&mut self, place: &Place, message: String, remedy: String) -> Option<Node> {
        self.problems.push(Problem::error(place.clone(), message, remedy));
        None
    }
}

fn text_node(node: &Node, scalar: &Scalar) -> Node {
    Node {
        place: node.place.clone(),
        value: Value::Scalar(Scalar { text: scalar.text.clone(), kind: Kind::Text }),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
