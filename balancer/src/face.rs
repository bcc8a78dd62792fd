//! The ways in for people and their tools. A face translates and nothing else: it keeps no state,
//! decides nothing, and what it shows and does is the same as at every other face.
//!
//! To show, a face calls [`crate::view::View`]: `stats` (frontends, backends, servers, with their
//! totals), `snapshot` and `frontends` for parts of it, `recent` for access records, and
//! [`crate::view::explain::explain`]. To change, it calls [`crate::operate::Operator`]: `set` with
//! a [`crate::operate::Change`], `find` for one server. Words for people are made here, from enums;
//! so are codes and columns.
//!
//! [`grpc`] is for `shoal`, the console and programs, [`prometheus`] for what collects metrics.
//! [`socket`] is HAProxy's runtime socket, [`page`] HAProxy's statistics page; both show what
//! [`haproxy`] makes of `View::stats`, and [`process`] is what they tell of the process.

pub mod grpc;
pub mod haproxy;
pub mod page;
pub mod process;
pub mod prometheus;
pub mod socket;
