//! What keeps a client with its server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::notation::FieldName;
use crate::document::balancer as document;

/// A cookie that says which server a client was given, of servers by address.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// Its name.
    pub cookie: FieldName,
    /// Given to clients that have none, or that of a server that is gone or unwell.
    #[serde(default = "yes")]
    pub insert: bool,
    /// Servers do not see it.
    #[serde(default = "yes")]
    pub indirect: bool,
    /// An answer that gives it is `Cache-Control: private`.
    #[serde(default = "yes")]
    pub nocache: bool,
    /// Scripts of pages do not see it.
    #[serde(default = "yes")]
    pub httponly: bool,
    /// Sent over TLS alone.
    #[serde(default)]
    pub secure: bool,
    /// How it names a server.
    #[serde(default)]
    pub value: CookieValue,
}

/// How a cookie names a server.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CookieValue {
    /// By a hash of its name.
    #[default]
    Hashed,
    /// By its name, as HAProxy's configurations do it.
    Name,
}

fn yes() -> bool {
    true
}

impl From<Sticky> for document::Sticky {
    fn from(written: Sticky) -> Self {
        Self {
            cookie: written.cookie.value,
            insert: written.insert,
            indirect: written.indirect,
            nocache: written.nocache,
            httponly: written.httponly,
            secure: written.secure,
            hashed: matches!(written.value, CookieValue::Hashed),
        }
    }
}
