//! How a record of a log is written.

use crate::{
    document::log::{LogFormat, template::NotATemplate},
    units::Invalid,
};

/// A format by its name, or a template, which has a variable at least.
pub fn parse_log_format(text: &str) -> Result<LogFormat, Invalid> {
    Ok(match text {
        "httplog" => LogFormat::Httplog,
        "json" => LogFormat::Json,
        "squid" => LogFormat::Squid,
        _ if text.contains('%') => {
            let template = text.parse();
            LogFormat::Custom(
                template
                    .map_err(|NotATemplate { message, remedy }| Invalid::new(message, remedy))?,
            )
        }
        _ => {
            return Err(Invalid::new(
                format!("`{text}` is no format of a log"),
                "write httplog (balancers), squid (proxy-nodes), json, or HAProxy's variables, as \
                 in \"%ci %ST %B %{+Q}r\"",
            ));
        }
    })
}
