//! What operators have set a server's `maxconn` to. It stays with this process, as with HAProxy:
//! the registry knows no such thing. It ends when the bundle says something else than it did then.

use std::collections::HashMap;

use crate::membership::Member;

#[derive(Debug)]
struct Set {
    most: Option<u32>,
    /// What the bundle said; none: it has not been asked yet.
    instead_of: Option<Option<u32>>,
}

/// By backend and server.
#[derive(Debug, Default)]
pub(super) struct Maxconns(HashMap<(String, String), Set>);

impl Maxconns {
    pub(super) fn set(&mut self, backend: &str, server: &str, most: Option<u32>) {
        let key = (backend.to_owned(), server.to_owned());
        self.0.insert(key, Set { most, instead_of: None });
    }

    /// A member as the bundle describes it gets what was set for it.
    pub(super) fn apply(&mut self, backend: &str, member: &mut Member) {
        if self.0.is_empty() {
            return;
        }
        let key = (backend.to_owned(), member.name.clone());
        let Some(set) = self.0.get_mut(&key) else { return };
        if *set.instead_of.get_or_insert(member.maxconn) == member.maxconn {
            member.maxconn = set.most;
        } else {
            self.0.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::membership::{members, tests::backend};

    #[test]
    fn what_was_set_holds_until_the_bundle_says_something_new() {
        let mut set = Maxconns::default();
        let maxconn = |set: &mut Maxconns, written: &str| {
            let backend = backend(&format!(
                r#"{{"servers":[{{"name":"s","host":"::1","port":1,"weight":1,
                    "backup":false{written}}}]}}"#
            ));
            let mut member = members(&backend, std::iter::empty(), &BTreeMap::new()).remove(0);
            set.apply("b", &mut member);
            member.maxconn
        };
        assert_eq!(maxconn(&mut set, r#","maxconn":5"#), Some(5));
        set.set("b", "s", Some(7));
        set.set("other", "s", Some(9));
        assert_eq!(maxconn(&mut set, r#","maxconn":5"#), Some(7));
        assert_eq!(maxconn(&mut set, r#","maxconn":5"#), Some(7));
        set.set("b", "s", None);
        assert_eq!(maxconn(&mut set, r#","maxconn":5"#), None);
        assert_eq!(maxconn(&mut set, ""), None);
        assert_eq!(maxconn(&mut set, r#","maxconn":5"#), Some(5), "forgotten");
    }
}
