//! What is seen, in HAProxy's words: frontends, backends and servers as rows of its statistics, for
//! the socket ([`super::socket`]), the page ([`super::page`]) and `/metrics`
//! ([`super::prometheus`]). Pure: [`Stats`](crate::view::Stats) in, rows and text out.
//!
//! [`column`] is HAProxy's table of columns, [`rows`] fills it, [`status`] says which of HAProxy's
//! states a server is in; [`csv`], [`typed`] and [`json`] write rows, [`info`] is the process
//! itself. `docs/runtime-socket.md` says where a number is not quite what HAProxy means by it.

pub mod column;
pub mod csv;
pub mod info;
pub mod json;
pub mod row;
pub mod rows;
pub mod select;
pub mod status;
pub mod tags;
pub mod typed;

pub use row::{Object, Row, Value};
pub use status::Status;
