//! Rules of ad blockers, as far as they are about whole domains: `||example.com^` names the domain
//! and everything under it.

use super::terms;
use crate::document::DomainPattern;
use crate::units::Invalid;

/// Options that leave a rule as it is.
const WITHOUT_CONDITION: [&str; 2] = ["important", "all"];

/// What begins a rule for the look of a page, behind the domain that it is for.
const COSMETIC: [&str; 5] = ["##", "#@#", "#?#", "#$#", "#%#"];

/// Whether a line can be nothing else.
pub fn is_rule(line: &str) -> bool {
    line.starts_with("||")
        || line.starts_with("|h")
        || line.starts_with("@@")
        || is_heading(line)
        || is_cosmetic(line)
}

/// `[Adblock Plus 2.0]`.
fn is_heading(line: &str) -> bool {
    let within = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    within.is_some_and(|name| {
        ["adblock", "adguard", "ublock"].iter().any(|kind| name.to_ascii_lowercase().contains(kind))
    })
}

/// `example.com##.banner`. A comment with two signs has a blank before it, or nothing.
fn is_cosmetic(line: &str) -> bool {
    let before = line.find('#').and_then(|at| line.get(..at).zip(line.get(at..)));
    before.is_some_and(|(before, rest)| {
        !before.is_empty()
            && !before.ends_with([' ', '\t'])
            && COSMETIC.iter().any(|sign| rest.starts_with(sign))
    })
}

/// What a rule names.
pub fn read(line: &str) -> Result<Vec<DomainPattern>, Invalid> {
    if is_heading(line) {
        return Ok(Vec::new());
    }
    let line = line.split_once(" #").map_or(line, |(rule, _)| rule).trim_end();
    if line.starts_with("@@") {
        let remedy = "put what is to be spared into a list of its own, and a rule that allows it \
            before the one that denies";
        return Err(Invalid::new(format!("`{line}` is an exception, and a list has none"), remedy));
    }
    let whole = || {
        let message = format!("`{line}` is about more or less than whole domains");
        Invalid::new(
            message,
            "write ||name^ for a domain and everything under it, or use url_regex for parts of \
             URLs",
        )
    };
    if is_cosmetic(line) {
        return Err(whole());
    }
    let rule = line.strip_prefix("||").ok_or_else(whole)?;
    let (rule, options) = rule.split_once('$').unwrap_or((rule, ""));
    let conditions: Vec<&str> =
        options.split(',').map(str::trim).filter(|option| !option.is_empty()).collect();
    if let Some(condition) = conditions.iter().find(|option| !WITHOUT_CONDITION.contains(option)) {
        let message = format!(
            "`{line}` holds only under the condition `{condition}`, which a list of domains cannot \
             say"
        );
        return Err(Invalid::new(message, "remove the condition or the line"));
    }
    let name = rule.strip_suffix('|').unwrap_or(rule).strip_suffix('^').ok_or_else(whole)?;
    let domain = terms::parse_domain(name).map_err(|_| whole())?;
    if domain.subdomains {
        Err(whole())
    } else {
        Ok(vec![DomainPattern { subdomains: !is_address(&domain.name), ..domain }])
    }
}

/// There is nothing below an address.
fn is_address(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
}
