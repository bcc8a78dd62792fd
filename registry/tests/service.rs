//! The registry over real sockets: every rpc, with a clock that is moved by hand, and the program
//! itself killed.

#[path = "service/calls.rs"]
mod calls;
#[path = "service/certified.rs"]
mod certified;
#[path = "service/killed.rs"]
mod killed;
#[path = "service/many.rs"]
mod many;
#[path = "service/program.rs"]
mod program;
#[path = "service/server.rs"]
mod server;
#[path = "service/transfer.rs"]
mod transfer;
#[path = "service/watching.rs"]
mod watching;
