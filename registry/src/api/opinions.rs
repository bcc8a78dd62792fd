//! ReportOpinions: a checker speaks for itself alone.

use chassis::Peer;
use cluster::Opinion;
use proto::registry as pb;
use tonic::{Request, Status};

use super::{Api, refuse};
use crate::command::{Command, Outcome};

/// The most opinions in one report.
const MAX_REPORT: usize = 10_000;

pub(super) async fn report(
    api: &Api,
    request: Request<pb::ReportOpinionsRequest>,
) -> Result<pb::ReportOpinionsResponse, Status> {
    let peer = Peer::of(&request);
    let messages = request.into_inner().opinions;
    if messages.len() > MAX_REPORT {
        return Err(refuse::invalid(
            "opinions",
            format!("{} opinions: {MAX_REPORT} are the most in one report", messages.len()),
        ));
    }
    let read = |message| {
        Opinion::try_from(message).map_err(|problem| refuse::invalid("opinions", problem))
    };
    let opinions = messages.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    for opinion in &opinions {
        speaks_for_itself(&peer, &opinion.checker)?;
    }
    let answer = api
        .handle
        .apply(Command::Report { opinions })
        .await
        .map_err(|failed| refuse::failed(&failed))?;
    let unknown =
        if let Outcome::Reported { unknown } = answer.outcome { unknown } else { Vec::new() };
    Ok(pb::ReportOpinionsResponse {
        unknown_target_ids: unknown.iter().map(ToString::to_string).collect(),
    })
}

/// Verdicts count distinct checkers, so that a checker may have one name only: its certificate's,
/// and not `<that>-…` as well.
fn speaks_for_itself(peer: &Peer, checker: &str) -> Result<(), Status> {
    match &peer.identity {
        Some(identity) if identity.name != checker => Err(refuse::denied(
            "WRONG_CHECKER",
            format!(
                "{peer} may not report as {checker:?}: every checker needs a certificate of its \
                 own name (shoal pki issue)"
            ),
        )),
        _ => Ok(()),
    }
}
