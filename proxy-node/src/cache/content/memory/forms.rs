//! Other forms of a body: its content codings, each a body of its own that somebody makes of it as
//! it comes. They are there as long as it is, and count with it.

use std::sync::{Arc, Mutex, PoisonError};

use super::Body;

/// By their numbers, of which there are a few.
#[derive(Debug, Default)]
pub(super) struct Forms(Mutex<Vec<(u8, Arc<Body>)>>);

impl Body {
    /// A form of it that readers can begin with, though it may still be growing.
    #[must_use]
    pub fn form(&self, number: u8) -> Option<Arc<Self>> {
        let forms = self.forms.get()?.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = forms.iter().find(|(known, form)| *known == number && form.is_usable());
        found.map(|(_, form)| form.clone())
    }

    /// Adds a form in place of one that is of no use. Answers what is there already, if that is.
    pub fn add_form(&self, number: u8, form: &Arc<Self>) -> Option<Arc<Self>> {
        let forms = self.forms.get_or_init(Box::default);
        let mut forms = forms.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) =
            forms.iter().find(|(known, form)| *known == number && form.is_usable())
        {
            return Some(known.clone());
        }
        forms.retain(|(known, _)| *known != number);
        forms.push((number, form.clone()));
        None
    }

    /// Lets a form go that nobody new can read.
    pub fn drop_form(&self, form: &Arc<Self>) {
        if let Some(forms) = self.forms.get() {
            let mut forms = forms.0.lock().unwrap_or_else(PoisonError::into_inner);
            forms.retain(|(_, known)| !Arc::ptr_eq(known, form));
        }
    }

    /// Bytes of memory that are charged for all of them.
    pub(super) fn charged_for_forms(&self) -> u64 {
        let Some(forms) = self.forms.get() else { return 0 };
        let forms = forms.0.lock().unwrap_or_else(PoisonError::into_inner);
        forms.iter().map(|(_, form)| form.charged()).sum()
    }

    fn is_usable(&self) -> bool {
        self.whole().is_some() || (self.retains() && !self.has_failed())
    }
}
