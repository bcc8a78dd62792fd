//! Globs over URLs.

use crate::units::Invalid;

/// `*.deb` as a regular expression over the whole URL: `*` is any characters, `?` is one, and `\`
/// takes the meaning from what follows.
pub fn parse_glob(text: &str) -> Result<String, Invalid> {
    const REMEDY: &str = "write what the whole URL looks like, as in *.deb or \
        http://*.example.com/static/*";
    if text.is_empty() {
        return Err(Invalid::new("an empty glob matches no URL", REMEDY));
    }
    let mut regex = String::from("^");
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => match characters.next() {
                Some(literal) => regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4]))),
                None => {
                    return Err(Invalid::new(
                        format!("`{text}` ends with a backslash that nothing follows"),
                        "write \\\\ for a backslash",
                    ));
                }
            },
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    // The size of what it becomes is bounded as that of any other.
    match regex::Regex::new(&regex) {
        Ok(_) => Ok(regex),
        Err(_) => Err(Invalid::new(format!("`{text}` is too long"), REMEDY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_match_whole_urls() {
        for (glob, url, want) in [
            ("*.deb", "http://h/a.deb", true),
            ("*.deb", "http://h/a.deb/x", false),
            ("http://*.example.com/*", "http://a.example.com/x/y", true),
            ("http://*.example.com/*", "http://example.com/x", false),
            ("http://h/a?c", "http://h/abc", true),
            ("http://h/a?c", "http://h/ac", false),
            (r"*\?id=*", "http://h/x?id=1", true),
            (r"*\?id=*", "http://h/xyid=1", false),
            (r"http://h/\*", "http://h/*", true),
            (r"http://h/\*", "http://h/a", false),
            ("http://h/(a|b)", "http://h/a", false),
        ] {
            let regex = regex::Regex::new(&parse_glob(glob).unwrap()).unwrap();
            assert_eq!(regex.is_match(url), want, "{glob} on {url}");
        }
        assert!(parse_glob("").is_err() && parse_glob("a\\").is_err());
    }
}
