//! Header fields that a frontend sets, adds and removes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Context;
use crate::{
    document::balancer as document,
    schema::{
        balancer as schema,
        notation::{FieldName, FieldValue},
    },
};

/// Names that no bundle may say anything about, with the reason.
const REFUSED: [(&str, &[&str]); 5] = [
    ("it says where a message goes or ends", &["host", "content-length", "transfer-encoding"]),
    (
        "it is meant for one connection",
        &[
            "connection",
            "proxy-connection",
            "keep-alive",
            "te",
            "trailer",
            "upgrade",
            "http2-settings",
            "expect",
        ],
    ),
    (
        "it is between clients and the proxy that asks for it",
        &["proxy-authorization", "proxy-authenticate", "proxy-authentication-info"],
    ),
    ("proxies write it themselves", &["via", "max-forwards", "traceparent", "date"]),
    (
        "it is for the cluster itself",
        &["shoal-request-id", "shoal-origin-time", "shoal-client-certificate", "shoal-load"],
    ),
];
/// What the backend says of them.
const FORWARDED: [&str; 2] = ["x-forwarded-for", "forwarded"];

/// Of messages one way.
pub(super) fn compile(
    context: &mut Context,
    written: schema::Fields,
    path: &str,
) -> document::Fields {
    let mut seen = BTreeSet::new();
    let mut check = |context: &mut Context, name: &str, path: &str| {
        let lower = name.to_ascii_lowercase();
        refuse(context, &lower, path);
        if !seen.insert(lower) {
            context.error(
                path,
                format!("something else is said of `{name}` already"),
                "say one thing of each field: what is set replaces whatever was there",
            );
        }
    };
    let mut list = |context: &mut Context, fields: BTreeMap<String, FieldValue>, what: &str| {
        let mut list = Vec::new();
        for (name, value) in fields {
            let path = format!("{path}/{what}/{name}");
            match FieldName::parse(&name) {
                Ok(_) => check(context, &name, &path),
                Err(invalid) => context.error(&path, invalid.message, invalid.remedy),
            }
            list.push(document::Field { name, value: value.value });
        }
        list
    };
    let set = list(context, written.set, "set");
    let add = list(context, written.add, "add");
    let mut remove = Vec::new();
    for (place, name) in written.remove.into_iter().enumerate() {
        check(context, &name.value, &format!("{path}/remove/{place}"));
        remove.push(name.value.to_ascii_lowercase());
    }
    document::Fields { set, add, remove }
}

fn refuse(context: &mut Context, name: &str, path: &str) {
    if FORWARDED.contains(&name) {
        return context.error(
            path,
            format!("`{name}` is not for fields to say"),
            "say forwarded_for or forwarded in the backend",
        );
    }
    if let Some((why, _)) = REFUSED.iter().find(|(_, names)| names.contains(&name)) {
        context.error(path, format!("`{name}` cannot be changed: {why}"), "remove it");
    }
}
