//! Tests only: places where a test may want a panic.

use std::cell::Cell;

thread_local! {
    static ARMED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The next time that this thread comes by `place`, it panics.
pub(crate) fn arm(place: &'static str) {
    ARMED.set(Some(place));
}

/// A place.
pub(crate) fn point(place: &'static str) {
    if ARMED.get() == Some(place) {
        ARMED.set(None);
        panic!("{place} panics (expected by this test)");
    }
}

/// Whether what was armed has not gone off.
pub(crate) fn is_armed() -> bool {
    ARMED.get().is_some()
}
