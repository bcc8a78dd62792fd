//! What contenders are measured with. Every answer is verified: status, length and content; nothing
//! is measured that does not work.

pub mod adverts;
pub mod client;
pub mod dial;
pub mod idle;
pub mod knocks;
pub mod paths;
pub mod requests;
pub mod steady;
pub mod tunnels;
