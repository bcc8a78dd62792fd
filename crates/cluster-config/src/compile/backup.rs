//! Section `backup` into the document of a backup-service.

use super::Context;
use crate::document::{BackupDocument, backup as document};
use crate::schema::backup::{Backup, Keep};

/// The document, unless something is wrong.
pub fn compile(context: &mut Context) -> Option<BackupDocument> {
    let section: Backup = context.read()?;
    if section.stores.is_empty() {
        context.error(
            "stores",
            "backups without a store go nowhere",
            "name one, as in {url: \"file:backups\"}",
        );
    }
    context.unique("store", section.stores.iter().map(|store| store.url.value.as_str()), |index| {
        format!("stores/{index}/url")
    });
    let keep = section.keep.as_ref().map(keep);
    if keep == Some(document::Keep::default()) {
        context.error(
            "keep",
            "this keeps no backup at all",
            "keep at least one, as in {daily: 7}, or remove `keep` to keep everything",
        );
    }
    let plan = document::Plan {
        schedule: section.schedule.value,
        time_zone: section.time_zone.map_or_else(|| "UTC".to_owned(), |zone| zone.value),
        keep,
        stores: section.stores.into_iter().map(|store| store.url.value).collect(),
    };
    Some(BackupDocument { plan: Some(plan) })
}

fn keep(written: &Keep) -> document::Keep {
    let count = |given: Option<u16>| given.unwrap_or(0);
    document::Keep {
        daily: count(written.daily),
        weekly: count(written.weekly),
        monthly: count(written.monthly),
    }
}
