//! The script, the style sheet and the icon: in the binary, under names that change with their
//! content.

use std::sync::OnceLock;

use axum::{
    Extension,
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use sha2::{Digest, Sha256};

use super::{gate::Caller, refuse::Problem};
use crate::auth::hex;

const SCRIPT: &str = include_str!("../../assets/console.js");
const STYLE: &str = include_str!("../../assets/console.css");
const ICON: &str = include_str!("../../assets/icon.svg");

fn name(content: &str, extension: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    format!("console-{}.{extension}", hex(&digest[..6]))
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

/// One of them.
pub async fn file(Extension(caller): Extension<Caller>, Path(file): Path<String>) -> Response {
    let (kind, content) = match file {
        file if file == script() => ("text/javascript; charset=utf-8", SCRIPT),
        file if file == style() => ("text/css; charset=utf-8", STYLE),
        _ => {
            return Problem::new(
                StatusCode::NOT_FOUND,
                "There is no such file; the page that asks for it is of another version.",
            )
            .page(&caller);
        }
    };
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ],
        content,
    )
        .into_response()
}

/// The icon.
pub async fn icon() -> Response {
    (
        [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "public, max-age=86400")],
        ICON,
    )
        .into_response()
}
