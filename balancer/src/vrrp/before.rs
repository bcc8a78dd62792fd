//! Where the instances stood in the process that this one takes over from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fitness::Ailment;

/// What it is handed over as.
pub const STATE: &str = "vrrp";

/// What a successor begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// What was thought of the balancer.
    pub ailment: Ailment,
    /// Instances whose addresses it held, and how often it had become their master.
    pub masters: BTreeMap<String, u64>,
}

impl Before {
    /// As the predecessor tells it. Of a process without one, or one that tells nothing: it holds
    /// nothing, and is starting.
    #[must_use]
    pub fn of(predecessor: Option<&chassis::Predecessor>) -> Self {
        let told = predecessor.and_then(|it| serde_json::from_str(it.state(STATE)?).ok());
        told.unwrap_or_else(|| Self {
            ailment: Some("it is starting".to_owned()),
            masters: BTreeMap::new(),
        })
    }

    #[must_use]
    pub fn to_json(&self) -> String {
        // Of strings and numbers alone: it cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
