//! Bundles that are in use, ready for rendering.

use crate::revision::Name;
use crate::store::{Error, Store, unreadable};
use cluster::{Service, instance::UnknownService};
use cluster_config::{Bundle, Place, Problem, Rendered, Variables, render};
use std::{collections::BTreeMap, sync::Arc};

/// The released one, the candidate, and some that nodes go back to.
const MOST: usize = 8;

/// Bundles by the id of their revision.
#[derive(Debug, Default)]
pub struct Library {
    bundles: BTreeMap<String, Arc<Bundle>>,
}

impl Library {
    /// The bundle of a revision.
    ///
    /// # Errors
    /// When the store fails, or holds a bundle that this version cannot read.
    pub async fn get(&mut self, store: &Store, id: &str) -> Result<Arc<Bundle>, Error> {
        if let Some(bundle) = self.bundles.get(id) {
            return Ok(Arc::clone(bundle));
        }
        let revision = store.find(&Name::Id(id.to_owned())).await?;
        let (main, files) = store.main(&revision).await?;
        let bundle = Bundle::reopen(&main, files)
            .ok_or_else(|| unreadable(format!("the bundle of revision {id}")))?;
        let bundle = Arc::new(bundle);
        if self.bundles.len() >= MOST {
            self.bundles.clear();
        }
        self.bundles.insert(id.to_owned(), Arc::clone(&bundle));
        Ok(bundle)
    }
}

/// What a revision is for one node.
///
/// # Errors
/// Why it cannot be rendered there.
pub fn render_for(
    bundle: &Bundle,
    service: &str,
    variables: &Variables,
) -> Result<Arc<Rendered>, Vec<Problem>> {
    let unknown = |error: UnknownService| {
        vec![Problem::error(
            Place::default(),
            error.to_string(),
            "subscribe as a service of the cluster",
        )]
    };
    let service: Service = service.parse().map_err(unknown)?;
    render(bundle, service, variables).map(Arc::new)
}
