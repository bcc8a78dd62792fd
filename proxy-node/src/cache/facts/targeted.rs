//! Fields that say how caches of one kind are to treat a response (RFC 9213): dictionaries of
//! structured values (RFC 9651), which the configuration names.

use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::cache::directives::{FOREVER, ResponseDirectives};

/// The fields of one response that are targeted at this cache.
pub(super) struct Aimed<'t> {
    targets: &'t [String],
    /// Each target's lines, joined as RFC 9651 §4.2 has it.
    values: Vec<Option<Vec<u8>>>,
}

impl<'t> Aimed<'t> {
    /// None yet. `targets`: names in lower case, the first one first.
    pub(super) fn new(targets: &'t [String]) -> Self {
        Self { targets, values: vec![None; targets.len()] }
    }

    /// A field of the response.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) {
        for (target, slot) in self.targets.iter().zip(&mut self.values) {
            if name.eq_ignore_ascii_case(target.as_bytes()) {
                super::join(slot, value);
            }
        }
    }

    /// What the first of them says that is valid and not empty; the others are ignored (RFC 9213
    /// §2.2).
    pub(super) fn directives(&self) -> Option<ResponseDirectives> {
        self.values.iter().flatten().find_map(|value| read(value))
    }
}

/// The directives of a dictionary (RFC 9213 §2.1). `None`: it is none, or empty.
fn read(value: &[u8]) -> Option<ResponseDirectives> {
    let dictionary: Dictionary = Parser::new(value).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives::default();
    for (name, member) in &dictionary {
        let value = match member {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        if matches!(value, Some(BareItem::Boolean(false))) {
            continue;
        }
        // One of another type is read to the careful side: no lifetime, or the prohibition.
        let seconds = match value {
            Some(BareItem::Integer(seconds)) => {
                u64::try_from(i64::from(*seconds)).unwrap_or(0).min(FOREVER)
            }
            _ => 0,
        };
        directives.set(name.as_str().as_bytes(), seconds);
    }
    Some(directives)
}

#[cfg(test)]
mod tests {
    use crate::cache::facts::ResponseFacts;

    /// Lifetime by max-age and `no-store`, as a cache finds them that these are targeted at.
    fn facts(fields: &[(&str, &str)]) -> ResponseFacts {
        let targets = ["shoal-cache-control".to_owned(), "cdn-cache-control".to_owned()];
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        ResponseFacts::targeted(200, fields, &targets)
    }

    #[test]
    fn the_first_valid_one_counts_and_nothing_beside_it() {
        let cdn = |value: &str| {
            let cache_control = ("Cache-Control", "max-age=7, no-store");
            let facts = facts(&[cache_control, ("Expires", "0"), ("CDN-Cache-Control", value)]);
            (facts.directives.max_age, facts.directives.no_store, facts.expires.is_some())
        };
        let ours = |max_age| (max_age, false, false);
        let ignored = (Some(7), true, true);
        for (value, want) in [
            ("max-age=60", ours(Some(60))),
            ("max-age=60;x=1, public", ours(Some(60))),
            ("max-age=99999999999999", ours(Some(1 << 31))),
            ("max-age=-5", ours(Some(0))),
            ("max-age=1.5", ours(Some(0))),
            ("max-age=\"60\"", ours(Some(0))),
            ("max-age=60, no-store", (Some(60), true, false)),
            ("max-age=60, no-store=?0", ours(Some(60))),
            ("private", ours(None)),
            ("", ignored),
            ("  ", ignored),
            ("max-age=60,", ignored),
            ("MAX-AGE=60", ignored),
            ("max-age=", ignored),
            ("max-age='60'", ignored),
            ("max-age=60 no-store", ignored),
        ] {
            assert_eq!(cdn(value), want, "{value:?}");
        }
    }

    #[test]
    fn their_order_is_the_configurations() {
        let both = [("CDN-Cache-Control", "max-age=1"), ("Shoal-Cache-Control", "max-age=2")];
        assert_eq!(facts(&both).directives.max_age, Some(2));
        let lines = [("CDN-Cache-Control", "max-age=1"), ("cdn-cache-control", "private")];
        let facts = facts(&lines).directives;
        assert!(facts.max_age == Some(1) && facts.private, "several lines are one field");
        let none =
            ResponseFacts::new(200, [(&b"CDN-Cache-Control"[..], &b"max-age=1"[..])].into_iter());
        assert_eq!(none.directives.max_age, None, "none is targeted at this cache by itself");
    }
}
