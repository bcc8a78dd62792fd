//! Who may do more than look: people of a file ([`users`]), who have proved it lately
//! ([`sessions`]), and not too often in vain ([`attempts`]).

pub mod attempts;
mod replace;
pub mod sessions;
pub mod users;

use chassis::Error;

/// Random bytes as lower-case hexadecimal digits.
///
/// # Errors
/// The system has no randomness.
pub fn random<const N: usize>() -> Result<String, Error> {
    let mut bytes = [0; N];
    let provider = chassis::tls::provider();
    provider
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Error::new("the system has no randomness").remedy("check /dev/urandom"))?;
    Ok(hex::encode(bytes))
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).fold(0, |differs, (one, other)| differs | (one ^ other))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets() {
        let (one, other) = (random::<32>().unwrap(), random::<32>().unwrap());
        assert!(one.len() == 64 && one != other);
        assert!(
            same(&one, &one.clone()) && !same(&one, &other) && !same(&one, "") && !same("a", "b")
        );
    }
}
