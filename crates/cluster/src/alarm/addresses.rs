//! Addresses that move between balancers: each has one holder. Pure.

use super::{Alarm, Severity};

/// One instance of VRRP, as one balancer sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The instance, as the bundle names it.
    pub instance: String,
    /// Who sees it so.
    pub balancer: String,
    /// With their prefix.
    pub addresses: Vec<String>,
    /// What that balancer does.
    pub role: Role,
    /// Why it takes no part; the master that a backup hears.
    pub word: String,
    /// It has been so for a while: an election takes a moment.
    pub is_settled: bool,
}

/// What a balancer does in an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It holds the addresses.
    Master,
    /// Another one does, as far as it knows.
    Backup,
    /// It takes no part.
    #[default]
    Fault,
}

impl Role {
    /// As `shoal status` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Backup => "backup",
            Self::Fault => "fault",
        }
    }
}

/// What is wrong with who holds which.
pub(super) fn alarms(holders: &[Holder]) -> Vec<Alarm> {
    let mut instances: Vec<&str> = holders.iter().map(|it| it.instance.as_str()).collect();
    instances.sort_unstable();
    instances.dedup();
    let of = |name: &str| holders.iter().filter(|it| it.instance == name).collect::<Vec<_>>();
    instances.into_iter().flat_map(|name| of_instance(name, &of(name))).collect()
}

fn of_instance(name: &str, all: &[&Holder]) -> Vec<Alarm> {
    let names = |of: &[&&Holder]| of.iter().map(|it| it.balancer.clone()).collect::<Vec<_>>();
    let masters: Vec<_> = all.iter().filter(|it| it.role == Role::Master).collect();
    let addresses = all.first().map(|it| it.addresses.join(" ")).unwrap_or_default();
    let mut found = Vec::new();
    if masters.len() > 1 && masters.iter().all(|it| it.is_settled) {
        let subjects = names(&masters);
        found.push(Alarm {
            severity: Severity::Critical,
            text: format!(
                "{} hold the addresses of {name} ({addresses}) at the same time: clients reach \
                 either",
                subjects.join(" and ")
            ),
            subjects,
            remedy: "they do not hear each other: see that VRRP (protocol 112) passes between \
                their interfaces, and docs/virtual-address.md"
                .to_owned(),
        });
    }
    // Somebody else, such as a keepalived, may hold them.
    let heard = all.iter().any(|it| it.role == Role::Backup && !it.word.is_empty());
    if masters.is_empty() && !heard && all.iter().all(|it| it.is_settled) {
        found.push(Alarm {
            severity: Severity::Critical,
            subjects: names(&all.iter().collect::<Vec<_>>()),
            text: format!("nobody holds the addresses of {name} ({addresses})"),
            remedy: "see why in `shoal status`: a balancer without raw sockets, its interface or \
                a usable server takes no part"
                .to_owned(),
        });
    } else {
        let faults = all.iter().filter(|it| it.role == Role::Fault && it.is_settled);
        found.extend(faults.map(|it| Alarm {
            severity: Severity::Warning,
            subjects: vec![it.balancer.clone()],
            text: format!("it takes no part in {name} ({addresses}): {}", it.word),
            remedy: "mend that, or who holds the addresses has nobody to take them over".to_owned(),
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::{Served, alarms};

    fn holder(balancer: &str, role: Role, word: &str, is_settled: bool) -> Holder {
        Holder {
            instance: "VI_1".into(),
            balancer: balancer.into(),
            addresses: vec!["192.0.2.1/24".into()],
            role,
            word: word.into(),
            is_settled,
        }
    }

    #[test]
    fn one_holds_them() {
        use Role::{Backup, Fault, Master};
        type Row = (&'static str, Vec<Holder>, Option<(Severity, &'static str)>);
        let of = |roles: &[(Role, &str)], settled| {
            let names = ["b-1", "b-2"];
            let all = roles.iter().zip(names);
            all.map(|((role, word), name)| holder(name, *role, word, settled)).collect::<Vec<_>>()
        };
        let rows: Vec<Row> = vec![
            ("nobody takes part", vec![], None),
            ("as it should be", of(&[(Master, ""), (Backup, "192.0.2.7")], true), None),
            (
                "two",
                of(&[(Master, ""), (Master, "")], true),
                Some((Severity::Critical, "b-1 and b-2 hold the addresses of VI_1 (192.0.2.1/24)")),
            ),
            ("two for a moment", of(&[(Master, ""), (Master, "")], false), None),
            (
                "none",
                of(&[(Fault, "no raw sockets"), (Backup, "")], true),
                Some((Severity::Critical, "nobody holds the addresses of VI_1 (192.0.2.1/24)")),
            ),
            ("an election", of(&[(Backup, ""), (Backup, "")], false), None),
            ("a keepalived holds them", of(&[(Backup, "192.0.2.9")], true), None),
            (
                "one is out",
                of(&[(Master, ""), (Fault, "eth0 is down")], true),
                Some((Severity::Warning, "it takes no part in VI_1 (192.0.2.1/24): eth0 is down")),
            ),
        ];
        for (name, addresses, expected) in rows {
            let found = alarms(&Served { addresses, ..Served::default() });
            let first = found.first().map(|it| (it.severity, it.text.as_str()));
            match expected {
                None => assert_eq!(found, [], "{name}"),
                Some((severity, text)) => {
                    let (found, said) = first.unwrap_or_else(|| panic!("{name}"));
                    assert!(found == severity && said.starts_with(text), "{name}: {said}");
                }
            }
        }
    }
}
