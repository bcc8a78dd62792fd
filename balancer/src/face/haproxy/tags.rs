//! What a number is, as HAProxy's typed and JSON outputs say it: a letter each for where it comes
//! from, what it is like, and what it belongs to.

/// The words of three letters: origin, nature, scope.
#[must_use]
pub fn words(tags: &str) -> [&'static str; 3] {
    let mut letters = tags.chars();
    let mut next = || letters.next().unwrap_or_default();
    [origin(next()), nature(next()), scope(next())]
}

const fn origin(letter: char) -> &'static str {
    match letter {
        'M' => "Metric",
        'S' => "Status",
        'K' => "Key",
        'C' => "Config",
        _ => "Product",
    }
}

const fn nature(letter: char) -> &'static str {
    match letter {
        'G' => "Gauge",
        'L' => "Limit",
        'm' => "Min",
        'M' => "Max",
        'R' => "Rate",
        'C' => "Counter",
        'D' => "Duration",
        'A' => "Age",
        'T' => "Time",
        'N' => "Name",
        'a' => "Avg",
        _ => "Output",
    }
}

const fn scope(letter: char) -> &'static str {
    match letter {
        'C' => "Cluster",
        'P' => "Process",
        's' => "System",
        _ => "Service",
    }
}
