//! The values of header fields, with placeholders.

use crate::document::balancer::Part;
use crate::problem::nearest;
use crate::units::Invalid;

/// `%{client}`, `a%%b`.
pub fn parse_field_value(text: &str) -> Result<Vec<Part>, Invalid> {
    if text.chars().any(|it| it.is_control()) {
        return Err(Invalid::new(
            "a value of a header field holds no control characters, line ends among them",
            "write it in one line",
        ));
    }
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, behind)) = rest.split_once('%') {
        plain.push_str(before);
        if let Some(behind) = behind.strip_prefix('%') {
            plain.push('%');
            rest = behind;
        } else if let Some((name, behind)) =
            behind.strip_prefix('{').and_then(|it| it.split_once('}'))
        {
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(placeholder(name)?);
            rest = behind;
        } else {
            return Err(Invalid::new(
                format!("`{text}` has a % that begins no placeholder"),
                "write %% for a percent sign, or a placeholder as in %{client}",
            ));
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

fn placeholder(name: &str) -> Result<Part, Invalid> {
    let known = || Part::PLACEHOLDERS.into_iter();
    if let Some((_, part)) = known().find(|(known, _)| *known == name) {
        return Ok(part);
    }
    let names: Vec<_> = known().map(|(known, _)| known).collect();
    let remedy = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `%{{{near}}}`?"),
        None => format!("use one of: {}", names.join(", ")),
    };
    Err(Invalid::new(format!("there is no placeholder `%{{{name}}}`"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_percent_signs() {
        let text = |it: &str| Part::Text(it.to_owned());
        for (written, parts) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("%{client}", vec![Part::Client]),
            ("a%{sni}b%{frontend}", vec![text("a"), Part::Sni, text("b"), Part::Frontend]),
            ("100%%, %%{client}", vec![text("100%, %{client}")]),
        ] {
            assert_eq!(parse_field_value(written).ok(), Some(parts), "{written}");
        }
        for (written, problem) in [
            ("50%", "begins no placeholder"),
            ("%{client", "begins no placeholder"),
            ("%client", "begins no placeholder"),
            ("%{clint}", "there is no placeholder `%{clint}`"),
            ("a\r\nX-Admin: yes", "control characters"),
            ("a\0", "control characters"),
        ] {
            let invalid = parse_field_value(written).expect_err(written);
            assert!(invalid.message.contains(problem), "{written}: {invalid:?}");
        }
    }
}
