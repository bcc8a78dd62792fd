//! How long are the certificates good for?

use chassis::certificate::Certificate;
use jiff::{SignedDuration, Timestamp};

use crate::doctor::{
    facts::{Facts, Process},
    finding::{
        Finding,
        Severity::{self, Critical, Warning},
    },
};

const CHECK: &str = "certificates";
/// Renewing may take somebody so long; for certificates with short lives, a quarter of it.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// So little is left that it cannot wait.
const VERY_SOON: SignedDuration = SignedDuration::from_hours(2 * 24);

/// Of every process, of the operator, and of the authority.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let (dir, place) = match &facts.pki {
        Some(dir) => (dir.as_str(), "it is taken up without a restart"),
        None => ("DIR", "DIR holds ca.key; it is taken up without a restart"),
    };
    let renew = |name: &str| format!("`shoal pki renew {name} --dir {dir}`: {place}");
    for process in &facts.processes {
        let remedy = renew(&process.name);
        match &process.certificate {
            Ok(Some(certificate)) => found.extend(judge(
                facts.now,
                certificate,
                &process.name,
                "its certificate",
                &remedy,
            )),
            Ok(None) => {
                let remedy = "remove --insecure-plaintext and give it --ca, --cert and --key";
                found.push(Finding::new(
                    Critical,
                    CHECK,
                    &process.name,
                    "it speaks gRPC without TLS and believes everybody",
                    remedy,
                ));
            }
            // A process that does not answer at all is another finding.
            Err(_) if process.grpc.is_err() => {}
            Err(why) => found.push(Finding::new(
                Warning,
                CHECK,
                &process.name,
                format!("its certificate cannot be seen: {why}"),
                remedy,
            )),
        }
    }
    found.extend(facts.processes.iter().flat_map(|process| frontends(facts.now, process)));
    match &facts.operator {
        Ok(certificate) => found.extend(judge(
            facts.now,
            certificate,
            "operator",
            "your certificate",
            &renew(certificate.identity.as_ref().map_or("NAME", |identity| &identity.name)),
        )),
        Err(why) => found.push(Finding::new(
            Critical,
            CHECK,
            "operator",
            why.clone(),
            "give --cert and --key of a valid operator certificate",
        )),
    }
    match &facts.authorities {
        Ok(all) => {
            // While an authority is being replaced there are two: as long as the newest is good,
            // the others may end.
            let remedy = "make a new authority and give every process both: old and new in one \
                --ca file, then new certificates";
            let newest = all.iter().max_by_key(|it| it.not_after);
            found.extend(newest.and_then(|it| {
                judge(facts.now, it, "authority", "the authority's certificate", remedy)
            }));
        }
        Err(why) => found.push(Finding::new(
            Critical,
            CHECK,
            "authority",
            why.clone(),
            "give the --ca file of this cluster",
        )),
    }
    found
}

/// What clients are shown at the frontends of a balancer.
fn frontends(now: Timestamp, process: &Process) -> Vec<Finding> {
    let Ok(metrics) = &process.metrics else { return Vec::new() };
    let mut found = Vec::new();
    let mut finding = |severity, text: String, remedy: &str| {
        found.push(Finding::new(severity, CHECK, &process.name, text, remedy));
    };
    for (frontend, ends) in metrics.by(balancer::metrics::CERTIFICATE_ENDS, "frontend") {
        #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
        let Ok(ends) = Timestamp::from_second(ends as i64) else { continue };
        let left = ends.duration_since(now);
        let renew = "put a new certificate and key into its files (balancer.frontends[].tls): they \
            are shown within seconds";
        if left <= SignedDuration::ZERO {
            let text = format!("a certificate that frontend {frontend} shows expired at {ends}");
            finding(Critical, text, renew);
        } else if left < SOON {
            let text =
                format!("a certificate that frontend {frontend} shows expires in {}", span(left));
            finding(Warning, text, renew);
        }
    }
    for (frontend, unusable) in metrics.by(balancer::metrics::CERTIFICATE_UNUSABLE, "frontend") {
        if unusable > 0.0 {
            finding(
                Warning,
                format!(
                    "the certificates in the files of frontend {frontend} cannot be used: those \
                     before are shown on"
                ),
                "its log says why: mend the files, and they are taken up within seconds",
            );
        }
    }
    found
}

fn judge(
    now: Timestamp,
    certificate: &Certificate,
    subject: &str,
    what: &str,
    remedy: &str,
) -> Option<Finding> {
    let finding = |severity: Severity, text: String| {
        Some(Finding::new(severity, CHECK, subject, format!("{what} {text}"), remedy))
    };
    let (left, whole) = (
        certificate.not_after.duration_since(now),
        certificate.not_after.duration_since(certificate.not_before),
    );
    if left <= SignedDuration::ZERO {
        finding(Critical, format!("expired at {}", certificate.not_after))
    } else if certificate.not_before > now {
        finding(
            Critical,
            format!("is not valid before {}: one of the clocks is wrong", certificate.not_before),
        )
    } else if left < VERY_SOON.min(whole / 16) {
        finding(Critical, format!("expires in {}", span(left)))
    } else if left < SOON.min(whole / 4) {
        finding(Warning, format!("expires in {}", span(left)))
    } else {
        None
    }
}

fn span(left: SignedDuration) -> String {
    match left.as_hours() {
        0 => format!("{} min", left.as_mins()),
        hours @ 1..72 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use chassis::scrape::Metrics;
    use cluster::Service;

    use super::*;
    use crate::doctor::facts::tests::{certificate, facts, process};

    fn found(change: impl FnOnce(&mut Facts)) -> Vec<(Severity, String)> {
        let mut facts = facts(vec![process(Service::ProxyNode, "n-1")]);
        change(&mut facts);
        check(&facts)
            .into_iter()
            .map(|it| (it.severity, format!("{}: {}", it.subjects.join(","), it.finding)))
            .collect()
    }

    #[test]
    fn table() {
        let of_node = |left, whole| {
            found(|it| it.processes[0].certificate = Ok(Some(certificate(left, whole))))
        };
        let is = |severity, text: &str| vec![(severity, text.to_owned())];
        assert!(of_node(15, 365).is_empty());
        assert_eq!(of_node(13, 365), is(Warning, "n-1: its certificate expires in 13 days"));
        assert_eq!(of_node(1, 365), is(Critical, "n-1: its certificate expires in 24 h"));
        assert_eq!(of_node(0, 365)[0].0, Critical);
        assert!(of_node(-1, 365)[0].1.contains("expired at"));
        assert!(of_node(10, 30).is_empty(), "a third of a short life is no reason to hurry");
        assert_eq!(of_node(7, 30), is(Warning, "n-1: its certificate expires in 7 days"));
        assert!(of_node(400, 300)[0].1.contains("not valid before"));
        assert_eq!(found(|it| it.processes[0].certificate = Ok(None))[0].0, Critical);
        let unseen = |it: &mut Facts| it.processes[0].certificate = Err("reset".into());
        assert_eq!(found(unseen), is(Warning, "n-1: its certificate cannot be seen: reset"));
        let dead = |it: &mut Facts| {
            unseen(it);
            it.processes[0].grpc = Err("reset".into());
        };
        assert!(found(dead).is_empty(), "said elsewhere");
        assert_eq!(
            found(|it| it.operator = Ok(certificate(3, 365))),
            is(Warning, "operator: your certificate expires in 3 days")
        );
        assert_eq!(
            found(|it| it.operator = Err("unreadable".into())),
            is(Critical, "operator: unreadable")
        );
        assert_eq!(
            found(|it| it.authorities = Ok(vec![certificate(3, 3650)])),
            is(Warning, "authority: the authority's certificate expires in 3 days")
        );
        assert!(
            found(|it| it.authorities = Ok(vec![certificate(-3, 3650), certificate(900, 3650)]))
                .is_empty()
        );
        assert_eq!(found(|it| it.authorities = Err("gone".into()))[0].0, Critical);
    }

    #[test]
    fn what_frontends_show() {
        let of = |name: &'static str, value: i64| {
            found(|it| {
                let text = format!("{name}{{frontend=\"f\"}} {value}\n");
                it.processes[0].metrics = Ok(Metrics::parse(&text));
            })
        };
        let now = facts(Vec::new()).now.as_second();
        let ends = |days: i64| of(balancer::metrics::CERTIFICATE_ENDS, now + days * 86_400);
        assert_eq!(ends(15), []);
        let said = "n-1: a certificate that frontend f shows expires in 13 days";
        assert_eq!(ends(13), [(Warning, said.to_owned())]);
        let expired = ends(-1);
        assert_eq!(expired[0].0, Critical);
        assert!(expired[0].1.contains("shows expired at"), "{expired:?}");
        assert_eq!(of(balancer::metrics::CERTIFICATE_UNUSABLE, 0), []);
        assert_eq!(of(balancer::metrics::CERTIFICATE_UNUSABLE, 1)[0].0, Warning);
    }
}
