//! Query parameters that make no difference.

/// What is done with the query of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub parameters: Parameters,
    /// They come in the order of their names.
    pub sorted: bool,
}

/// Which parameters stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Parameters {
    #[default]
    All,
    /// All but these; a `*` at the end stands for any end.
    Without(Vec<String>),
    /// These alone.
    Only(Vec<String>),
}

impl Parameters {
    fn keep(&self, name: &[u8]) -> bool {
        let named = |names: &[String]| {
            names.iter().any(|it| match it.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning.as_bytes()),
                None => name == it.as_bytes(),
            })
        };
        match self {
            Self::All => true,
            Self::Without(names) => !named(names),
            Self::Only(names) => named(names),
        }
    }
}

impl Query {
    /// The URL with what is left of its query; `None`: that is what it has. Several parameters of
    /// one name keep their order among themselves.
    #[must_use]
    pub fn narrowed(&self, url: &[u8]) -> Option<Vec<u8>> {
        let at = url.iter().position(|byte| *byte == b'?')?;
        let (path, query) = (url.get(..at)?, url.get(at + 1..)?);
        let mut left: Vec<&[u8]> = query
            .split(|byte| *byte == b'&')
            .filter(|parameter| self.parameters.keep(name(parameter)))
            .collect();
        if self.sorted {
            left.sort_by(|one, other| name(one).cmp(name(other)));
        }
        let mut out = path.to_vec();
        if !left.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&left.join(&b'&'));
        }
        (out != url).then_some(out)
    }
}

fn name(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}
