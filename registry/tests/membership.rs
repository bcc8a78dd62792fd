//! The rules of the membership: tables first, then seeded simulations. No clock, no disk, no
//! sockets.

#[path = "membership/cast.rs"]
mod cast;
#[path = "membership/rules.rs"]
mod rules;
#[path = "membership/simulation.rs"]
mod simulation;
