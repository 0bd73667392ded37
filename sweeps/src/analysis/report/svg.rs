//! Charts as inline SVG: no scripts, colours from the page's CSS, text that a screen reader finds.

use std::fmt::Write;

/// Text safe inside HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// How values map to an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// Equal factors, equal lengths.
    Log,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its name, at its right end and in the legend.
    pub(super) name: String,
    /// (x, y), by x.
    pub(super) points: Vec<(f64, f64)>,
    /// CSS class: `s0`…`s7`, `ideal` or `fit s0`.
    pub(super) class: String,
    /// Whether its points are marked.
    pub(super) marks: bool,
}

/// A line chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_name: String,
    pub(super) y_name: String,
    pub(super) x_scale: Scale,
    pub(super) y_scale: Scale,
    pub(super) lines: Vec<Line>,
    /// Extends the y axis to at least here.
    pub(super) y_at_least: f64,
    /// y values print with this suffix.
    pub(super) unit: &'static str,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 82.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Characters of a line's name that find room at its end.
const LONGEST_LABEL: usize = 11;

struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share * (self.to - self.from)
    }
}

/// Round steps: 1, 2 or 5 times a power of ten, at most `most` of them up to `high`.
pub(super) fn linear_ticks(high: f64, most: usize) -> Vec<f64> {
    let raw = high / most as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw * 0.999).unwrap_or(power * 10.0);
    (0..).map(|i| f64::from(i) * step).take_while(|t| *t <= high * 1.0001).collect()
}

/// 1, 2, 5 times powers of ten inside the range; only powers where those were too many.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = |ms: &[f64]| -> Vec<f64> {
        let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
        let all = powers.flat_map(|e| ms.iter().map(move |m| m * 10f64.powi(e)).collect::<Vec<_>>());
        all.filter(|t| (low * 0.999..=high * 1.001).contains(t)).collect()
    };
    let fine = decades(&[1.0, 2.0, 5.0]);
    if fine.len() <= 8 { fine } else { decades(&[1.0]) }
}

/// A number with no more digits than it needs.
pub(super) fn plain(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == v.round() => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.001 => {
            // Two digits that say something: 0.25, 0.05, 0.0123.
            let digits = (1 - v.log10().floor() as i32).max(2) as usize;
            format!("{value:.digits$}").trim_end_matches('0').trim_end_matches('.').into()
        }
        _ => format!("{value:.2e}"),
    }
}

impl Chart {
    /// The chart as a `figure`; a sentence instead where there is nothing to draw.
    pub(super) fn figure(&self) -> String {
        let drawn: Vec<&(f64, f64)> = self.lines.iter().flat_map(|l| &l.points).collect();
        if drawn.is_empty() {
            return format!("<figure><figcaption>{}</figcaption><p>No points.</p></figure>", escape(&self.title));
        }
        let (x, y) = self.axes(&drawn);
        let mut svg = String::new();
        self.frame(&mut svg, &x, &y);
        let mut label_places: Vec<f64> = Vec::new();
        // Names that find no room at the ends of their lines stand in a legend.
        let long = |line: &Line| line.marks && line.name.chars().count() > LONGEST_LABEL;
        let legend = if self.lines.iter().any(long) {
            let items: String = self
                .lines
                .iter()
                .filter(|line| line.marks && !line.name.is_empty())
                .map(|line| format!("<span><i class=\"{}\"></i>{}</span>", escape(&line.class), escape(&line.name)))
                .collect();
            format!("<p class=\"legend\">{items}</p>")
        } else {
            String::new()
        };
        for line in &self.lines {
            let labels = (legend.is_empty() || !line.marks).then_some(&mut label_places);
            self.line(&mut svg, line, &x, &y, labels);
        }
        format!(
            "<figure><figcaption>{title}</figcaption>{legend}<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}: {y_name} over {x_name}\">{svg}</svg></figure>\n",
            title = escape(&self.title),
            y_name = escape(&self.y_name),
            x_name = escape(&self.x_name),
        )
    }

    fn axes(&self, drawn: &[&(f64, f64)]) -> (Axis, Axis) {
        let range = |of: fn(&(f64, f64)) -> f64| {
            drawn.iter().map(|p| of(p)).fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)))
        };
        let ((x_low, x_high), (y_low, y_high)) = (range(|p| p.0), range(|p| p.1));
        let widen = |low: f64, high: f64| if high > low { (low, high) } else { (low / 1.5, high * 1.5) };
        let (x_low, x_high) = widen(x_low, x_high);
        let x_low = if self.x_scale == Scale::Linear { 0.0 } else { x_low };
        let (y_low, y_high) = match self.y_scale {
            Scale::Linear => (0.0, (y_high * 1.05).max(self.y_at_least)),
            Scale::Log => widen(y_low / 1.15, y_high * 1.15),
        };
        (
            Axis { scale: self.x_scale, low: x_low, high: x_high, from: LEFT, to: WIDTH - RIGHT },
            Axis { scale: self.y_scale, low: y_low, high: y_high, from: HEIGHT - BOTTOM, to: TOP },
        )
    }

    fn frame(&self, svg: &mut String, x: &Axis, y: &Axis) {
        let y_ticks = match self.y_scale {
            Scale::Linear => linear_ticks(y.high, 6),
            Scale::Log => log_ticks(y.low, y.high),
        };
        for tick in y_ticks {
            let at = y.place(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                plain(tick),
                self.unit
            );
        }
        // The measured positions are the ticks: there are few, and they are what a reader looks for.
        let mut positions: Vec<f64> =
            self.lines.iter().filter(|l| l.marks).flat_map(|l| &l.points).map(|p| p.0).collect();
        positions.sort_by(f64::total_cmp);
        positions.dedup();
        let mut last = f64::NEG_INFINITY;
        for tick in positions {
            let at = x.place(tick);
            let _ = write!(
                svg,
                "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{}\"/>",
                y.from,
                y.from + 4.0
            );
            if at - last > 20.0 {
                let _ = write!(
                    svg,
                    "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    y.from + 18.0,
                    plain(tick)
                );
                last = at;
            }
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"name\" x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{x_name}</text>\
             <text class=\"name\" transform=\"translate(14 {across}) rotate(-90)\" text-anchor=\"middle\">{y_name}</text>",
            right = WIDTH - RIGHT,
            bottom = y.from,
            middle = (LEFT + WIDTH - RIGHT) / 2.0,
            below = HEIGHT - 6.0,
            across = (TOP + HEIGHT - BOTTOM) / 2.0,
            x_name = escape(&self.x_name),
            y_name = escape(&self.y_name),
        );
    }

    fn line(&self, svg: &mut String, line: &Line, x: &Axis, y: &Axis, labels: Option<&mut Vec<f64>>) {
        let Some(&(last_x, last_y)) = line.points.last() else { return };
        let path: Vec<String> =
            line.points.iter().map(|p| format!("{:.1},{:.1}", x.place(p.0), y.place(p.1))).collect();
        let class = escape(&line.class);
        let _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", path.join(" "));
        if line.marks {
            for p in &line.points {
                let _ = write!(
                    svg,
                    "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}: {} at {}</title></circle>",
                    x.place(p.0),
                    y.place(p.1),
                    escape(&line.name),
                    format_args!("{}{}", plain(p.1), self.unit),
                    plain(p.0)
                );
            }
        }
        let Some(label_places) = labels.filter(|_| !line.name.is_empty()) else { return };
        // Names stand at the line's end, moved apart where ends lie close.
        let end = (y.place(last_y) + 4.0).clamp(TOP + 10.0, y.from);
        let free = |at: f64| label_places.iter().all(|other| (at - other).abs() >= 13.0);
        // The nearest free place above or below; past thirty names they may as well overlap.
        let steps = (0..30).flat_map(|i| [end + f64::from(i) * 7.0, end - f64::from(i) * 7.0]);
        let at = steps.filter(|at| (8.0..=HEIGHT - 4.0).contains(at)).find(|at| free(*at)).unwrap_or(end);
        label_places.push(at);
        let _ = write!(
            svg,
            "<text class=\"label {class}\" x=\"{:.1}\" y=\"{at:.1}\">{}</text>",
            x.place(last_x) + 8.0,
            escape(&line.name)
        );
    }
}

/// One bar made of parts.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    /// (class, value, words) in order; values add up to at most the chart's whole.
    pub(super) parts: Vec<(&'static str, f64, String)>,
    /// A mark across the bar, as a memory limit.
    pub(super) mark: Option<(f64, String)>,
}

/// Horizontal bars of parts, on a common scale from 0 to `whole`.
pub(super) fn bars(title: &str, bars: &[Bar], whole: f64, legend: &[(&str, &str)], ticks: &[(f64, String)]) -> String {
    if bars.is_empty() {
        return format!("<figure><figcaption>{}</figcaption><p>Not recorded.</p></figure>", escape(title));
    }
    const NAME: f64 = 118.0;
    const ROW: f64 = 24.0;
    let top = 4.0;
    let height = top + bars.len() as f64 * ROW + 24.0;
    let width = WIDTH - NAME - 20.0;
    let place = |value: f64| NAME + (value / whole).clamp(0.0, 1.0) * width;
    let mut svg = String::new();
    for (value, words) in ticks {
        let x = place(*value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            height - 22.0,
            height - 8.0,
            escape(words)
        );
    }
    for (row, bar) in bars.iter().enumerate() {
        let y = top + row as f64 * ROW;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            NAME - 6.0,
            y + 14.0,
            escape(&bar.name)
        );
        let mut from = 0.0;
        for (class, value, words) in bar.parts.iter().filter(|part| part.1 > 0.0) {
            let (x1, x2) = (place(from), place(from + value));
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x1:.1}\" y=\"{}\" width=\"{:.1}\" height=\"16\"><title>{}</title></rect>",
                y + 2.0,
                (x2 - x1).max(0.0),
                escape(words)
            );
            from += value;
        }
        if let Some((value, words)) = &bar.mark {
            let x = place(*value);
            let _ = write!(
                svg,
                "<line class=\"limit\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{}\"><title>{}</title></line>",
                y + 20.0,
                escape(words)
            );
        }
    }
    let legend: String = legend
        .iter()
        .map(|(class, words)| format!("<span><i class=\"{class}\"></i>{}</span>", escape(words)))
        .collect();
    format!(
        "<figure><figcaption>{title}</figcaption><p class=\"legend\">{legend}</p>\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{svg}</svg></figure>\n",
        title = escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stand_in_a_legend() {
        let line = |name: &str| Line {
            name: name.into(),
            points: vec![(1.0, 1.0), (2.0, 2.0)],
            class: "s1".into(),
            marks: true,
        };
        let chart = |name: &str| {
            Chart {
                title: "t".into(),
                x_name: "workers".into(),
                y_name: "s".into(),
                x_scale: Scale::Linear,
                y_scale: Scale::Linear,
                lines: vec![line("f=0.1"), line(name)],
                y_at_least: 0.0,
                unit: "",
            }
            .figure()
        };
        assert!(chart("f=0.01").contains("class=\"label s1\"") && !chart("f=0.01").contains("legend"));
        let long = chart("f=0.01 another-sweep");
        assert!(!long.contains("class=\"label") && long.contains("<i class=\"s1\"></i>f=0.01 another-sweep</span>"));
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(linear_ticks(7.0, 6), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(linear_ticks(1.0, 6), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(log_ticks(90.0, 1100.0), [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(log_ticks(0.01, 100_000.0).len(), 8);
        assert_eq!([0.25, 3.0, 1234.5, 12.34].map(plain), ["0.25", "3", "1234", "12.3"]);
        assert_eq!([0.05, 0.0123, 0.00412].map(plain), ["0.05", "0.012", "0.0041"]);
    }

    #[test]
    fn names_are_escaped_and_labels_do_not_overlap() {
        let line = |name: &str, y: f64| Line {
            name: name.into(),
            points: vec![(1.0, 1.0), (2.0, y)],
            class: "s0".into(),
            marks: true,
        };
        let chart = Chart {
            title: "a <b>".into(),
            x_name: "workers".into(),
            y_name: "s".into(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            lines: vec![line("f<1", 2.0), line("f=2", 2.01), line("f=3", 1.99)],
            y_at_least: 0.0,
            unit: "",
        };
        let svg = chart.figure();
        assert!(svg.contains("f&lt;1") && !svg.contains("f<1"));
        let places: Vec<f64> = svg
            .split("class=\"label s0\" x=\"")
            .skip(1)
            .map(|rest| rest.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        for (i, a) in places.iter().enumerate() {
            assert!(places[i + 1..].iter().all(|b| (a - b).abs() >= 13.0), "{places:?}");
        }
    }
}
