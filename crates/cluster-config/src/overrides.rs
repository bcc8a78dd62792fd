//! Overrides: which of them hold for a node, and what they do to the tree. The merged tree keeps
//! the place of everything, so a problem that an override causes is reported at the override.

use crate::variables::Variables;
use crate::yaml::{Node, Value};
use cluster::Service;

/// The sections that an override may set.
pub const SECTIONS: [&str; 3] = ["proxy", "balancer", "checks"];

/// Whether an override's `match` holds for a node: everything that is given must.
pub fn holds(matches: &Node, service: Service, variables: &Variables) -> bool {
    let variable = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    matches.pairs().iter().filter(|pair| !pair.node.is_null()).all(|pair| {
        let wanted = pair.node.text().unwrap_or_default();
        match pair.key.as_str() {
            "service" => wanted == service.as_str(),
            "tag" => variable("tags").split(',').any(|tag| tag == wanted),
            key @ ("name" | "datacenter" | "zone") => variable(key) == wanted,
            // Not a known key: reported elsewhere; an override that cannot be understood is not
            // applied.
            _ => false,
        }
    })
}

/// The tree with every override that holds merged in, in order.
pub fn apply(tree: &Node, service: Service, variables: &Variables) -> Node {
    let mut merged = tree.clone();
    for over in tree.get("overrides").map(Node::items).unwrap_or_default() {
        let (Some(matches), Some(set)) = (over.get("match"), over.get("set")) else { continue };
        if !holds(matches, service, variables) {
            continue;
        }
        let sections = Node {
            place: set.place.clone(),
            value: Value::Map(
                set.pairs()
                    .iter()
                    .filter(|pair| SECTIONS.contains(&pair.key.as_str()))
                    .cloned()
                    .collect(),
            ),
        };
        merge(&mut merged, &sections);
    }
    merged
}

/// Maps are merged, everything else is replaced; null removes the key, which brings its default
/// back.
fn merge(base: &mut Node, over: &Node) {
    let (Value::Map(base_pairs), Value::Map(pairs)) = (&mut base.value, &over.value) else {
        *base = over.clone();
        return;
    };
    for pair in pairs {
        if pair.node.is_null() {
            base_pairs.retain(|existing| existing.key != pair.key);
            continue;
        }
        match base_pairs.iter_mut().find(|existing| existing.key == pair.key) {
            Some(existing) => {
                merge(&mut existing.node, &pair.node);
                if !matches!(existing.node.value, Value::Map(_)) {
                    existing.place = pair.place.clone();
                }
            }
            None => base_pairs.push(pair.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    #[test]
    fn merging_keeps_places_and_later_ones_win() {
        let text = b"proxy:\n  cache: {memory: 1MiB, max_object_size: 2MiB}\noverrides:\n  - \
            match: {name: a}\n    set: {proxy: {cache: {memory: 3MiB}}}\n  - match: {tag: ssd, \
            service: proxy-node}\n    set: {proxy: {cache: {memory: 4MiB, max_object_size: ~}}}\n";
        let tree = parse("c.yaml", text).0.unwrap();
        let mut variables = Variables::from([("name".to_owned(), "a".to_owned())]);
        let merged = apply(&tree, Service::ProxyNode, &variables);
        assert_eq!(
            merged.get("proxy").unwrap().to_json().to_string(),
            r#"{"cache":{"max_object_size":"2MiB","memory":"3MiB"}}"#
        );
        assert_eq!(merged.place_of("proxy/cache/memory").line, 5);
        variables.insert("tags".to_owned(), "big,ssd".to_owned());
        let merged = apply(&tree, Service::ProxyNode, &variables);
        assert_eq!(
            merged.get("proxy").unwrap().to_json().to_string(),
            r#"{"cache":{"memory":"4MiB"}}"#
        );
        let merged = apply(&tree, Service::Balancer, &variables);
        assert_eq!(merged.place_of("proxy/cache/memory").line, 5);
    }
}
