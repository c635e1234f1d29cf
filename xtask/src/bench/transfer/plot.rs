//! Figures as a picture: one bar per tool, its spread, and the limit as a line.

use std::fmt::Write as _;

use crate::bench::{Measured, report};

const WIDTH: f64 = 760.0;
const NAMES: f64 = 230.0;
const VALUES: f64 = 130.0;
const BAR: f64 = 22.0;
const STEP: f64 = 34.0;
const TOP: f64 = 44.0;

/// An SVG of the medians. The first bar is Wherry's.
pub(super) fn bars(title: &str, measured: &[Measured], limit: Option<f64>) -> String {
    let spreads: Vec<Option<[f64; 3]>> = measured.iter().map(spread).collect();
    let longest = spreads.iter().flatten().map(|[_, _, high]| *high).fold(0.0, f64::max);
    let scale = (WIDTH - NAMES - VALUES) / longest.max(f64::MIN_POSITIVE);
    let height = TOP + STEP * measured.len() as f64 + 26.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"16\" fill=\"#222222\">{} (seconds, less is better)</text>\n",
        escape(title)
    );
    for (row, (tool, spread)) in measured.iter().zip(&spreads).enumerate() {
        let y = TOP + STEP * row as f64;
        let colour = if row == 0 { "#1f6f8b" } else { "#b0b7bd" };
        bar(&mut svg, &tool.name, y, spread.as_ref(), scale, colour);
    }
    if let Some(limit) = limit {
        let x = NAMES + limit * scale;
        let bottom = TOP + STEP * measured.len() as f64;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#c0392b\" stroke-dasharray=\"4 3\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#c0392b\">limit of two processors: {limit:.2}</text>",
            bottom + 16.0
        );
    }
    svg + "</svg>\n"
}

fn bar(svg: &mut String, name: &str, y: f64, spread: Option<&[f64; 3]>, scale: f64, colour: &str) {
    let middle = y + BAR * 0.7;
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\" fill=\"#222222\">{}</text>",
        NAMES - 8.0,
        escape(name)
    );
    let Some([low, median, high]) = spread else {
        let _ =
            writeln!(svg, "<text x=\"{NAMES}\" y=\"{middle:.1}\" fill=\"#888888\">failed</text>");
        return;
    };
    let (from, to, y_line) = (NAMES + low * scale, NAMES + high * scale, y + BAR / 2.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{NAMES}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
         <line x1=\"{from:.1}\" y1=\"{y_line:.1}\" x2=\"{to:.1}\" y2=\"{y_line:.1}\" stroke=\"#222222\"/>\n\
         <text x=\"{:.1}\" y=\"{middle:.1}\" fill=\"#222222\">{median:.2}</text>",
        median * scale,
        to.max(NAMES + median * scale) + 8.0
    );
}

/// Lowest, median and highest.
fn spread(tool: &Measured) -> Option<[f64; 3]> {
    let seconds = tool.outcome.as_ref().ok().filter(|seconds| !seconds.is_empty())?;
    let low = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let high = seconds.iter().copied().fold(0.0, f64::max);
    Some([low, report::median(seconds), high])
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_bar_or_the_word_that_it_failed() {
        let measured = [
            Measured { name: "ours".into(), outcome: Ok(vec![1.0, 2.0, 3.0]) },
            Measured { name: "a < b".into(), outcome: Ok(vec![4.0]) },
            Measured { name: "broken".into(), outcome: Err("no".into()) },
        ];
        let svg = bars("pull", &measured, Some(0.5));
        assert_eq!(svg.matches("fill=\"#1f6f8b\"").count(), 1, "one bar is ours");
        assert_eq!(svg.matches("fill=\"#b0b7bd\"").count(), 1);
        assert!(svg.contains(">2.00<") && svg.contains(">4.00<"), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains("failed"), "{svg}");
        assert!(svg.contains("limit of two processors: 0.50"), "{svg}");
        // The longest bar fills the room between names and values.
        assert!(svg.contains(&format!("width=\"{:.1}\"", WIDTH - NAMES - VALUES)), "{svg}");
    }
}
