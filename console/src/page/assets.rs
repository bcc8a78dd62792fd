//! The script, the style sheet and the icon: in the binary, under names that change with their
//! content.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

const SCRIPT: &str = include_str!("../../assets/console.js");
const STYLE: &str = include_str!("../../assets/console.css");
/// The icon, as SVG.
pub const ICON: &str = include_str!("../../assets/icon.svg");

fn name(content: &str, extension: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    format!("console-{}.{extension}", hex::encode(&digest[..6]))
}

fn script() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| name(SCRIPT, "js"))
}

fn style() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| name(STYLE, "css"))
}

/// Where the script is.
#[must_use]
pub fn script_path() -> String {
    format!("/assets/{}", script())
}

/// Where the style sheet is.
#[must_use]
pub fn style_path() -> String {
    format!("/assets/{}", style())
}

/// The type and the content of the file with this name.
#[must_use]
pub fn find(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        name if name == script() => Some(("text/javascript; charset=utf-8", SCRIPT)),
        name if name == style() => Some(("text/css; charset=utf-8", STYLE)),
        _ => None,
    }
}
