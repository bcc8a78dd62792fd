//! The chassis over real sockets: real processes of it (in threads), real certificates, and doubles
//! of the registry and the config-service that can also misbehave.

mod calls;
mod config_double;
mod configuration;
mod drain;
mod membership;
mod refusals;
mod registration;
mod registry_double;
mod signals;
mod support;
