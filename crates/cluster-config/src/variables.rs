//! `${node.*}`: what differs from node to node and is known only there.

use crate::problem::{Problem, misspelt};
use crate::yaml::{Kind, Node, Scalar, Value};
use std::collections::BTreeMap;

/// Names (without `node.`) to values.
pub type Variables = BTreeMap<String, String>;

/// Puts values in place of variables, everywhere below a node. A variable that is not known is a
/// problem at its place, and stays.
pub fn substitute(node: &mut Node, variables: &Variables, problems: &mut Vec<Problem>) {
    match &mut node.value {
        Value::List(items) => {
            items.iter_mut().for_each(|item| substitute(item, variables, problems))
        }
        Value::Map(entries) => {
            entries.iter_mut().for_each(|entry| substitute(&mut entry.node, variables, problems))
        }
        Value::Scalar(scalar) if scalar.kind == Kind::Text && scalar.text.contains("${") => {
            let mut wrong = Vec::new();
            let text = expand(&scalar.text, variables, &mut wrong);
            problems.extend(
                wrong
                    .into_iter()
                    .map(|(message, remedy)| Problem::error(node.place.clone(), message, remedy)),
            );
            *scalar = Scalar { text, kind: Kind::Text };
        }
        Value::Scalar(_) => {}
    }
}

fn expand(text: &str, variables: &Variables, wrong: &mut Vec<(String, String)>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            wrong.push((format!("`${{` without `}}` in `{text}`"), "close it".to_owned()));
            expanded.push_str("${");
            rest = after;
            continue;
        };
        match name.strip_prefix("node.").and_then(|name| variables.get(name)) {
            Some(value) => expanded.push_str(value),
            None => {
                wrong.push((format!("undefined variable `${{{name}}}`"), remedy(name, variables)));
                expanded.push_str(&format!("${{{name}}}"));
            }
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

fn remedy(name: &str, variables: &Variables) -> String {
    let known: Vec<String> = variables.keys().map(|key| format!("node.{key}")).collect();
    match misspelt(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `${{{near}}}`?"),
        None if known.is_empty() => {
            "no variable is defined here; write the value itself".to_owned()
        }
        None => format!("defined here: {}", known.join(", ")),
    }
}
