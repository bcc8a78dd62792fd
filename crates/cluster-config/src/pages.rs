//! Pages for denials and errors: `pages/NAME.html` with placeholders in double braces, `{{url}}`.

/// What may stand between double braces, and what it stands for. Values are escaped for HTML by
/// whoever fills them in ([`fill`]).
pub const PLACEHOLDERS: [(&str, &str); 8] = [
    ("url", "the request's target"),
    ("method", "the request's method"),
    ("client", "the client's address"),
    ("rule", "the rule that denied"),
    ("revision", "the revision in force"),
    ("request_id", "the request's id"),
    ("node", "the node's name"),
    ("explain", "the `shoal explain` command for this request"),
];

/// Fills a page in. A placeholder that is not known stays as it is; values are escaped.
pub fn fill(page: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(page.len() + 256);
    let mut rest = page;
    while let Some((before, name, after)) = next_placeholder(rest) {
        filled.push_str(before);
        match value(name.trim()) {
            Some(value) => escape(&value, &mut filled),
            None => {
                filled.push_str("{{");
                filled.push_str(name);
                filled.push_str("}}");
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// Placeholders that mean nothing, with the byte offset of each.
pub fn unknown_placeholders(page: &str) -> Vec<(usize, String)> {
    let mut unknown = Vec::new();
    let mut rest = page;
    while let Some((before, name, after)) = next_placeholder(rest) {
        let offset = page.len() - rest.len() + before.len();
        if !PLACEHOLDERS.iter().any(|(known, _)| *known == name.trim()) {
            unknown.push((offset, name.trim().to_owned()));
        }
        rest = after;
    }
    unknown
}

fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name, after))
}

/// Escapes for HTML text and attribute values.
fn escape(value: &str, into: &mut String) {
    for character in value.chars() {
        match character {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_and_escaped() {
        let filled = fill("<p>{{ url }} {{nope}} {{", |name| {
            (name == "url").then(|| "<script>'\"&".to_owned())
        });
        assert_eq!(filled, "<p>&lt;script&gt;&#39;&quot;&amp; {{nope}} {{");
    }

    #[test]
    fn unknown_placeholders_are_found_with_their_place() {
        assert_eq!(unknown_placeholders("a {{url}} {{ urll }}"), vec![(10, "urll".to_owned())]);
    }
}
