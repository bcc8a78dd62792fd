//! Which coding a client wants (RFC 9110 §12.5.3). Pure.

use super::{Coding, Settings, eligible};
use crate::cache::directives::elements;

/// The coding for a request with these fields: none for parts, and none that it forbids (RFC 9111
/// §5.2.1.6).
pub fn wanted<'f>(
    settings: &Settings,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
    range: bool,
) -> Option<Coding> {
    let values = |wanted: &'static [u8]| {
        let named = move |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(wanted);
        fields.clone().filter(named).map(|(_, value)| value)
    };
    if range || values(b"cache-control").any(eligible::forbids) {
        return None;
    }
    choose(values(b"accept-encoding"), &settings.codings)
}

/// The coding for a request whose Accept-Encoding has these values: of those that it likes best the
/// first of `preferred`. `None`: it is sent as it is, which a client also gets that says nothing,
/// forbids everything or likes `identity` better.
pub fn choose<'v>(values: impl Iterator<Item = &'v [u8]>, preferred: &[Coding]) -> Option<Coding> {
    let mut any: Option<u16> = None;
    let mut identity: Option<u16> = None;
    let mut said: Vec<(Coding, u16)> = Vec::new();
    for element in values.flat_map(elements) {
        let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = weight(parts);
        match () {
            () if name == b"*" => any = Some(weight),
            () if name.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
            () => said.extend(coding(name).map(|coding| (coding, weight))),
        }
    }
    let liked = |coding: &Coding| {
        let named = said.iter().filter(|(it, _)| it == coding).map(|(_, weight)| *weight).max();
        named.or(any).unwrap_or(0)
    };
    let best = preferred.iter().map(liked).max().filter(|best| *best > 0)?;
    if identity.is_some_and(|identity| identity > best) {
        return None;
    }
    preferred.iter().copied().find(|coding| liked(coding) == best)
}

fn coding(name: &[u8]) -> Option<Coding> {
    let names: [(&[u8], Coding); 4] = [
        (b"gzip", Coding::Gzip),
        (b"x-gzip", Coding::Gzip),
        (b"br", Coding::Br),
        (b"zstd", Coding::Zstd),
    ];
    names.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, coding)| coding)
}

/// A weight in thousandths (RFC 9110 §12.4.2). One that cannot be read is none at all.
fn weight<'v>(mut parameters: impl Iterator<Item = &'v [u8]>) -> u16 {
    let value = parameters.find_map(|parameter| {
        parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))
    });
    let Some(value) = value else { return 1000 };
    let (whole, fraction) = match value.split_first() {
        Some((whole @ (b'0' | b'1'), [])) => (*whole, &[][..]),
        Some((whole @ (b'0' | b'1'), [b'.', fraction @ ..])) => (*whole, fraction),
        _ => return 0,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let thousandths = (0..3).fold(0, |sum, place| {
        sum * 10 + u16::from(fraction.get(place).map_or(0, |digit| digit - b'0'))
    });
    (u16::from(whole - b'0') * 1000 + thousandths).min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_likes_best_and_of_that_what_we_prefer() {
        use Coding::{Br, Gzip, Zstd};
        for (value, want) in [
            ("gzip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("GZIP, BR", Some(Br)),
            ("gzip, br, zstd", Some(Zstd)),
            ("gzip;q=1.0, br;q=0.9, zstd;q=0.8", Some(Gzip)),
            ("gzip;q=0.2, br ; q=0.2", Some(Br)),
            ("*", Some(Zstd)),
            ("*;q=0.5, gzip", Some(Gzip)),
            ("zstd;q=0, *", Some(Br)),
            ("gzip;q=0", None),
            ("*;q=0", None),
            ("identity", None),
            ("identity;q=0", None),
            ("identity;q=1, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
            ("identity;q=0, gzip;q=0.001", Some(Gzip)),
            ("deflate, compress", None),
            ("", None),
            ("gzip;q=2", None),
            ("gzip;q=0.0000", None),
            ("gzip;q=-1", None),
            ("gzip;q=1.5", Some(Gzip)),
            ("gzip;q=", None),
            ("gzipped", None),
            (",, gzip ,,", Some(Gzip)),
        ] {
            let found = choose([value.as_bytes()].into_iter(), &[Zstd, Br, Gzip]);
            assert_eq!(found, want, "{value:?}");
        }
        assert_eq!(choose(std::iter::empty(), &[Gzip]), None, "who says nothing gets it as it is");
        let lines = [&b"gzip;q=0.5"[..], b"br"];
        assert_eq!(choose(lines.into_iter(), &[Gzip, Br]), Some(Br), "several lines are one");
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read_and_nothing_is_chosen_that_is_forbidden(
            value in "[a-z*;=,. 0-9]{0,40}",
        ) {
            let value = format!("{value}, br;q=0");
            let found = choose([value.as_bytes()].into_iter(), &[Coding::Gzip]);
            proptest::prop_assert!(found != Some(Coding::Br));
        }
    }
}
