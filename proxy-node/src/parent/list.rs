//! The parents of one generation, in the order of the bundle: those by address, and the nodes of
//! the cluster that are parents of this one. Pure.

use std::{ops::Index, sync::Arc};

use cluster::{InstanceStatus, State};
use cluster_config::document::proxy::{Parent as Document, Parents as Written};

use super::{
    peer::{MOST, Parent},
    select::{self, Group, Seed},
};

/// Endpoint of a proxy-node that serves clients.
const ENDPOINT: &str = "proxy";

/// A proxy-node of the cluster, as far as it may be a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    name: String,
    host: String,
    port: u16,
    tags: Vec<String>,
    /// The registry does not find it unwell.
    well: bool,
}

impl Member {
    /// Whoever may serve: asked-for states count, what the registry finds only decides who comes
    /// first.
    #[must_use]
    pub fn of(status: &InstanceStatus) -> Option<Self> {
        let well = match status.state {
            State::Usable | State::Suspect => true,
            State::Critical | State::Lost => false,
            State::Starting | State::Draining | State::Maintenance => return None,
        };
        let (host, port) = status.instance.endpoints.get(ENDPOINT)?.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Some(Self {
            name: status.instance.name.clone(),
            host,
            port: port.parse().ok()?,
            tags: status.instance.tags.clone(),
            well,
        })
    }
}

/// The nodes of the cluster as this one knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The tags of this node.
    pub own: Vec<String>,
    pub others: Vec<Member>,
}

/// The parents that requests may go to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parents {
    list: Vec<Arc<Parent>>,
    groups: Vec<Group>,
    /// Nothing but what is called direct goes past them, even while none of them is known.
    meant: bool,
}

impl Parents {
    /// What the bundle says, with the members that there are. What `before` knows of a parent is
    /// kept.
    #[must_use]
    pub fn new(written: &[Written], members: &Members, before: &Self) -> Self {
        let (mut list, mut meant): (Vec<Arc<Parent>>, _) = (Vec::new(), false);
        for document in written
            .iter()
            .filter_map(|entry| documents(entry, members))
            .inspect(|_| meant = true)
            .flatten()
        {
            let same = |known: &&Arc<Parent>| known.document == document;
            if list.len() < MOST
                && !list.iter().any(|known| {
                    (&known.document.host, known.document.port) == (&document.host, document.port)
                })
            {
                let known = before.list.iter().find(same).cloned();
                list.push(known.unwrap_or_else(|| Arc::new(Parent::new(document))));
            }
        }
        let groups = select::groups(list.iter().map(|parent| parent.document.select));
        Self { list, groups, meant }
    }

    /// Whether requests go to the origin themselves.
    #[must_use]
    pub const fn is_unused(&self) -> bool {
        !self.meant
    }

    /// All of them, in the order of the bundle.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Parent>> {
        self.list.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The place of the parent to ask now, of those that are still `open`.
    pub(super) fn next(&self, seed: Seed, open: impl Fn(usize) -> bool) -> Option<usize> {
        select::next(
            &self.groups,
            seed,
            |place| self.list[place].is_alive(),
            |place| (self.list[place].identity, self.list[place].document.weight),
            open,
        )
    }
}

impl Index<usize> for Parents {
    type Output = Arc<Parent>;

    fn index(&self, place: usize) -> &Arc<Parent> {
        &self.list[place]
    }
}

/// The parents that one of the bundle's lines stands for; `None`: it is not for this node, which is
/// one of them.
fn documents(written: &Written, members: &Members) -> Option<Vec<Document>> {
    let nodes = match written {
        Written::At(document) => return Some(vec![document.clone()]),
        Written::Nodes(nodes) => nodes,
    };
    let has_all = |tags: &[String]| nodes.tags.iter().all(|tag| tags.contains(tag));
    if has_all(&members.own) {
        return None;
    }
    let mut tier: Vec<&Member> =
        members.others.iter().filter(|member| has_all(&member.tags)).collect();
    // The last resort is to try an unwell one.
    if tier.iter().any(|member| member.well) {
        tier.retain(|member| member.well);
    }
    tier.sort_by(|one, other| one.name.cmp(&other.name));
    let document = |member: &Member| Document {
        host: member.host.clone(),
        port: member.port,
        login: nodes.login.clone(),
        select: nodes.select,
        weight: 1,
        tls: false,
    };
    Some(tier.into_iter().map(document).collect())
}

#[cfg(test)]
mod tests {
    use cluster_config::document::proxy::{ParentNodes, Select};

    use super::*;

    fn member(name: &str, tags: &[&str], well: bool) -> Member {
        let tags = tags.iter().map(ToString::to_string).collect();
        Member { name: name.into(), host: format!("{name}.example"), port: 3128, tags, well }
    }

    fn nodes(tags: &[&str]) -> Written {
        Written::Nodes(ParentNodes {
            tags: tags.iter().map(ToString::to_string).collect(),
            login: None,
            select: Select::Carp,
        })
    }

    fn at(host: &str) -> Written {
        Document::at(host.into(), 3128).into()
    }

    fn shown(parents: &Parents) -> Vec<&str> {
        parents
            .iter()
            .map(|parent| parent.document.host.split('.').next().unwrap_or_default())
            .collect()
    }

    #[test]
    fn the_nodes_with_the_tags_are_parents_of_the_others() {
        let others = || {
            vec![
                member("c", &["parent", "dc1"], true),
                member("a", &["parent"], true),
                member("b", &["leaf"], true),
            ]
        };
        let members = |own: &[&str], others| Members {
            own: own.iter().map(ToString::to_string).collect(),
            others,
        };
        for (written, own, others, want) in [
            (vec![nodes(&["parent"])], &["leaf"][..], others(), Some(&["a", "c"][..])),
            (vec![nodes(&["parent", "dc1"]), at("x")], &[], others(), Some(&["c", "x"])),
            (
                vec![at("x"), nodes(&["parent"]), at("a.example")],
                &[],
                others(),
                Some(&["x", "a", "c"]),
            ),
            // One of them goes on by what else there is.
            (vec![nodes(&["parent"])], &["parent", "dc2"], others(), None),
            (vec![nodes(&["parent"]), at("x")], &["parent"], others(), Some(&["x"])),
            // None is known, and nothing goes past them all the same.
            (vec![nodes(&["parent"])], &[], vec![], Some(&[])),
            (
                vec![nodes(&["parent"])],
                &[],
                vec![member("a", &["parent"], false), member("c", &["parent"], true)],
                Some(&["c"]),
            ),
            (vec![nodes(&["parent"])], &[], vec![member("a", &["parent"], false)], Some(&["a"])),
            (vec![], &[], others(), None),
        ] {
            let parents = Parents::new(&written, &members(own, others), &Parents::default());
            assert_eq!(
                (!parents.is_unused()).then(|| shown(&parents)).as_deref(),
                want,
                "{written:?} {own:?}"
            );
        }
    }

    #[test]
    fn what_is_known_of_a_parent_stays_with_it() {
        let written = [nodes(&["parent"])];
        let members = |names: &[&str]| Members {
            own: vec![],
            others: names.iter().map(|name| member(name, &["parent"], true)).collect(),
        };
        let before = Parents::new(&written, &members(&["a", "b"]), &Parents::default());
        before[1].failed(crate::respond::Error::ConnectTimeout);
        let after = Parents::new(&written, &members(&["b", "c"]), &before);
        assert_eq!(
            (shown(&after), after[0].is_alive(), after[1].is_alive()),
            (vec!["b", "c"], false, true)
        );
        let many: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
        let many = Parents::new(
            &written,
            &members(&many.iter().map(String::as_str).collect::<Vec<_>>()),
            &before,
        );
        assert_eq!(many.len(), MOST);
    }
}
