//! Where copies of access logs go.

use super::Context;
use crate::{
    document::log::{LogFormat, LogTarget},
    schema::log as schema,
};

/// Those of a balancer.
pub(super) fn of_balancer(
    context: &mut Context,
    written: Vec<schema::LogTarget>,
) -> Vec<LogTarget> {
    let targets = written.into_iter().map(|it| it.compile("shoal-balancer", LogFormat::Httplog));
    let targets: Vec<_> = targets.collect();
    for (index, target) in targets.iter().enumerate() {
        if target.format == LogFormat::Squid {
            context.error(
                &format!("log_targets/{index}/format"),
                "Squid's format is of proxy-nodes",
                "write httplog, json, or HAProxy's variables",
            );
        }
    }
    targets
}

/// Those of a proxy-node, whose access log is `off` or not.
pub(super) fn of_node(
    context: &mut Context,
    written: Vec<schema::LogTarget>,
    off: bool,
) -> Vec<LogTarget> {
    if off && !written.is_empty() {
        context.error(
            "log_targets",
            "there is no access log to copy",
            "remove log_targets, or `format: off` of access_log",
        );
    }
    let targets = written.into_iter().map(|it| it.compile("shoal-proxy-node", LogFormat::Squid));
    let targets: Vec<_> = targets.collect();
    for (index, target) in targets.iter().enumerate() {
        let place = format!("log_targets/{index}/format");
        match &target.format {
            LogFormat::Httplog => context.error(
                &place,
                "HAProxy's format is of balancers",
                "write squid, json, or those of HAProxy's variables that a proxy-node has",
            ),
            LogFormat::Custom(template) => {
                if let Some(name) = template.unknown_to_nodes() {
                    context.error(
                        &place,
                        format!("a proxy-node has no `%{name}`"),
                        "it has %ci %si %t %tr %T %Tl %Ts %ms %Ta %Tt %ST %B %HM %HU %HP %HPO %HQ \
                         %ID %H %pid",
                    );
                }
            }
            LogFormat::Json | LogFormat::Squid => {}
        }
    }
    targets
}
