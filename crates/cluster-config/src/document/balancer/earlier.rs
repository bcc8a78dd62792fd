//! Documents of the version before, in which the deadlines of clients were the backend's: one may
//! still be on a balancer's disk, and a balancer that is not upgraded yet has to read what is
//! rendered now.

use serde_json::{Map, Value};

/// What belongs to frontends now.
const MOVED: [&str; 3] = ["client", "client_idle", "request_head"];

/// A frontend that says nothing of its clients' deadlines takes those of its backend.
pub(super) fn to_frontends(document: &mut Value) {
    let backends: Vec<Value> =
        document.get("backends").and_then(Value::as_array).cloned().unwrap_or_default();
    for frontend in items(document, "frontends").filter(|it| it.get("timeouts").is_none()) {
        let timeouts = backends
            .iter()
            .find(|it| it.get("name") == frontend.get("backend"))
            .and_then(|it| it.get("timeouts"));
        if let (Some(timeouts), Value::Object(frontend)) = (timeouts, frontend) {
            let known = |key: &str| Some((key.to_owned(), timeouts.get(key)?.clone()));
            frontend.insert(
                "timeouts".to_owned(),
                MOVED.into_iter().filter_map(known).collect::<Map<_, _>>().into(),
            );
        }
    }
}

/// A backend says the deadlines of the clients of the first frontend that uses it, or else the
/// first of all.
pub(super) fn to_backends(document: &mut Value) {
    let frontends: Vec<Value> =
        document.get("frontends").and_then(Value::as_array).cloned().unwrap_or_default();
    for backend in items(document, "backends") {
        let first = frontends
            .iter()
            .find(|it| it.get("backend") == backend.get("name"))
            .or_else(|| frontends.first());
        let clients = first.and_then(|it| it.get("timeouts"));
        let Some(timeouts) = backend.get_mut("timeouts").and_then(Value::as_object_mut) else {
            continue;
        };
        for key in MOVED {
            // Without a frontend there are no clients.
            let value = clients.and_then(|it| it.get(key)).cloned().unwrap_or_else(|| "1m".into());
            timeouts.insert(key.to_owned(), value);
        }
    }
}

fn items<'a>(document: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    document.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let now = serde_json::json!({
            "frontends": [
                {
                    "name": "f", "backend": "b",
                    "timeouts": {"client": "1s", "client_idle": "2s", "request_head": "3s"},
                },
                {
                    "name": "g", "backend": "b",
                    "timeouts": {"client": "4s", "client_idle": "5s", "request_head": "6s"},
                },
            ],
            "backends": [{"name": "b", "timeouts": {"server": "7s"}}],
        });
        let mut document = now.clone();
        to_backends(&mut document);
        let expected = serde_json::json!({
            "server": "7s", "client": "1s", "client_idle": "2s", "request_head": "3s",
        });
        assert_eq!(document["backends"][0]["timeouts"], expected);
        assert_eq!(document["frontends"], now["frontends"]);
        // As the version before wrote it.
        for frontend in items(&mut document, "frontends") {
            frontend.as_object_mut().expect("a map").remove("timeouts");
        }
        to_frontends(&mut document);
        for frontend in items(&mut document, "frontends") {
            assert_eq!(frontend["timeouts"], now["frontends"][0]["timeouts"]);
        }
    }
}
