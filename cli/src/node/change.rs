//! `shoal node drain|enable|disable|weight|accept-losses|remove`: what operators want of an
//! instance.

use anyhow::{Result, anyhow, bail};
use clap::Args;
use cluster::{InstanceStatus, Service, leaving};
use proto::registry::{AdminState, RemoveInstanceRequest, SetAdminStateRequest};
use serde::Serialize;
use tonic::{Code, Status};

use crate::{
    cluster::{ANSWER, Cluster, call, failed, silent, unknown},
    output::{self, Format, View},
    status::{balancers, shunned, state_name},
};

/// Of whom something is wanted, and why.
#[derive(Args)]
pub struct Named {
    /// Name of the instance
    name: String,
    /// Why; goes into the audit record
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    format: Format,
}

/// The same for what may take an instance out.
#[derive(Args)]
pub struct Leaving {
    #[command(flatten)]
    named: Named,
    /// Do it although no usable instance would be left, so that clients get errors
    #[arg(long)]
    force: bool,
}

/// # Errors
/// The registry refuses or does not answer; it would be the last that serves clients.
pub async fn drain(cluster: &Cluster, leaving: Leaving) -> Result<()> {
    leave(cluster, leaving, |request| request.set_admin_state(AdminState::Drain)).await
}

/// # Errors
/// As [`drain`].
pub async fn disable(cluster: &Cluster, leaving: Leaving) -> Result<()> {
    leave(cluster, leaving, |request| request.set_admin_state(AdminState::Maintenance)).await
}

/// # Errors
/// The registry refuses or does not answer.
pub async fn enable(cluster: &Cluster, named: Named) -> Result<()> {
    let Named { name, reason, format } = named;
    let request = SetAdminStateRequest {
        name,
        reason,
        admin_state: AdminState::Ready.into(),
        ..Default::default()
    };
    change(cluster, request, format).await
}

/// # Errors
/// As [`drain`], for a weight of 0.
pub async fn weigh(cluster: &Cluster, leaving: Leaving, weight: Option<u32>) -> Result<()> {
    let wish = |request: &mut SetAdminStateRequest| {
        (request.weight, request.reset_weight) = (weight, weight.is_none())
    };
    if weight == Some(0) {
        return leave(cluster, leaving, wish).await;
    }
    let Leaving { named: Named { name, reason, format }, .. } = leaving;
    let mut request = SetAdminStateRequest { name, reason, ..Default::default() };
    wish(&mut request);
    change(cluster, request, format).await
}

async fn leave(
    cluster: &Cluster,
    leaving: Leaving,
    wish: impl FnOnce(&mut SetAdminStateRequest),
) -> Result<()> {
    let Leaving { named: Named { name, reason, format }, force } = leaving;
    if !force {
        last_by_balancers(cluster, &name).await?;
    }
    let mut request = SetAdminStateRequest { name, reason, force, ..Default::default() };
    wish(&mut request);
    change(cluster, request, format).await
}

/// The registry refuses to take out the last one that it finds usable. Balancers may know that
/// fewer are.
async fn last_by_balancers(cluster: &Cluster, name: &str) -> Result<()> {
    let listing = cluster.listing().await.map_err(|error| unasked(name, &error))?;
    let stats = balancers(cluster, &listing.instances).await;
    let told = || stats.iter().map(|(_, stats)| stats);
    let used =
        listing.instances.iter().filter(|status| shunned(told(), &status.instance.name).is_none());
    let Some(status) = listing.instances.iter().find(|status| status.instance.name == name) else {
        return Ok(());
    };
    if leaving::is_last(used, name) {
        let warning = leaving::warning(name, status.instance.service);
        bail!("nothing was changed: {warning}; enable or start another first, or give --force");
    }
    Ok(())
}

#[derive(Serialize)]
struct Accepted {
    accepted_losses_of: Service,
}

impl View for Accepted {
    fn text(&self) -> String {
        format!("losses of {} are believed; see `shoal status`", self.accepted_losses_of)
    }
}

/// # Errors
/// The registry refuses or does not answer.
pub async fn accept_losses(cluster: &Cluster, service: Service, format: Format) -> Result<()> {
    let request = SetAdminStateRequest { accept_losses: service.to_string(), ..Default::default() };
    call("the registry", cluster.registry().set_admin_state(request)).await?;
    cluster.show(&Accepted { accepted_losses_of: service }, format)
}

#[derive(Serialize)]
struct Removed {
    name: String,
    was_listed: bool,
}

impl View for Removed {
    fn text(&self) -> String {
        let name = &self.name;
        let text = match self.was_listed {
            true => format!("{name} is off the list, and nothing is wanted of it any more"),
            false => format!("{name} was not listed; what was wanted of its name is forgotten"),
        };
        output::fitted(&text, "  ")
    }
}

/// # Errors
/// It still keeps its lease, nobody knows it, or the registry does not answer.
pub async fn remove(cluster: &Cluster, named: Named) -> Result<()> {
    let Named { name, reason, format } = named;
    let request = RemoveInstanceRequest { name: name.clone(), reason };
    let mut registry = cluster.registry();
    let was_listed = asked(cluster, &name, registry.remove_instance(request)).await?.was_listed;
    cluster.show(&Removed { name, was_listed }, format)
}

/// How the instance stands after a change.
#[derive(Serialize)]
struct Changed {
    name: String,
    state: &'static str,
    weight: u32,
    reasons: Vec<String>,
}

impl View for Changed {
    fn text(&self) -> String {
        let reasons = if self.reasons.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.reasons.join("; "))
        };
        output::fitted(
            &format!("{} is {}{reasons}, weight {}", self.name, self.state, self.weight),
            "  ",
        )
    }
}

async fn change(cluster: &Cluster, request: SetAdminStateRequest, format: Format) -> Result<()> {
    let name = request.name.clone();
    let mut registry = cluster.registry();
    let status =
        asked(cluster, &name, registry.set_admin_state(request)).await?.status.unwrap_or_default();
    let status = InstanceStatus::try_from(status)?;
    let changed = Changed {
        name,
        state: state_name(status.state),
        weight: status.effective_weight,
        reasons: status.reasons,
    };
    cluster.show(&changed, format)
}

/// Waits for the registry's answer, and says what its absence means.
async fn asked<T>(
    cluster: &Cluster,
    name: &str,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout(ANSWER, answer)
        .await
        .map_err(|_| unasked(name, &silent("the registry")))?
    {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if status.code() == Code::NotFound => Err(nobody(cluster, name).await),
        Err(status) => match failed("the registry", &status) {
            error if is_away(&status) => Err(unasked(name, &error)),
            error => Err(error),
        },
    }
}

/// Whether the registry was not asked at all, as far as can be known here: a refusal of its own,
/// such as for a full disk, has details.
fn is_away(status: &Status) -> bool {
    let silent = matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled
    );
    silent && status.details().is_empty()
}

/// The failure of a change that only the registry can make.
fn unasked(name: &str, why: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "nothing is known to have changed for {name}: {why:#}. Only the registry changes admin \
         states and weights; start it again (traffic flows \
         without it) and repeat the command"
    )
}

async fn nobody(cluster: &Cluster, name: &str) -> anyhow::Error {
    let instances = cluster.listing().await.unwrap_or_default().instances;
    let known: Vec<_> = instances.iter().map(|status| status.instance.name.as_str()).collect();
    unknown("instance", name, &known)
}
