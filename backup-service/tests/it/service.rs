//! The service over real sockets, between services of state that are doubles: making, listing,
//! verifying, letting go, and the way back.

mod double;
mod making;
mod restoring;
