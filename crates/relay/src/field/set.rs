//! Sets of field names.

use super::Field;

/// A set of known fields, in one word. [`Field::Other`] is never a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldSet(u64);

impl FieldSet {
    /// No field.
    pub const EMPTY: Self = Self(0);

    /// The set of these.
    pub const fn of(fields: &[Field]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < fields.len() {
            bits |= 1 << fields[at] as u8;
            at += 1;
        }
        Self(bits & !1)
    }

    /// Everything that is in either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one and not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// With one more.
    pub const fn with(self, field: Field) -> Self {
        self.union(Self::of(&[field]))
    }

    /// Whether `field` is a member.
    #[inline]
    pub const fn contains(self, field: Field) -> bool {
        self.0 >> field as u8 & 1 == 1
    }

    /// Whether the two share a member.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let set = FieldSet::of(&[Field::Host, Field::Priority, Field::Other]);
        assert!(
            set.contains(Field::Host)
                && set.contains(Field::Priority)
                && !set.contains(Field::Other)
                && !set.contains(Field::Via)
        );
        assert!(!set.without(FieldSet::of(&[Field::Host])).contains(Field::Host));
        assert!(
            set.intersects(FieldSet::EMPTY.with(Field::Host)) && !set.intersects(FieldSet::EMPTY)
        );
    }
}
