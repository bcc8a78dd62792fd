//! A chart as SVG: a group of bars a trial, each trial on a scale of its own, with the spread as a
//! line. Two columns of groups.

use crate::{
    contender::Who,
    results::Results,
    statistics::Spread,
    trial::{Trial, Unit, all},
};

const COLUMN: f64 = 470.0;
const GUTTER: f64 = 24.0;
const MARGIN: f64 = 18.0;
/// Beside the longest bar, for its number and what failed.
const NUMBERS: f64 = 30.0;
const LABELS: f64 = 168.0;
const LONGEST: f64 = 230.0;
const BAR: f64 = 12.0;
const STEP: f64 = 18.0;
const HEADING: f64 = 26.0;
const BETWEEN: f64 = 14.0;

/// Both in daylight and at night; where nobody asks, in daylight. No font but the reader's own.
const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2937}\
.title{font-weight:600}.unit{fill:#6b7280;font-size:11px;font-weight:400}\
.ground{fill:#ffffff}.ours{fill:#0f766e}.theirs{fill:#a8b3c2}\
.spread{stroke:#111827;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.unit{fill:#9ca3af}.ground{fill:#0d1117}\
.ours{fill:#2dd4bf}.theirs{fill:#5b6675}\
.spread{stroke:#f9fafb}}";

/// The chart of everything that several took part in. Shorter is better.
pub fn render(results: &Results) -> String {
    let groups: Vec<(&Trial, Vec<Bar>)> = all()
        .map(|trial| (trial, bars(results, trial)))
        .filter(|(trial, bars)| {
            bars.len() > 1 && !matches!(trial.unit, Unit::TimesAsked | Unit::Nodes)
        })
        .collect();
    let mut tops = [MARGIN; 2];
    let mut text = String::new();
    for (trial, bars) in groups {
        // The next group goes where there is more room, so that both columns end at about the same
        // height.
        let column = usize::from(tops[1] < tops[0]);
        let left = MARGIN + column as f64 * (COLUMN + GUTTER);
        text += &group(trial, &bars, left, tops[column]);
        tops[column] += HEADING + bars.len() as f64 * STEP + BETWEEN;
    }
    let (width, height) = (2.0 * (MARGIN + COLUMN) + GUTTER + NUMBERS, tops[0].max(tops[1]));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Shoal beside its peers: shorter is better\">\n<style>{STYLE}</style>\n\
         <path class=\"ground\" d=\"M0 0H{width}V{height}H0Z\"/>\n{text}</svg>\n"
    )
}

/// Whose, how long, and what failed meanwhile, in words.
type Bar = (Who, Spread, String);

fn bars(results: &Results, trial: &Trial) -> Vec<Bar> {
    let bar = |who| {
        let failed =
            results.values(trial.name, who, |sample| sample.failed.map(|failed| failed as f64));
        let failed = if failed.is_empty() {
            String::new()
        } else {
            format!(", {:.0} failed", failed.iter().sum::<f64>())
        };
        Some((who, results.spread(trial.name, who, |sample| Some(sample.cost))?, failed))
    };
    results.who(trial.name).into_iter().filter_map(bar).collect()
}

fn group(trial: &Trial, bars: &[Bar], left: f64, top: f64) -> String {
    let greatest =
        bars.iter().map(|(_, spread, _)| spread.greatest).fold(f64::MIN_POSITIVE, f64::max);
    let (from, at) =
        (left + LABELS, |value: f64| left + LABELS + value.max(0.0) / greatest * LONGEST);
    let (title, y_title) = (short(trial.title), top + 13.0);
    let mut text = format!(
        "<text class=\"title\" x=\"{left}\" y=\"{y_title:.1}\">{title} <tspan \
         class=\"unit\">{}</tspan></text>\n",
        trial.unit.name()
    );
    for (index, (who, spread, failed)) in bars.iter().enumerate() {
        let y = top + HEADING + index as f64 * STEP;
        let (middle, base) = (y + BAR / 2.0, y + BAR - 2.0);
        let class = if who.is_ours() { "ours" } else { "theirs" };
        let value = if spread.median >= 100.0 {
            format!("{:.0}", spread.median)
        } else {
            format!("{:.2}", spread.median)
        };
        let value = value + failed;
        text += &format!(
            "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text><rect \
             class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
             height=\"{BAR}\" rx=\"2\"/><path class=\"spread\" d=\"M{:.1} \
             {middle:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{base:.1}\">{value}</text>\n",
            from - 6.0,
            short(who.name()),
            (at(spread.median) - from).max(1.0),
            at(spread.least),
            at(spread.greatest),
            at(spread.greatest) + 6.0,
        );
    }
    text
}

/// What fits: names and titles up to where they become particular.
fn short(text: &str) -> String {
    let text = text
        .replace("Shoal proxy-node, with the list", "Shoal, with the list")
        .replace("Shoal, balancer + 3 proxy-nodes", "Shoal, 1 + 3");
    let text = text
        .replace("HAProxy + 3 Squid, as in textbooks", "HAProxy + 3 Squid")
        .replace("HAProxy + 3 Squid, tuned", "the same, tuned");
    let text = text
        .replace(" with -9", "")
        .replace(" with SIGSTOP", "")
        .replace(" of idle keep-alive", " of idle");
    let text = match text.split_once(", with a list of") {
        Some((before, _)) => format!("{before}, a million domains"),
        None => text,
    };
    text.replace(" with a list of 1,000,000 domains", ", a million domains")
        .replace("From the start of the process to the first answer", "Start")
}

#[cfg(test)]
mod tests {
    use crate::report::markdown::tests::example;

    #[test]
    fn the_chart_has_a_bar_for_each_and_two_sets_of_colours() {
        let svg = super::render(&example());
        assert_eq!(
            svg.matches("<rect class=").count(),
            2,
            "nobody to compare with in the other trial: {svg}"
        );
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("prefers-color-scheme:dark") && !svg.contains("http://fonts"));
    }
}
