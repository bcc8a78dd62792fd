//! The bundle's `cluster.yaml` as it is written. These types are the schema: the walk over a bundle
//! ([`crate::walk`]) is driven by the JSON Schema derived from them, and so is `shoal config
//! schema`.
//!
//! Extensions in the JSON Schema: `x-no-effect` marks what this version validates and ignores,
//! `x-refused` what it must not ignore, because its absence would be felt as less security or
//! another route; `x-later` lists values that this version does not have yet. All three are told in
//! the description as well, and as `x-shoal-status`.

pub mod backup;
pub mod balancer;
pub mod checks;
pub mod later;
pub mod limits;
pub mod log;
pub mod notation;
pub mod proxy;

use notation::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `cluster.yaml`: one file describes the cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Shoal cluster.yaml")]
pub struct Root {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// What every proxy-node does.
    #[serde(default)]
    pub proxy: proxy::Proxy,
    /// What every balancer does.
    #[serde(default)]
    pub balancer: balancer::Balancer,
    /// What the health-checkers check.
    #[serde(default)]
    pub checks: Vec<checks::Check>,
    /// When to tell somebody.
    #[serde(default)]
    #[schemars(extend("x-no-effect" = true))]
    pub alerts: Vec<later::Alert>,
    /// Names that the registry answers for.
    #[serde(default)]
    #[schemars(extend("x-no-effect" = true))]
    pub dns: Vec<later::DnsName>,
    /// When to back up, where to, and what to keep.
    #[serde(default)]
    pub backup: Option<backup::Backup>,
    /// What is different on some nodes; applied in order, later ones win.
    #[serde(default)]
    pub overrides: Vec<Override>,
}

/// What is different on the nodes that match.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Which nodes: all that is given must hold.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Merged over the sections `proxy`, `balancer` and `checks`: maps are merged, lists and single
    /// values replaced, null goes back to the default.
    pub set: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Which nodes an override is for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Name of the node.
    pub name: Option<Name>,
    /// One of its tags.
    pub tag: Option<Name>,
    /// Its datacenter.
    pub datacenter: Option<Name>,
    /// Its zone.
    pub zone: Option<Name>,
    /// Its service.
    pub service: Option<MatchService>,
}

/// A service that follows the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MatchService {
    /// The proxy.
    ProxyNode,
    /// The load balancer.
    Balancer,
    /// The checker.
    HealthChecker,
}

/// The JSON Schema of `cluster.yaml`, for editors and for the walk.
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<Root>()
        .to_value();
    mark(&mut schema);
    schema
}

/// Says for people, too, what this version does not do: editors show descriptions, and
/// `x-shoal-status` is one word to look for.
fn mark(schema: &mut serde_json::Value) {
    use serde_json::Value;
    match schema {
        Value::Array(items) => items.iter_mut().for_each(mark),
        Value::Object(map) => {
            let later = map.get("x-later").and_then(Value::as_array).map(|values| {
                let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
                format!("Not in this version: {}.", values.join(", "))
            });
            let status = if map.contains_key("x-no-effect") {
                Some((
                    "no-effect",
                    "Without effect in this version: it is checked and not acted on.".to_owned(),
                ))
            } else if let Some(why) = map.get("x-refused").and_then(Value::as_str) {
                Some(("refused", format!("Refused in this version: {why}.")))
            } else {
                later.map(|text| ("partly", text))
            };
            map.values_mut().for_each(mark);
            if let Some((status, text)) = status {
                let before = map.get("description").and_then(Value::as_str).unwrap_or_default();
                let description = format!("{before} {text}").trim_start().to_owned();
                map.insert("description".to_owned(), description.into());
                map.insert("x-shoal-status".to_owned(), status.into());
            }
        }
        _ => {}
    }
}
