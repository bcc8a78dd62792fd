//! The service against doubles of those that it asks, and its archives.

mod archive;
mod pki;
mod service;
