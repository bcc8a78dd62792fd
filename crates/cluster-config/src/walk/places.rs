//! Where in `cluster.yaml` a key belongs, for those who wrote it elsewhere.

use serde_json::Value as Json;

const DEEPEST: usize = 8;
/// A key that is known in more places than this is no hint.
const MOST: usize = 3;

/// The maps around or within `path` that take a key, in words; `None`: there are none, or many.
pub fn of(root: &Json, key: &str, path: &str) -> Option<String> {
    let mut found = Vec::new();
    look(root, root, key, &mut Vec::new(), &mut found);
    let inside = |place: &str, outer: &str| {
        outer.is_empty()
            || place.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    found.retain(|place| inside(place, path) || inside(path, place));
    (1..=MOST).contains(&found.len()).then(|| found.join(" or "))
}

fn look<'a>(
    root: &'a Json,
    schema: &'a Json,
    key: &str,
    path: &mut Vec<&'a str>,
    found: &mut Vec<String>,
) {
    if path.len() > DEEPEST || found.len() > 64 {
        return;
    }
    if let Some(target) = schema
        .get("$ref")
        .and_then(Json::as_str)
        .and_then(|at| root.pointer(at.trim_start_matches('#')))
    {
        return look(root, target, key, path, found);
    }
    for inner in schema.get("anyOf").and_then(Json::as_array).into_iter().flatten() {
        look(root, inner, key, path, found);
    }
    if let Some(items) = schema.get("items") {
        look(root, items, key, path, found);
    }
    if let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object()) {
        path.push("NAME");
        look(root, others, key, path, found);
        path.pop();
    }
    for (name, inner) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        if name == key {
            let place = path.join(".");
            if !place.is_empty() && !found.contains(&place) {
                found.push(place);
            }
        }
        path.push(name);
        look(root, inner, key, path, found);
        path.pop();
    }
}
