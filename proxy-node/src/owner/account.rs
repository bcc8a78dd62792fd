//! What a worker keeps of the requests for which it asked owners.

use std::cell::RefCell;

use relay::retry::Budget;

/// Of 100 requests to owners so many may go to the origin after an owner said that it could not
/// reach that: an origin that is down is not asked twice for every request.
const AGAIN: u32 = 20;

/// Its own.
#[derive(Debug)]
pub struct Account(RefCell<Budget>);

impl Default for Account {
    fn default() -> Self {
        Self(RefCell::new(Budget::new(AGAIN)))
    }
}

impl Account {
    /// An owner is asked.
    pub fn note(&self) {
        self.0.borrow_mut().deposit();
    }

    /// Whether the origin is asked after an owner could not reach it.
    pub fn may_ask_the_origin(&self) -> bool {
        self.0.borrow_mut().withdraw()
    }
}
