//! Servers that do worse than the others of their backend.

use super::{super::Context, backend::positive};
use crate::{document::balancer as document, schema::balancer as schema};

pub(super) fn compile(
    context: &mut Context,
    written: Option<schema::OutlierEjection>,
    path: &str,
) -> Option<document::OutlierEjection> {
    let path = format!("{path}/outlier_ejection");
    let ejection: document::OutlierEjection = written?.into();
    positive(context, ejection.interval, &format!("{path}/interval"));
    positive(context, ejection.base_ejection_time, &format!("{path}/base_ejection_time"));
    if ejection.max_ejection_time < ejection.base_ejection_time {
        context.error(
            &format!("{path}/max_ejection_time"),
            "it is shorter than the first ejection",
            "make it at least as long as base_ejection_time",
        );
    }
    if ejection.failure_percent == 0 && ejection.latency_factor == 0 {
        context.error(
            &path,
            "nothing is compared: failure_percent and latency_factor are both 0",
            "say one of them, or remove outlier_ejection",
        );
    }
    if ejection.latency_factor == 1 {
        context.error(
            &format!("{path}/latency_factor"),
            "every second server is slower than the median",
            "write 2 or more, or 0 for no comparison of times",
        );
    }
    Some(ejection)
}
