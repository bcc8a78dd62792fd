//! What balancer and proxy-node do the same around moving messages: counters of workers, what
//! access records are searched by, traces, and what the bundle says of their doors.
//!
//! It moves no bytes (`relay`), follows no configuration and speaks no gRPC: what is decided here
//! is a function of what is passed in, and [`search`] alone reads files.
//!
//! Reading order: [`id`], [`scratch`], [`connection`]; [`unreadable`], [`domain`] → [`filter`] → [`search`]; [`count`] → [`answers`];
//! [`trace`] → [`trace::span`]; [`limits`].

pub mod answers;
pub mod connection;
pub mod count;
pub mod domain;
pub mod filter;
pub mod id;
pub mod limits;
pub mod scratch;
pub mod search;
pub mod trace;
pub mod unreadable;
