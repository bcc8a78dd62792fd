//! What a purge is, as messages say it.

use proto::purge::{self as pb, purge::Scope as Asked};

use crate::cache::purge::{Mode, Purge, Scope, Unusable};

/// What a message asks for.
///
/// # Errors
/// It makes no sense.
pub fn read(message: &pb::Purge) -> Result<Purge, Unusable> {
    let scope = match &message.scope {
        Some(Asked::Url(url)) => Scope::url(url),
        Some(Asked::Prefix(prefix)) => Scope::prefix(prefix),
        Some(Asked::Host(host)) => Scope::host(host),
        Some(Asked::Tag(tag)) => Scope::tag(tag),
        Some(Asked::Regex(regex)) => Scope::regex(regex),
        Some(Asked::Everything(true)) => Ok(Scope::Everything),
        Some(Asked::Everything(false)) | None => Err(Unusable::Nothing),
    }?;
    let mode = if message.soft { Mode::Soft } else { Mode::Hard };
    Ok(Purge { scope, mode })
}
