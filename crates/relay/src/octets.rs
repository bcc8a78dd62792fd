//! Looking at eight bytes at a time: heads and records are short texts, of which nearly none has a
//! byte that somebody looks for.

const HIGH: u64 = each(0x80);

const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Whether one of these eight bytes is less than `bound`, which is at most 128.
const fn has_less(eight: u64, bound: u8) -> bool {
    eight.wrapping_sub(each(bound)) & !eight & HIGH != 0
}

const fn has(eight: u64, byte: u8) -> bool {
    has_less(eight ^ each(byte), 1)
}

/// Whether there is none among these bytes that [`found`] finds among eight. What it looks for is
/// no space.
fn is_without(bytes: &[u8], found: impl Fn(u64) -> bool) -> bool {
    let word = |eight: &[u8; 8]| u64::from_ne_bytes(*eight);
    let (words, rest) = bytes.as_chunks::<8>();
    if words.iter().any(|eight| found(word(eight))) {
        return false;
    }
    // The last eight, some of which were looked at: quicker than one by one.
    match bytes.last_chunk::<8>() {
        _ if rest.is_empty() => true,
        Some(last) => !found(word(last)),
        None => {
            let mut last = [b' '; 8];
            last[..rest.len()].copy_from_slice(rest);
            !found(word(&last))
        }
    }
}

/// Whether the text can stand in a JSON string (RFC 8259 §7) and in a line of a log as it is.
#[must_use]
pub fn is_plain_in_json(text: &[u8]) -> bool {
    is_without(text, |eight| {
        has_less(eight, b' ') | has(eight, b'"') | has(eight, b'\\') | has(eight, 0x7f)
    })
}

/// Whether there is no control character in it, not even a tab.
pub(crate) fn has_no_controls(text: &[u8]) -> bool {
    is_without(text, |eight| has_less(eight, b' ') | has(eight, 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_found_at_each_place_of_texts_of_each_length() {
        for length in 0..=40 {
            let plain = vec![b'x'; length];
            assert!(is_plain_in_json(&plain) && has_no_controls(&plain));
            for (place, byte) in (0..length).flat_map(|place| (0..=255).map(move |it| (place, it)))
            {
                let mut text = plain.clone();
                text[place] = byte;
                let control = byte < 0x20 || byte == 0x7f;
                let special = control || matches!(byte, b'"' | b'\\');
                assert_eq!(has_no_controls(&text), !control, "{byte:#x} at {place} of {length}");
                assert_eq!(is_plain_in_json(&text), !special, "{byte:#x} at {place} of {length}");
            }
        }
    }
}
