//! The ways in for people and their tools. A face translates and nothing else: it keeps no state,
//! decides nothing, and what it shows and does is the same as at every other face.
//!
//! To show, a face calls [`crate::view::View`]: `stats` (frontends, backends, servers, with their
//! totals), `snapshot` and `frontends` for parts of it, `recent` for access records, and
//! [`crate::view::explain::explain`]. To change, it calls [`crate::operate::Operator`]: `set` with
//! a [`crate::operate::Change`], `find` for one server. Words for people are made here, from enums;
//! so are codes and columns.
//!
//! [`grpc`] is for `shoal`, the console and programs, [`prometheus`] for what collects metrics. Two
//! more fit beside it: `socket`, HAProxy's admin socket (`show stat` and `show servers state` out
//! of `View::stats`; `set server b/s state`, `disable server`, `set weight` as a `Change`, which
//! waits until it is shown; what a line says is all there is to parse), and `page`, the same
//! `Stats` as a table for browsers (`/stats`, `/stats;csv`).

pub mod grpc;
pub mod prometheus;
