//! Serves the script, the style sheet and the icon. Browsers keep the first two for good: their
//! names change with their content.

use axum::{
    Extension,
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};

use super::{error::Error, gate::Caller};
use crate::page::assets;

/// The script or the style sheet.
pub async fn file(Extension(caller): Extension<Caller>, Path(file): Path<String>) -> Response {
    let Some((kind, content)) = assets::find(&file) else {
        return Error::new(
            StatusCode::NOT_FOUND,
            "There is no such file; the page that asks for it is of another version.",
        )
        .page(&caller);
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

pub async fn icon() -> Response {
    (
        [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "public, max-age=86400")],
        assets::ICON,
    )
        .into_response()
}
