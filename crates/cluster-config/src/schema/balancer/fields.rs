//! Header fields that a frontend sets, adds and removes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::notation::{FieldName, FieldValue};

/// What becomes of the fields of a message. Those that frame it, that are meant for one connection,
/// and that proxies write themselves (Host, Via, X-Forwarded-For, …) are not for a bundle to say.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    /// Name to value, in the place of whatever the message says there. In values `%{client}`,
    /// `%{client_port}`, `%{frontend}`, `%{listener}` (the address where the client came in),
    /// `%{request_id}`, `%{scheme}` (http or https), and of TLS `%{sni}`, `%{tls_version}`,
    /// `%{client_verified}` (SUCCESS or NONE), `%{client_subject}`, `%{client_name}` stand for what
    /// is known of the client, and `%%` for a percent sign. What is not known is empty.
    pub set: BTreeMap<String, FieldValue>,
    /// Name to value, beside what the message says there.
    pub add: BTreeMap<String, FieldValue>,
    /// Names.
    pub remove: Vec<FieldName>,
}
