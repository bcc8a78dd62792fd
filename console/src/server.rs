//! The HTTP port: everything between a browser and the pages.
//!
//! Reading order, the way of a request: [`listen`] accepts it ([`tls`] for https), [`gate`] says
//! who it is and whether they may look, [`pages`] show, [`live`] follows, [`login`] and [`operate`]
//! change; [`error`] is the only table from errors to answers, [`assets`] are the script and the
//! style sheet.

pub mod assets;
pub mod error;
pub mod gate;
pub mod listen;
pub mod live;
pub mod login;
pub mod operate;
pub mod pages;
#[cfg(test)]
mod tests;
pub mod tls;

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use chassis::{Clock, StopSignal};
use futures::future::BoxFuture;
use jiff::Timestamp;
use proto::registry::SetAdminStateRequest;
use tokio::sync::Semaphore;

use crate::{
    auth::{
        attempts::Attempts,
        sessions::{Session, Sessions},
        users::Users,
    },
    configuration::{FileDifference, Revision},
    explain::{self, Explanation, Question},
    gather::{
        Board,
        ask::{self, Others},
    },
    options::Rules,
    page::{self, Region},
    view::View,
};

/// Pages that may follow at once.
pub const MOST_VIEWERS: usize = 64;
/// Questions of people that are open at once.
const QUESTIONS: usize = 4;
/// Passwords that are hashed at once: each takes 19 MiB and a processor.
const HASHING: usize = 2;

/// The cluster, as far as people ask or change it through the page.
pub trait Cluster: Send + Sync {
    /// Sets an admin state in the name of a person.
    fn set_admin_state<'a>(
        &'a self,
        operator: &'a str,
        request: SetAdminStateRequest,
    ) -> BoxFuture<'a, Result<(), ask::Error>>;
    /// One revision and what it changed.
    fn revision<'a>(
        &'a self,
        id: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Vec<FileDifference>), ask::Error>>;
    /// What would happen to a request.
    fn explain<'a>(&'a self, view: &'a View, question: &'a Question) -> BoxFuture<'a, Explanation>;
}

impl Cluster for Others {
    fn set_admin_state<'a>(
        &'a self,
        operator: &'a str,
        request: SetAdminStateRequest,
    ) -> BoxFuture<'a, Result<(), ask::Error>> {
        Box::pin(Others::set_admin_state(self, operator, request))
    }

    fn revision<'a>(
        &'a self,
        id: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Vec<FileDifference>), ask::Error>> {
        Box::pin(Others::revision(self, id))
    }

    fn explain<'a>(&'a self, view: &'a View, question: &'a Question) -> BoxFuture<'a, Explanation> {
        Box::pin(explain::ask(self, view, question))
    }
}

/// The overview of one view.
struct Rendered {
    of: Arc<View>,
    regions: Arc<Vec<Region>>,
}

/// What every request needs.
pub struct Console {
    board: Board,
    cluster: Arc<dyn Cluster>,
    users: Users,
    rules: Rules,
    clock: Clock,
    closing: StopSignal,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
    viewers: Arc<Semaphore>,
    questions: Semaphore,
    hashing: Semaphore,
    overview: Mutex<Option<Rendered>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    /// Everything but the port.
    #[must_use]
    pub fn new(
        board: Board,
        cluster: Arc<dyn Cluster>,
        users: Users,
        rules: Rules,
        clock: Clock,
        closing: StopSignal,
    ) -> Self {
        Self {
            board,
            cluster,
            users,
            rules,
            clock,
            closing,
            sessions: Mutex::default(),
            attempts: Mutex::default(),
            viewers: Arc::new(Semaphore::new(MOST_VIEWERS)),
            questions: Semaphore::new(QUESTIONS),
            hashing: Semaphore::new(HASHING),
            overview: Mutex::default(),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The session of a cookie, if its user is still in the file with the same password.
    fn session(&self, cookie: &str, uses: bool) -> Option<Session> {
        let now = self.now();
        let session = if uses {
            lock(&self.sessions).find(cookie, now)
        } else {
            lock(&self.sessions).look(cookie, now)
        }?;
        if self.users.hash_of(&session.operator).as_ref() == Some(&session.hash) {
            return Some(session);
        }
        lock(&self.sessions).close(cookie);
        None
    }

    /// The overview's regions for a view: rendered once, however many look.
    fn overview(&self, view: &Arc<View>) -> Arc<Vec<Region>> {
        let mut rendered = lock(&self.overview);
        if let Some(before) = rendered.as_ref().filter(|before| Arc::ptr_eq(&before.of, view)) {
            return Arc::clone(&before.regions);
        }
        let regions = Arc::new(page::overview::regions(view));
        *rendered = Some(Rendered { of: Arc::clone(view), regions: Arc::clone(&regions) });
        regions
    }
}

/// All routes, behind the gate.
pub fn router(console: Arc<Console>, patience: listen::Patience) -> Router {
    let own_page = || middleware::from_fn_with_state(patience, gate::own_page);
    Router::new()
        .route("/", get(pages::overview))
        .route("/instances/{name}", get(pages::instance))
        .route("/instances/{name}/admin-state", post(operate::admin_state).route_layer(own_page()))
        .route("/revisions/{id}", get(pages::revision))
        .route("/explain", get(pages::explain))
        .route("/explain/answer", get(pages::explained))
        .route("/live", get(live::live))
        .route("/login", get(pages::login).merge(post(login::login).route_layer(own_page())))
        .route("/logout", post(login::logout).route_layer(own_page()))
        .route("/favicon.svg", get(assets::icon))
        .route("/assets/{file}", get(assets::file))
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&console), gate::gate))
        .with_state(console)
}
