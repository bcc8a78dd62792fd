//! Reading `/metrics`: Prometheus's text format, as far as it carries plain numbers. Pure.

/// The numbers of one process, as its `/metrics` told them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads a text; lines that are none of the format are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The value of a metric without regard to labels, when there is one: their sum.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0
            .iter()
            .filter(|sample| sample.name == name)
            .map(|sample| sample.value)
            .reduce(|one, other| one + other)
    }

    /// Every value of a metric, by the value of a label.
    pub fn by<'a>(
        &'a self,
        name: &'a str,
        label: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        let of = move |sample: &'a Sample| {
            let mut labels = sample.labels.iter();
            labels.find_map(|(key, value)| (key == label).then_some((&**value, sample.value)))
        };
        self.0.iter().filter(move |sample| sample.name == name).filter_map(of)
    }

    /// The same as a count.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.get(name).map(whole)
    }

    /// The sum of a metric where a label has this value.
    #[must_use]
    pub fn with(&self, name: &str, label: &str, wanted: &str) -> Option<u64> {
        let has = |sample: &&Sample| {
            sample.name == name
                && sample.labels.iter().any(|(key, value)| key == label && value == wanted)
        };
        self.0
            .iter()
            .filter(has)
            .map(|sample| sample.value)
            .reduce(|one, other| one + other)
            .map(whole)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, saturating")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// `name{label="value",…} 1.5 [time]`
fn sample(line: &str) -> Option<Sample> {
    let Series { name, labels, rest } = series(line)?;
    number(rest).map(|value| Sample { name: name.to_owned(), labels, value })
}

/// The beginning of a line.
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: Vec<(String, String)>,
    /// What comes after them.
    pub(crate) rest: &'a str,
}

/// Reads it; none: it is not of the format.
pub(crate) fn series(line: &str) -> Option<Series<'_>> {
    let Some(open) = line.find('{') else {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        return Some(Series { name, labels: Vec::new(), rest });
    };
    let (name, mut rest) = (&line[..open], &line[open + 1..]);
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some(Series { name, labels, rest });
        }
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((key.to_owned(), value));
        rest = after;
    }
}

/// Up to the closing quote, escapes undone; and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels() {
        let text = "# HELP a b\n# TYPE a counter\na 3\nb{x=\"1\",y=\"say \\\"}\\\" \\\\\"} \
            2.5\nb{x=\"2\"} 1 1700000000\nc NaN\nd{broken 1\n\ne\nf{x=\"1\n";
        let found = Metrics::parse(text);
        assert_eq!(found.0.len(), 3, "{found:?}");
        assert_eq!((found.get("a"), found.get("b"), found.get("c")), (Some(3.0), Some(3.5), None));
        assert_eq!(
            (found.count("a"), found.with("b", "x", "2"), found.with("b", "x", "9")),
            (Some(3), Some(1), None)
        );
        assert_eq!(found.with("b", "y", "say \"}\" \\"), Some(3));
    }

    #[test]
    fn nothing_makes_it_stumble() {
        for text in [
            "{",
            "}",
            "a{",
            "a{b=\"",
            "a{b=\"\\",
            "a{}",
            "a{} x",
            "a{b=\"c\"}1",
            "\u{0}{\u{ff}=\"",
            " ",
        ] {
            assert!(Metrics::parse(text).0.len() <= 1, "{text}");
        }
    }
}
