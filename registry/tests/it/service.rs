//! The registry over real sockets: every rpc, with a clock that is moved by hand, and the program
//! itself killed.

mod calls;
mod certified;
mod killed;
mod many;
mod program;
mod purging;
mod server;
mod transfer;
mod watching;
