//! The rules of the membership: tables first, then seeded simulations. No clock, no disk, no
//! sockets.

mod cast;
mod rules;
mod simulation;
