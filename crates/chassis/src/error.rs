//! Why a process could not do its job, in one clear sentence with the remedy.

use std::fmt;

/// What `main` prints before it ends with a non-zero exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    sentence: String,
    remedy: String,
    exit_code: u8,
}

impl Error {
    /// One sentence that says what went wrong, without the remedy.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), remedy: String::new(), exit_code: 1 }
    }

    /// What to do about it, as an instruction.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The process's exit code; 1 unless said otherwise.
    #[must_use]
    pub const fn exit_code(mut self, code: u8) -> Self {
        self.exit_code = code;
        self
    }

    /// The exit code for `main`.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence)?;
        if !self.remedy.is_empty() {
            write!(formatter, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns any error into a [`Error`].
pub trait ErrorContext<T> {
    /// `attempted` completes "cannot …"; the error follows it; `remedy` says what to do.
    ///
    /// # Errors
    /// The error, told as a [`Error`].
    fn context(self, attempted: impl fmt::Display, remedy: &str) -> Result<T, Error>;
}

impl<T, E: fmt::Display> ErrorContext<T> for Result<T, E> {
    fn context(self, attempted: impl fmt::Display, remedy: &str) -> Result<T, Error> {
        self.map_err(|error| Error::new(format!("cannot {attempted}: {error}")).remedy(remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_with_the_remedy() {
        let failed: Result<(), _> =
            Err::<(), _>("permission denied").context("read /x", "check its owner");
        assert_eq!(
            failed.unwrap_err().to_string(),
            "cannot read /x: permission denied; check its owner"
        );
    }
}
