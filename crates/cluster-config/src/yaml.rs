//! YAML into a tree in which everything has its place.
//!
//! serde-saphyr's deserialiser stops at the first thing it cannot place; its parser's events let us
//! see the whole document, so that every problem is reported at once. Aliases are copied in with a
//! limit on the whole; merge keys (`<<`) are not a part of YAML 1.2 and are refused.

mod builder;
mod syntax;

use std::collections::HashMap;

use serde_saphyr::granit_parser::Parser;

use self::builder::{Builder, number};
use crate::problem::{Place, Problem};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A value of YAML's core schema.
#[derive(Clone, Debug)]
pub enum Value {
    /// Anything that is neither a list nor a map.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file.
    Map(Vec<Pair>),
}

/// One pair of a map.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Keys are text.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// What it maps to.
    pub node: Node,
}

/// A scalar as text and as what that text means.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// As written, quotes and escapes undone.
    pub text: String,
    /// What it means.
    pub kind: Kind,
}

/// Type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Everything else, and everything in quotes.
    Text,
}

impl Scalar {
    fn new(text: String, plain: bool) -> Self {
        let kind = if plain { resolve(&text) } else { Kind::Text };
        Self { text, kind }
    }
}

/// The core schema of YAML 1.2: `yes`, `on` and `0777` are not what they were in 1.1.
fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Kind::Text;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_or(Kind::Text, Kind::Int);
    }
    if digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+')) {
        return text
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map_or(Kind::Text, Kind::Float);
    }
    Kind::Text
}

impl Node {
    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.pairs().iter().find(|pair| pair.key == key).map(|pair| &pair.node)
    }

    /// Entries of a map; none of anything else.
    pub fn pairs(&self) -> &[Pair] {
        if let Value::Map(pairs) = &self.value { pairs } else { &[] }
    }

    /// Items of a list; none of anything else.
    pub fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        if let Value::Scalar(scalar) = &self.value { Some(&scalar.text) } else { None }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == Kind::Null)
    }

    /// What lies at a path like `access/rules/3`; null is nothing.
    pub fn at(&self, path: &str) -> Option<&Node> {
        let found = path.split('/').try_fold(self, |node, step| match &node.value {
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => node.get(step),
        });
        found.filter(|node| !node.is_null())
    }

    /// The place of what lies at a path like `access/rules/3`, or of the last part of the way that
    /// exists.
    pub fn place_of(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = &self.place;
        for step in path.split('/').filter(|step| !step.is_empty()) {
            let next = match &node.value {
                Value::Map(pairs) => pairs
                    .iter()
                    .find(|pair| pair.key == step)
                    .map(|pair| (&pair.node, &pair.node.place)),
                Value::List(items) => step
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (item, &item.place)),
                Value::Scalar(_) => None,
            };
            let Some((found, at)) = next else { break };
            (node, place) = (found, at);
        }
        place.clone()
    }

    /// The keys of a map, as far as they have values.
    pub fn keys(&self) -> Vec<String> {
        self.pairs()
            .iter()
            .filter(|pair| !pair.node.is_null())
            .map(|pair| pair.key.clone())
            .collect()
    }

    /// The keys of the map that begins at a place.
    pub fn place_keys(&self, place: &Place) -> Vec<String> {
        match &self.value {
            Value::Map(_) if self.place == *place => self.keys(),
            Value::Map(pairs) => pairs
                .iter()
                .map(|pair| pair.node.place_keys(place))
                .find(|keys| !keys.is_empty())
                .unwrap_or_default(),
            Value::List(items) => items
                .iter()
                .map(|item| item.place_keys(place))
                .find(|keys| !keys.is_empty())
                .unwrap_or_default(),
            Value::Scalar(_) => Vec::new(),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(pairs) => Json::Object(
                pairs.iter().map(|pair| (pair.key.clone(), pair.node.to_json())).collect(),
            ),
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => Json::Null,
                Kind::Bool(value) => Json::Bool(value),
                Kind::Int(value) => value.into(),
                Kind::Float(value) => value.into(),
                Kind::Text => Json::String(scalar.text.clone()),
            },
        }
    }
}

/// Reads one document. The tree is there unless the syntax is broken; duplicate keys are problems,
/// and the first of them counts.
pub fn parse(file: &str, content: &[u8]) -> (Option<Node>, Vec<Problem>) {
    let text = match std::str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => {
            let line =
                content[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            let place = Place { file: file.to_owned(), line: number(line), column: 0 };
            return (None, vec![Problem::error(place, "not UTF-8 text", "save the file as UTF-8")]);
        }
    };
    let mut builder = Builder {
        file,
        text,
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        problems: Vec::new(),
    };
    let tree = match builder.document() {
        Ok(tree) => tree,
        Err(problem) => {
            builder.problems.push(*problem);
            None
        }
    };
    (tree, builder.problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text() {
        let (tree, problems) = parse("c.yaml", b"a:\n  b: [1, two, \"3\"]\n  c: {d: 0.5}\n");
        assert!(problems.is_empty());
        let tree = tree.unwrap();
        let place = tree.place_of("a/b/1");
        assert_eq!((place.line, place.column), (2, 10));
        assert_eq!(tree.place_of("a/c/nothing").line, 3);
        assert_eq!(tree.to_json().to_string(), r#"{"a":{"b":[1,"two","3"],"c":{"d":0.5}}}"#);
    }

    #[test]
    fn a_small_file_cannot_become_a_large_tree() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let previous = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", ")));
        }
        let (tree, problems) = parse("c.yaml", text.as_bytes());
        assert!(tree.is_none());
        assert!(problems[0].message.starts_with("more than"), "{problems:?}");
        let (tree, problems) = parse("c.yaml", "[".repeat(200).as_bytes());
        assert!(tree.is_none() && problems.len() == 1);
    }

    #[test]
    fn the_core_schema_is_that_of_yaml_1_2() {
        for (text, kind) in [
            ("yes", Kind::Text),
            ("true", Kind::Bool(true)),
            ("12", Kind::Int(12)),
            ("-1.5e3", Kind::Float(-1500.0)),
            ("5s", Kind::Text),
            ("192.168.1.1", Kind::Text),
            (".example.com", Kind::Text),
            ("99999999999999999999", Kind::Text),
            ("", Kind::Null),
        ] {
            assert_eq!(resolve(text), kind, "{text}");
        }
    }
}
