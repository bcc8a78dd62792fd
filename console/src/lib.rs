//! The console: the cluster on a web page, for people who look rather than type.
//!
//! It holds no state of the cluster's and has no API of its own: it asks the other services over
//! gRPC, as any other process, and what it may change (admin states, for people who have logged in)
//! goes to the registry, whose audit record names the person.
//!
//! Reading order. What is known: [`gather`] asks everybody and publishes a [`view`] made of
//! [`traffic`], [`configuration`] and [`history`]; what happened between two of them are
//! [`events`]. How it looks: [`picture`] and [`page`], with [`look`] and [`words`]; all of it pure.
//! How it gets to people: [`server`] is the HTTP port, [`auth`] says who may do more than look,
//! [`explain`] answers what would happen to a request.

pub mod auth;
pub mod configuration;
pub mod events;
pub mod explain;
pub mod gather;
pub mod history;
pub mod look;
pub mod metrics;
pub mod options;
pub mod page;
pub mod picture;
#[cfg(test)]
mod sample;
pub mod server;
pub mod traffic;
pub mod view;
pub mod words;

use std::sync::Arc;

use chassis::{Error, Policy, Process};

pub use options::Options;

/// The console serves nothing over gRPC but health and reflection.
pub static POLICY: Policy = Policy::new(&[]);

/// Runs until it is asked to stop and has drained.
///
/// # Errors
/// What kept it from starting or serving, with the remedy.
pub fn run(options: Options) -> Result<(), Error> {
    chassis::run("console", &options.chassis.clone(), move |process| async move {
        serve(process, options).await
    })
}

async fn serve(process: Process, options: Options) -> Result<(), Error> {
    metrics::describe();
    let tls = server::tls::Certificate::read(&options)?;
    let users = auth::users::Users::open(options.users.clone())?;
    let listener = process.ports.bind("console", options.console)?;
    let rules = options
        .rules(listener.local_addr().map_or(options.console, |address| address), tls.is_some());
    if let Some(warning) = rules.warning() {
        tracing::warn!("{warning}");
    } else if users.is_empty() {
        tracing::info!(
            "nobody can log in yet: `shoal console passwd NAME` makes a password, in the file that \
             --users names"
        );
    }
    let board = gather::Board::default();
    let others = Arc::new(gather::ask::Others::new(process.network.clone()));
    let (clock, closing) = (process.clock.clone(), process.lifecycle.closing());
    let (asked, membership, published) =
        (Arc::clone(&others), process.network.membership(), board.clone());
    let (time, stop) = (clock.clone(), closing.clone());
    process.tasks.spawn("gather", move || {
        gather::run(
            Arc::clone(&asked),
            membership.clone(),
            published.clone(),
            time.clone(),
            stop.clone(),
        )
    });
    if let Some(certificate) = &tls {
        let certificate = certificate.clone();
        process.tasks.spawn("console-certificate", move || {
            certificate.clone().follow(server::tls::LOOK_EVERY)
        });
    }
    let console =
        Arc::new(server::Console::new(board, others, users, rules, clock, closing.clone()));
    let patience = server::listen::Patience::default();
    let serving =
        server::listen::serve(listener, tls, server::router(console, patience), closing, patience)?;
    process.serve_grpc(tonic::service::Routes::default(), &POLICY)?;
    process.serve_admin(axum::Router::new())?;
    process.register();
    process.set_ready(true);
    process
        .drain(async move {
            // Whoever looks is told by the end of their stream; nothing of theirs is under way.
            drop(serving.await);
        })
        .await
}
