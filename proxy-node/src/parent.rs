//! The parent proxies as this process knows them: which of them answers, what proves this node to
//! them, which one a request goes to.
//!
//! What is known of a parent is shared by all workers and outlives a revision that keeps it. A dead
//! one is passed over while another lives, and found alive again by connections that are tried
//! beside the traffic; when all are dead they are asked all the same.
//!
//! A parent that answers 502, 503 or 504 says that it could not do what it was asked, and mostly
//! for want of an origin that could: another one is asked, and what it answers tells whose fault it
//! was. Only a parent that another one does better than, for several destinations in a row, is dead
//! for its answers.

mod account;
mod another;
mod list;
mod login;
mod peer;
mod select;
mod watch;

pub use account::{Account, Tried, order};
pub use another::{is_in_vain, may_ask_another, may_ask_another_after_answer, may_ask_another_for};
pub use list::{Member, Members, Parents};
pub use login::Credentials;
pub use peer::Parent;
pub use watch::look_after;

#[cfg(test)]
mod tests;
