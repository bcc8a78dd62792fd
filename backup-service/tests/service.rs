//! The service over real sockets, between services of state that are doubles: making, listing,
//! verifying, letting go, and the way back.

#[path = "service/double.rs"]
mod double;
#[path = "service/making.rs"]
mod making;
#[path = "service/restoring.rs"]
mod restoring;
