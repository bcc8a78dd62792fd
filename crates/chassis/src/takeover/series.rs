//! The recorder's counters from one process to the next: read from its exposition, which is the
//! only list of them, and raised to that in the successor.

use std::collections::BTreeMap;

use ::metrics::{Key, Label, Level, Metadata, with_recorder};

use crate::scrape;

/// What they go by among the totals.
pub(crate) const KEY: &str = "metrics";

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// All counters of an exposition in Prometheus's text format, by name and labels.
pub(crate) fn of(exposition: &str) -> BTreeMap<String, u64> {
    let (mut counter, mut all) = ("", BTreeMap::new());
    for line in exposition.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            counter = described.strip_suffix(" counter").unwrap_or("");
        } else if !counter.is_empty()
            && line.strip_prefix(counter).is_some_and(|it| it.starts_with(['{', ' ']))
            && let Some((series, value)) = line.rsplit_once(' ')
            && let Ok(value) = value.parse()
        {
            all.insert(series.to_owned(), value);
        }
    }
    all
}

/// Raises this process's counters to these.
pub(super) fn continue_with(counters: &BTreeMap<String, u64>) {
    for (series, value) in counters {
        if let Some(key) = key(series) {
            with_recorder(|it| it.register_counter(&key, &METADATA)).increment(*value);
        }
    }
}

/// `name{label="value",…}`; none: it is written in another way.
fn key(series: &str) -> Option<Key> {
    let scrape::Series { name, labels, rest } = scrape::series(series)?;
    let labels: Vec<_> = labels.into_iter().map(|(key, value)| Label::new(key, value)).collect();
    rest.is_empty().then(|| Key::from_parts(name.to_owned(), labels))
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn counters_go_on_where_they_were_and_gauges_do_not() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let odd = "a \"quoted\\ one\nin } two lines";
        ::metrics::with_local_recorder(&recorder, || {
            ::metrics::counter!("plain_total").increment(3);
            ::metrics::counter!("odd_total", "a" => odd, "b" => "x,y").increment(7);
            ::metrics::gauge!("gauge").set(4.0);
        });
        let before = of(&handle.render());
        assert_eq!(before.values().copied().collect::<Vec<_>>(), [7, 3]);
        let successor = PrometheusBuilder::new().build_recorder();
        let handle = successor.handle();
        ::metrics::with_local_recorder(&successor, || {
            continue_with(&before);
            ::metrics::counter!("plain_total").increment(1);
            ::metrics::counter!("odd_total", "a" => odd, "b" => "x,y").increment(1);
        });
        let after: Vec<_> = of(&handle.render()).into_iter().collect();
        let names: Vec<_> = before.keys().cloned().collect();
        assert_eq!(after, [(names[0].clone(), 8), (names[1].clone(), 4)]);
        assert_eq!(key("broken{a=\"b"), None);
    }
}
