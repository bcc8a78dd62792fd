//! Bundles from outside: what is said of bad ones and what becomes of good ones.

mod bundles;
mod caching;
mod newcomers;
mod one_or_many;
mod reference;
mod tries;
mod vrrp;
mod ways_in;
