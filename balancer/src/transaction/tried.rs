//! The servers that were tried for one request.

/// Servers remembered without an allocation; more attempts than this are not made.
pub(super) const MOST_ATTEMPTS: usize = 16;

/// Their keys, in order.
pub(super) struct Tried {
    list: [u64; MOST_ATTEMPTS],
    count: usize,
}

impl Tried {
    pub(super) const fn none() -> Self {
        Self { list: [0; MOST_ATTEMPTS], count: 0 }
    }

    pub(super) fn add(&mut self, key: u64) {
        self.list[self.count] = key;
        self.count += 1;
    }

    pub(super) fn forget(&mut self, key: u64) {
        if let Some(at) = self.as_slice().iter().position(|&it| it == key) {
            self.list.copy_within(at + 1..self.count, at);
            self.count -= 1;
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.count == MOST_ATTEMPTS
    }

    pub(super) fn as_slice(&self) -> &[u64] {
        &self.list[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tried_servers() {
        let mut tried = Tried::none();
        for index in [3, 1, 2] {
            tried.add(index);
        }
        tried.forget(1);
        assert_eq!(tried.as_slice(), [3, 2]);
        tried.forget(7);
        (0..MOST_ATTEMPTS as u64 - 2).for_each(|key| tried.add(10 + key));
        assert!(tried.is_full());
    }
}
