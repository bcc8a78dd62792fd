//! What balancer and proxy-node do the same around moving messages: where clients come in, what a
//! worker keeps for its requests, what it counts, what is traced, and what access records are
//! searched by.
//!
//! It moves no bytes (`relay`), follows no configuration and serves no gRPC: what is decided here
//! is a function of what is passed in. [`listen`] alone opens sockets, [`log`] writes
//! files and [`search`] reads them.
//!
//! Reading order: [`limits`] → [`listen`]; [`hash`] → [`object`], [`ring`]; [`id`], [`list`],
//! [`scratch`] → [`connection`] → [`tunnel`]; [`count`] → [`ledger`] → [`answers`]; [`trace`] →
//! [`trace::span`]; [`unreadable`], [`domain`] → [`filter`] → [`search`] → [`log`].

#![warn(missing_docs)]

pub mod answers;
pub mod connection;
pub mod count;
pub mod domain;
pub mod filter;
pub mod hash;
pub mod id;
pub mod ledger;
pub mod limits;
pub mod list;
pub mod listen;
pub mod log;
pub mod object;
pub mod ring;
pub mod scratch;
pub mod search;
pub mod trace;
pub mod tunnel;
pub mod unreadable;
