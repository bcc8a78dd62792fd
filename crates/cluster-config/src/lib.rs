//! The bundle that describes a cluster: its schema, its validation with every problem and its
//! place, and its rendering into the document of one node.
//!
//! Pure: bytes in, values out. Not here: storing revisions, handing them out (config-service),
//! following them (chassis).
//!
//! Reading order: [`document`] is what nodes get; [`schema`] is what people write, in the notations
//! of [`units`], [`terms`], [`lists`], [`authorities`] and [`pages`]; a [`bundle`] goes through
//! [`yaml`] (a tree with places), [`overrides`], [`variables`], [`walk`] (form) and [`compile`]
//! (meaning) into [`render`]'s answer, with every [`problem`] on the way. [`templates`] are bundles
//! to begin with.

#![warn(missing_docs)]

pub mod authorities;
pub mod bundle;
pub mod compile;
pub mod document;
pub mod lists;
pub mod overrides;
pub mod pages;
pub mod problem;
pub mod render;
pub mod schema;
pub mod templates;
pub mod terms;
pub mod units;
pub mod variables;
pub mod walk;
pub mod yaml;

pub use bundle::Bundle;
pub use document::{
    BackupDocument, BalancerDocument, ChecksDocument, FileReference, ProxyDocument,
};
pub use problem::{Place, Problem, Severity};
pub use render::{Rendered, render};
pub use templates::{example_bundle, lab_bundle};
pub use variables::Variables;
