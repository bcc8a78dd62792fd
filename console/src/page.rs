//! Pages as HTML. Pure: a [`View`](crate::view::View) and a [`Visitor`] in, markup out; `maud`
//! escapes every text.
//!
//! A page is made of regions, each a piece that can change by itself; the live stream sends those
//! that did. [`shell`] is what surrounds them.

pub mod assets;
pub mod backends;
pub mod caches;
pub mod checks;
pub mod configuration;
pub mod explain;
pub mod instance;
pub mod instances;
pub mod overview;
pub mod parts;
pub mod shell;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    /// Name and token of whoever has logged in.
    pub operator: Option<(String, String)>,
    /// Whether they could log in.
    pub login: Login,
    /// `light` or `dark`; none: as the system says.
    pub theme: Option<&'static str>,
}

/// Whether people can log in here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// Passwords are not taken.
    #[default]
    Refused,
    /// They are, but nobody has one yet.
    Nobody,
    /// Whoever has one can.
    Open,
}

/// A piece of a page that changes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its element's id.
    pub id: &'static str,
    /// What is in it.
    pub html: String,
}

impl Region {
    fn new(id: &'static str, markup: maud::Markup) -> Self {
        Self { id, html: shown(markup) }
    }
}

/// Markup as it goes out. What others wrote is in it, escaped by `maud`; what a browser would obey
/// or hide instead of showing it, such as characters that turn the direction of text, is escaped
/// here, once for all pages. None of ours is written with such characters.
#[must_use]
pub fn shown(markup: maud::Markup) -> String {
    let html = markup.into_string();
    match cluster::text::shown_but(&html, |character| matches!(character, '\n' | '\t')) {
        std::borrow::Cow::Borrowed(_) => html,
        std::borrow::Cow::Owned(escaped) => escaped,
    }
}
