//! A chart as SVG: a group of bars a trial, each trial on a scale of its own, with the spread as a line.

use crate::{
    contender::Who,
    results::{Results, Spread},
    trial::{TRIALS, Trial},
};

const WIDTH: f64 = 860.0;
const LABELS: f64 = 190.0;
const LONGEST: f64 = 520.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const HEADING: f64 = 34.0;

/// The chart of everything that was measured. Shorter is better.
pub fn render(results: &Results) -> String {
    let mut y = 12.0;
    let mut groups = String::new();
    for trial in TRIALS {
        let bars: Vec<(Who, Spread)> = results
            .who(trial.name)
            .into_iter()
            .filter_map(|who| Some((who, results.spread(trial.name, who, |sample| Some(sample.cost))?)))
            .collect();
        if !bars.is_empty() {
            groups += &group(trial, &bars, y);
            y += HEADING + bars.len() as f64 * STEP + 10.0;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"13\">\n<style>.ours{{fill:#0f766e}}.theirs{{fill:#94a3b8}}text{{fill:#1f2937}}.unit{{fill:#6b7280;font-size:11px}}</style>\n\
         <path d=\"M0 0H{WIDTH}V{y}H0Z\" fill=\"#ffffff\"/>\n{groups}</svg>\n"
    )
}

fn group(trial: &Trial, bars: &[(Who, Spread)], top: f64) -> String {
    let greatest = bars.iter().map(|(_, spread)| spread.greatest).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| LABELS + value / greatest * LONGEST;
    let title = top + 20.0;
    let mut text = format!(
        "<text x=\"12\" y=\"{title}\" font-weight=\"600\">{} <tspan class=\"unit\">{}, less is better</tspan></text>\n",
        trial.title,
        trial.unit.name()
    );
    for (index, (who, spread)) in bars.iter().enumerate() {
        let y = top + HEADING + index as f64 * STEP;
        let (middle, base) = (y + BAR / 2.0, y + BAR - 3.5);
        let class = if who.program().is_none() { "ours" } else { "theirs" };
        text += &format!(
            "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LABELS}\" y=\"{y:.1}\" width=\"{:.1}\" \
             height=\"{BAR}\" rx=\"2\"/><path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#111827\"/><text x=\"{:.1}\" y=\"{base:.1}\">{:.2}</text>\n",
            LABELS - 8.0,
            who.name(),
            at(spread.median) - LABELS,
            at(spread.least),
            at(spread.greatest),
            at(spread.greatest) + 8.0,
            spread.median,
        );
    }
    text
}
