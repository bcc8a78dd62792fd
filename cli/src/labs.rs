//! The labs of this machine: where they are, whether they run, and what runs in them. `shoal lab`
//! writes this; the other commands read it to find the cluster that they speak to.

pub mod description;
pub mod directory;
