//! What contenders are measured with. Every answer is verified: status, length and content; nothing
//! is measured that does not work.

pub mod client;
pub mod idle;
pub mod paths;
pub mod requests;
pub mod steady;
pub mod tunnels;
