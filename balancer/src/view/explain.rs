//! Which server a request would get now, and which after it. The plan that decides for live requests decides here too ([`crate::pick`]), from a
//! state of its own, so that asking takes nobody's turn.

use std::sync::Arc;

use crate::{
    pick::Picker,
    snapshot::{Pool, Snapshot},
    standing::Standing,
};

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration in force has no such frontend.
    #[error("there is no frontend {0:?}")]
    NoFrontend(String),
    /// The roster has not taken up the configuration yet.
    #[error("the configuration is being applied; try again")]
    NotYet,
}

/// What would happen to a request.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The frontend that it comes to.
    pub frontend: String,
    /// The backend that it goes to, with all of its servers.
    pub pool: Arc<Pool>,
    /// The servers, by their index in the pool, in the order in which one request would try them.
    pub order: Vec<usize>,
}

impl Explanation {
    /// Servers that get nothing.
    pub fn excluded(&self) -> impl Iterator<Item = usize> {
        let excluded = |index: &usize| self.pool.servers[*index].judgement.standing == Standing::Excluded;
        (0..self.pool.servers.len()).filter(excluded)
    }
}

/// Explains a request to the frontend of that name; empty: the first.
///
/// # Errors
/// There is no such frontend, or it is not open yet.
pub fn explain(snapshot: &Snapshot, frontend: &str) -> Result<Explanation, Error> {
    let frontends = &snapshot.generation.document.frontends;
    let settings = frontends.iter().find(|it| frontend.is_empty() || it.name == frontend);
    let settings = settings.ok_or_else(|| Error::NoFrontend(frontend.to_owned()))?;
    let pool = snapshot.pool(&settings.backend).ok_or(Error::NotYet)?;
    let order = Picker::default().order(&pool.candidates);
    Ok(Explanation { frontend: settings.name.clone(), pool: Arc::clone(pool), order })
}
