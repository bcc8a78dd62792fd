//! The least of a list of keys that change one at a time: a tournament, played again along one
//! branch after each change. Finding it costs nothing, a change costs the tree's height.

/// Nobody plays at this leaf.
const NOBODY: u32 = u32::MAX;

/// Keys by index, of which some take no part.
#[derive(Clone, Debug)]
pub struct Tournament<K> {
    keys: Vec<Option<K>>,
    /// A complete binary tree in an array, root at 1, leaves from `leaves` on: the index of the
    /// least key below each node.
    winners: Vec<u32>,
    leaves: usize,
}

impl<K> Default for Tournament<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), winners: vec![NOBODY; 2], leaves: 1 }
    }
}

impl<K: Ord + Copy> Tournament<K> {
    /// With these keys, which all take part.
    #[must_use]
    pub fn new(keys: impl ExactSizeIterator<Item = K>) -> Self {
        let leaves = keys.len().max(1).next_power_of_two();
        let keys: Vec<_> = keys.map(Some).collect();
        let mut all = Self { winners: vec![NOBODY; 2 * leaves], keys, leaves };
        for index in 0..all.keys.len() {
            all.winners[leaves + index] = u32::try_from(index).unwrap_or(NOBODY);
        }
        for node in (1..leaves).rev() {
            all.play(node);
        }
        all
    }

    /// The index of the least key, the first of those that are equal. None: nobody takes part.
    #[must_use]
    pub fn least(&self) -> Option<usize> {
        let winner = self.winners[1];
        (winner != NOBODY).then_some(winner as usize)
    }

    /// The key at an index. None: it takes no part.
    #[must_use]
    pub fn key(&self, index: usize) -> Option<K> {
        self.keys.get(index).copied().flatten()
    }

    /// Gives an index another key, or takes it out.
    pub fn set(&mut self, index: usize, key: Option<K>) {
        let Some(place) = self.keys.get_mut(index) else { return };
        *place = key;
        let mut node = self.leaves + index;
        self.winners[node] =
            if key.is_some() { u32::try_from(index).unwrap_or(NOBODY) } else { NOBODY };
        while node > 1 {
            node /= 2;
            self.play(node);
        }
    }

    fn play(&mut self, node: usize) {
        let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
        let key = |player: u32| self.keys.get(player as usize).copied().flatten();
        self.winners[node] = match (key(left), key(right)) {
            (Some(of_left), Some(of_right)) if of_right < of_left => right,
            (Some(_), _) => left,
            (None, _) => right,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody() {
        assert_eq!(Tournament::<u32>::default().least(), None);
        let mut one = Tournament::new([7].into_iter());
        one.set(0, None);
        one.set(9, Some(1));
        assert_eq!((one.least(), one.key(0), one.key(9)), (None, None, None));
    }

    proptest! {
        #[test]
        fn as_a_scan_finds_it(
            keys in prop::collection::vec(0_u8..20, 1..70),
            changes in prop::collection::vec((0_usize..70, prop::option::of(0_u8..20)), 0..100),
        ) {
            let mut tree = Tournament::new(keys.iter().copied());
            let mut list: Vec<_> = keys.into_iter().map(Some).collect();
            for (index, key) in changes {
                tree.set(index, key);
                if let Some(place) = list.get_mut(index) {
                    *place = key;
                }
                let keyed =
                    list.iter().enumerate().filter_map(|(index, key)| Some(((*key)?, index)));
                let scanned = keyed.min();
                prop_assert_eq!(tree.least(), scanned.map(|(_, index)| index));
            }
        }
    }
}
