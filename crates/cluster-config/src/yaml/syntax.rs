//! What is said of text that is not YAML: where the slip is rather than where the parser noticed
//! it, and what to do about it.

use super::number;
use crate::problem::{Place, Problem};
use serde_saphyr::granit_parser::{ErrorKind, ScanError};

/// The problem that a parser's error is.
pub fn problem(file: &str, text: &str, error: &ScanError) -> Problem {
    let at = error.marker();
    let source = Source { file, text, line: at.line(), column: at.col() };
    let (place, message, remedy) = source.explain(error.kind()).unwrap_or_else(|| {
        let remedy = "look at indentation, quotes and brackets here and just before";
        (source.here(), error.info(), remedy.to_owned())
    });
    Problem::error(place, format!("not YAML: {message}"), remedy)
}

type Explained = (Place, String, String);

struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// From 1.
    line: usize,
    /// From 0, in characters.
    column: usize,
}

impl<'a> Source<'a> {
    fn explain(&self, kind: &ErrorKind) -> Option<Explained> {
        use ErrorKind as E;
        match kind {
            E::TabNotAllowed
            | E::TabInBlockIndentation
            | E::TabAtBlockScalarStart
            | E::TabInIndentation
            | E::TabInPlainScalar => Some(self.tab()),
            E::UnknownAnchor | E::MissingAnchorOrAliasName => self.alias(),
            E::UnexpectedCharacter { character } => Some((
                self.here(),
                format!("a value cannot begin with `{character}`"),
                "put it in quotes".to_owned(),
            )),
            E::UnknownQuotedScalarEscape | E::InvalidQuotedScalarHexEscape => {
                let message =
                    "a backslash in double quotes begins an escape, and this is none".to_owned();
                Some((
                    self.here(),
                    message,
                    "write it in single quotes, which keep backslashes".to_owned(),
                ))
            }
            E::UnclosedQuotedScalar
            | E::InvalidQuotedScalarIndent
            | E::DocumentIndicatorInQuotedScalar
            | E::InvalidTrailingSingleQuotedScalar
            | E::InvalidTrailingDoubleQuotedScalar => self.quote(),
            E::MappingValueNotAllowed
            | E::InvalidMappingValueWhitespace
            | E::InvalidColonPlacement => Some(self.colon()),
            E::SimpleKeyExpected | E::InvalidSimpleKey => Some(self.bare_key()),
            E::ExpectedBlockMappingKey
            | E::ExpectedBlockSequenceEntry
            | E::InvalidIndentation
            | E::InvalidFlowScalarIndent => {
                self.quote().or_else(|| self.bracket()).or_else(|| Some(self.indentation()))
            }
            E::ExpectedFlowMappingSeparator
            | E::ExpectedFlowSequenceSeparator
            | E::UnclosedFlowCollection { .. }
            | E::UnexpectedEofFlowMapping
            | E::UnexpectedEofFlowSequence
            | E::UnexpectedEofImplicitFlowMapping => self.quote().or_else(|| self.bracket()),
            E::MismatchedFlowCollectionEnd { open, close } => {
                let stands_on_it = self.line(self.line).chars().nth(self.column) == Some(*open);
                let (line, column) = if stands_on_it {
                    (self.line, self.column)
                } else {
                    self.opened().brackets.pop().map(|(line, column, _)| (line, column))?
                };
                let message = format!("the `{open}` that is opened here is closed by `{close}`");
                Some((
                    self.place(line, column),
                    message,
                    "close each bracket by its own, and the inner ones first".to_owned(),
                ))
            }
            _ => None,
        }
    }

    fn here(&self) -> Place {
        self.place(self.line, self.column)
    }

    fn place(&self, line: usize, column: usize) -> Place {
        Place { file: self.file.to_owned(), line: number(line), column: number(column + 1) }
    }

    /// A line of the text, counted from 1.
    fn line(&self, line: usize) -> &'a str {
        self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
    }

    /// The first word from where the parser stands.
    fn word(&self) -> String {
        let rest = self.line(self.line).chars().skip(self.column);
        rest.take_while(|c| !c.is_whitespace() && !matches!(c, ',' | ']' | '}')).collect()
    }

    fn tab(&self) -> Explained {
        let line = self.line(self.line);
        let column = line.chars().position(|c| c == '\t').unwrap_or(self.column);
        (
            self.place(self.line, column),
            "a tab where YAML takes only spaces".to_owned(),
            "indent with spaces".to_owned(),
        )
    }

    fn alias(&self) -> Option<Explained> {
        let word = self.word();
        let (message, remedy) = match word.split_at_checked(1)? {
            ("*", domain) if domain.starts_with('.') => {
                let message = format!("`{word}` begins with `*`, which YAML takes for an alias");
                (
                    message,
                    format!(
                        "for the domain and everything under it write {domain}; what has to begin \
                         with `*` goes into quotes"
                    ),
                )
            }
            (sign @ ("*" | "&"), _) => {
                let role = if sign == "*" { "an alias" } else { "an anchor" };
                (
                    format!("`{word}` begins with `{sign}`, which YAML takes for {role}"),
                    "put it in quotes".to_owned(),
                )
            }
            _ => return None,
        };
        Some((self.here(), message, remedy))
    }

    /// A quote that is not closed, or not where its writer thought.
    fn quote(&self) -> Option<Explained> {
        let opened = self.opened();
        let (line, column, quote) = opened.quote.or(opened.long_quote)?;
        let message = format!("the quote {quote} that is opened here is not closed in its line");
        Some((
            self.place(line, column),
            message,
            format!("close it with {quote} where the text ends"),
        ))
    }

    fn bracket(&self) -> Option<Explained> {
        let (line, column, bracket) = self.opened().brackets.pop()?;
        let close = if bracket == '[' { ']' } else { '}' };
        let remedy = format!(
            "close the `{bracket}` with `{close}` where its content ends, and put a comma between \
             two entries"
        );
        if line == self.line {
            return Some((
                self.here(),
                format!("a comma or `{close}` is missing before this"),
                remedy,
            ));
        }
        Some((
            self.place(line, column),
            format!("the `{bracket}` that is opened here is not closed before line {}", self.line),
            remedy,
        ))
    }

    fn colon(&self) -> Explained {
        if let Some((line, key)) = self.key_without_blank() {
            let message = format!("there is no blank behind the colon of `{key}`");
            return (
                self.place(line, self.indent(line)),
                message,
                format!("write `{}`", key.replacen(':', ": ", 1)),
            );
        }
        let remedy = "put a value that holds `: ` in quotes; begin every key in a line of its own, \
            or put `{…}` around them";
        (self.here(), "a second colon in one line".to_owned(), remedy.to_owned())
    }

    /// The line before, when it is `key:value`.
    fn key_without_blank(&self) -> Option<(usize, String)> {
        let line = (1..=self.line)
            .rev()
            .find(|line| *line < self.line && !self.line(*line).trim().is_empty())?;
        let text = self.line(line).trim();
        let (key, value) = text.split_once(':')?;
        let is_key = !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        (is_key && !value.is_empty() && !value.starts_with(' ')).then(|| (line, text.to_owned()))
    }

    fn bare_key(&self) -> Explained {
        let word = self.line(self.line).trim();
        // A line of squid.conf or haproxy.cfg: a word, and what it sets.
        let remedy = match word.split_once(char::is_whitespace) {
            Some((key, value)) => {
                format!("a colon parts a key from its value: `{key}: {}`", value.trim_start())
            }
            None => format!("write `{word}:` for a key"),
        };
        (self.here(), format!("`{word}` is neither a key nor the value of one"), remedy)
    }

    fn indentation(&self) -> Explained {
        let indent = self.indent(self.line);
        let before = (1..self.line).rev().find(|line| {
            let text = self.line(*line).trim();
            !text.is_empty() && !text.starts_with('#')
        });
        let than = before.map_or_else(String::new, |line| {
            format!("; line {line} before it is indented by {}", self.indent(line))
        });
        let message =
            format!("this line is indented by {indent}, and nothing above begins there{than}");
        (self.here(), message, "indent it as far as the lines that it stands beside".to_owned())
    }

    fn indent(&self, line: usize) -> usize {
        self.line(line).chars().take_while(|c| *c == ' ').count()
    }

    /// What is open where the parser stands.
    fn opened(&self) -> Opened {
        let mut opened = Opened::default();
        let (mut line, mut column, mut before) = (1, 0, '\n');
        let mut characters = self.text.chars().peekable();
        let mut comment = false;
        while let Some(c) = characters.next() {
            if (line, column) >= (self.line, self.column) {
                break;
            }
            match (opened.quote, c) {
                (_, '\n') => comment = false,
                _ if comment => {}
                (Some((_, _, '"')), '\\') if characters.next_if(|next| *next != '\n').is_some() => {
                    column += 1
                }
                (Some((_, _, '\'')), '\'') if characters.next_if_eq(&'\'').is_some() => column += 1,
                (Some((began, at, quote)), _) if c == quote => {
                    opened.long_quote = (began < line).then_some((began, at, quote));
                    opened.quote = None;
                }
                (None, '#') if before.is_whitespace() => comment = true,
                (None, '"' | '\'')
                    if before.is_whitespace() || matches!(before, '[' | '{' | ',' | ':') =>
                {
                    opened.quote = Some((line, column, c))
                }
                (None, '[' | '{') if !opened.brackets.is_empty() || before.is_whitespace() => {
                    opened.brackets.push((line, column, c))
                }
                (None, ']' | '}') => {
                    opened.brackets.pop();
                }
                _ => {}
            }
            before = c;
            (line, column) = if c == '\n' { (line + 1, 0) } else { (line, column + 1) };
        }
        opened
    }
}

/// Line from 1, column from 0, and the character.
type Opening = (usize, usize, char);

#[derive(Default)]
struct Opened {
    quote: Option<Opening>,
    /// The last quote that was closed in a later line than it was opened in.
    long_quote: Option<Opening>,
    brackets: Vec<Opening>,
}
