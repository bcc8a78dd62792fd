//! What is delivered, and why.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::cache::{content::Reader, object::Object};

/// An object on its way to one client.
pub struct Delivery {
    pub object: Arc<Object>,
    pub reader: Reader,
    /// For Cache-Status; `None`: a hit.
    pub status: Option<String>,
    /// How long the origin took.
    pub took: Duration,
    /// Its age now, in seconds.
    pub age: u64,
    /// It is filled for this request, which does not leave it for another.
    pub leads: bool,
    /// Lines of Set-Cookie, which are for the one that asked and are not stored.
    pub cookies: Bytes,
}
