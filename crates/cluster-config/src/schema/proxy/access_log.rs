//! `proxy.access_log`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size;
use crate::{document, schema::notation::Size};

/// The access log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Form of a line.
    #[schemars(extend("x-later" = ["common", "combined", "json"]))]
    pub format: AccessLogFormat,
    /// When the file is moved aside to `access.log.1`. A file that logrotate or others move away is
    /// opened anew, too.
    pub rotate: Rotate,
    /// A line ends with the request's id, an eleventh column behind Squid's ten, by which `shoal
    /// logs --request ID` finds it. Who reads Squid's logs and takes no more than ten columns needs
    /// `false`.
    pub request_id: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { format: AccessLogFormat::default(), rotate: Rotate::default(), request_id: true }
    }
}

/// When the access log's file is moved aside.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// When it is this large.
    pub size: Size,
    /// So many are kept beside it; the oldest goes.
    #[schemars(range(min = 0, max = 100))]
    pub keep: u32,
}

impl Default for Rotate {
    fn default() -> Self {
        let document::proxy::Rotate { keep, .. } = document::proxy::Rotate::default();
        Self { size: size("256MiB"), keep }
    }
}

/// Form of an access log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// Squid's native format.
    #[default]
    Squid,
    /// No access log.
    Off,
}

impl From<AccessLog> for document::proxy::AccessLog {
    fn from(written: AccessLog) -> Self {
        let format = match written.format {
            AccessLogFormat::Squid => document::proxy::AccessLogFormat::Squid,
            AccessLogFormat::Off => document::proxy::AccessLogFormat::Off,
        };
        let rotate =
            document::proxy::Rotate { size: written.rotate.size.value, keep: written.rotate.keep };
        Self { format, rotate, request_id: written.request_id }
    }
}
