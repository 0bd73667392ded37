//! Throughput and memory over time.

use fractal_logs::RunState;
use fractal_sweeps::predict::{Memory, MemoryAsk, MemoryVerdict};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{rows_per_s, window, workers};
use crate::app::App;
use crate::run::OpenRun;
use crate::theme::Tone;
use crate::units;
use crate::view::chart::{self, Series};
use crate::view::{self, put};

/// A worker whose latest sample is older than this has no current value, µs.
const STALE_US: u64 = 3_000_000;

/// Sums (or the maximum) over workers of a value of their samples, in `columns` equal stretches of time.
/// `value` sees a sample and the one before it.
fn over_time(
    state: &RunState,
    (from, to): (u64, u64),
    columns: usize,
    largest: bool,
    value: impl Fn(&fractal_logs::state::Sample, Option<&fractal_logs::state::Sample>) -> f64,
) -> Vec<f64> {
    let mut sums = vec![f64::NAN; columns];
    if columns == 0 || to <= from {
        return sums;
    }
    let per_us = columns as f64 / (to - from) as f64;
    let column = |us: u64| (us.saturating_sub(from) as f64 * per_us) as usize;
    // A worker's own values: the mean (or the largest) of its samples in each column, with how many there were.
    let mut own = vec![(f64::NAN, 0.0); columns];
    for worker in state.workers.values() {
        own.fill((f64::NAN, 0.0));
        let first = worker.samples.partition_point(|sample| sample.elapsed_us.saturating_add(STALE_US) < from);
        let mut before = first.checked_sub(1).map(|place| &worker.samples[place]);
        // A few samples of a column tell its mean; a peak may be in any of them.
        let stride = if largest { 1 } else { ((worker.samples.len() - first) / (4 * columns)).max(1) };
        for (place, sample) in worker.samples.iter().enumerate().skip(first).step_by(stride) {
            let v = value(sample, before);
            before = Some(sample);
            if sample.elapsed_us > to {
                break;
            }
            let next =
                worker.samples.get(place + stride).map_or(sample.elapsed_us.saturating_add(STALE_US), |n| n.elapsed_us);
            // A sample tells of the time before it; what came after it is drawn up to the next one.
            let until = next.min(sample.elapsed_us.saturating_add(STALE_US)).min(state.elapsed_us);
            if until < from || !v.is_finite() {
                continue;
            }
            let a = column(sample.elapsed_us);
            let Some((old, count)) = own.get_mut(a) else { continue };
            *old = match (*count == 0.0, largest) {
                (true, _) => v,
                (false, true) => old.max(v),
                (false, false) => *old + (v - *old) / (*count + 1.0),
            };
            *count += 1.0;
            let b = column(until).min(columns);
            if b > a + 1 {
                own[a + 1..b].fill((v, 0.0));
            }
        }
        for (slot, (v, _)) in sums.iter_mut().zip(&own) {
            *slot = match (slot.is_nan(), v.is_nan(), largest) {
                (_, true, _) => *slot,
                (true, ..) => *v,
                (false, _, true) => slot.max(*v),
                (false, _, false) => *slot + v,
            };
        }
    }
    sums
}

fn cpu_rate(sample: &fractal_logs::state::Sample, before: Option<&fractal_logs::state::Sample>) -> f64 {
    rate(sample, before, |sample| sample.cpu_us) / 1e6
}

fn rate(
    sample: &fractal_logs::state::Sample,
    before: Option<&fractal_logs::state::Sample>,
    of: fn(&fractal_logs::state::Sample) -> u64,
) -> f64 {
    let Some(before) = before else { return 0.0 };
    let passed = sample.elapsed_us.saturating_sub(before.elapsed_us);
    if passed == 0 { 0.0 } else { of(sample).saturating_sub(of(before)) as f64 * 1e6 / passed as f64 }
}

fn top_of(values: &[f64]) -> f64 {
    values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max)
}

/// Rows a second, busy cores, bytes exchanged and read a second.
pub(super) fn render_speed(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun, focused: bool) {
    let theme = app.theme;
    let state = run.state();
    let inner = view::pane(frame, area, app, "Throughput", if focused { "+ - zoom" } else { "" }, focused);
    if state.workers.values().all(|worker| worker.samples.is_empty()) {
        view::empty(frame, inner, app, &[("no worker has reported a pulse yet at this moment", false)]);
        return;
    }
    let label = 10;
    let value_width = 11;
    let width = inner.width.saturating_sub(label + value_width) as usize;
    let span = window(app, state);
    let threads: u32 = state.workers.values().map(|worker| worker.threads.unwrap_or(0)).sum();
    let busy = over_time(state, span, width, false, cpu_rate);
    let net = over_time(state, span, width, false, |s, b| rate(s, b, |s| s.exchanged_bytes));
    let read = over_time(state, span, width, false, |s, _| s.bytes_per_s);
    let decimal = app.config.decimal_bytes;
    let now =
        state.workers.values().filter(|w| w.finished_us.is_none() && w.lost.is_none() && state.finished.is_none());
    let (cpu_now, net_now) = now.filter_map(workers::rates).fold((0.0, 0.0), |sum, r| (sum.0 + r.0, sum.1 + r.1));
    let last_read = read.iter().rev().copied().find(|v| v.is_finite()).unwrap_or(0.0);
    // A run that is over has no current values: then the highest are told.
    let over = state.finished.is_some();
    let (net_value, read_value) = if over { (top_of(&net), top_of(&read)) } else { (net_now, last_read) };
    let cores = if over { top_of(&busy) } else { cpu_now };
    let cores = format!("{cores:.1}/{threads}");
    let per_second = |value: f64| format!("{}/s", units::bytes(value as u64, decimal));
    let mut lines: Vec<(String, Vec<f64>, f64, String)> = vec![
        ("busy cores".into(), busy, f64::from(threads.max(1)), cores),
        ("exchanged".into(), net, 0.0, per_second(net_value)),
        ("read".into(), read, 0.0, per_second(read_value)),
    ];
    let room = inner.height.saturating_sub(3);
    lines.truncate(room.clamp(0, 3) as usize);
    let chart_height = inner.height - lines.len() as u16;
    let place = Rect { x: inner.x + label, y: inner.y, width: width as u16, height: chart_height };
    let columns = if theme.ascii { width } else { width * 2 };
    let rows = over_time(state, span, columns, false, |s, _| s.rows_per_s);
    let top = chart::axis_top(top_of(&rows));
    let points = rows.iter().enumerate().filter(|(_, v)| v.is_finite()).map(|(i, v)| (i as f64, *v)).collect();
    let series = Series { points, style: theme.series(2), mark: '*', joined: true, dotted: false };
    let buffer = frame.buffer_mut();
    chart::lines(buffer, place, theme, &[series], (0.0, columns.max(2) as f64 - 1.0), (0.0, top));
    put(buffer, inner.x, inner.y, "rows/s", label, theme.dim());
    let axis = format!("{:>w$}", units::short(top), w = label as usize - 1);
    if chart_height > 1 {
        put(buffer, inner.x, inner.y + 1, &axis, label, theme.dim());
    }
    if chart_height > 2 {
        put(
            buffer,
            inner.x,
            inner.y + chart_height - 1,
            &format!("{:>w$}", "0", w = label as usize - 1),
            label,
            theme.dim(),
        );
    }
    let x = inner.right() - value_width + 1;
    let rate = if over { top_of(&rows) } else { rows_per_s(state) };
    put(buffer, x, inner.y, &format!("{:>10}", units::short(rate)), value_width, theme.strong());
    if chart_height > 1 {
        put(buffer, x, inner.y + 1, &format!("{:>10}", if over { "highest" } else { "now" }), value_width, theme.dim());
    }
    for (line, (name, values, top, value)) in lines.into_iter().enumerate() {
        let y = inner.y + chart_height + line as u16;
        put(buffer, inner.x, y, &name, label, theme.dim());
        let top = if top > 0.0 { top } else { top_of(&values) };
        put(buffer, inner.x + label, y, &theme.spark(&values, top), width as u16, theme.series(line));
        put(buffer, x, y, &format!("{value:>10}"), value_width, theme.text());
    }
}

/// What decides the memory of a worker of this run, as far as it is known.
fn memory_ask(state: &RunState) -> Option<MemoryAsk> {
    let spec = &state.started.as_ref()?.spec;
    let subset = fractal_logs::Subset::Train;
    let (mut rows, mut read, mut all) = (0u64, 0u64, 0u64);
    for (_, partition) in state.partitions_of(subset) {
        let bytes = partition.planned.as_ref().map_or(0, |planned| planned.bytes);
        all = all.saturating_add(bytes);
        if let Some(loaded) = &partition.loaded {
            rows = rows.saturating_add(loaded.rows);
            read = read.saturating_add(bytes);
        }
    }
    if rows == 0 {
        return None;
    }
    // While partitions are missing, they are taken to be as dense as the others.
    let rows = if read > 0 { (rows as f64 * all as f64 / read as f64) as u64 } else { rows };
    let classes = state.subsets.get(&subset).map_or(0, |s| s.classes.len());
    Some(MemoryAsk {
        rows,
        workers: spec.topology.workers,
        cores: spec.topology.cores,
        trees: spec.forest.trees,
        depth: spec.forest.depth,
        features: spec.data.schema.feature_names().len() as u32,
        bins: spec.forest.bins,
        classes: if classes == 0 { 9 } else { classes as u32 },
        histogram_budget: spec.topology.histogram_budget,
        rows_in_memory: spec.topology.rows_in_memory,
        limit: spec.topology.memory,
    })
}

/// A worker's predicted peak, bytes; `None` until rows are known.
pub(super) fn predicted_peak(state: &RunState) -> Option<u64> {
    Some(Memory::default().predict(&memory_ask(state)?).bytes)
}

/// Resident bytes of the workers, against limit and prediction; what deeper trees would take.
pub(super) fn render_memory(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun, focused: bool) {
    let theme = app.theme;
    let state = run.state();
    let decimal = app.config.decimal_bytes;
    let inner =
        view::pane(frame, area, app, "Memory of the largest worker", if focused { "+ - zoom" } else { "" }, focused);
    if state.workers.values().all(|worker| worker.samples.is_empty()) {
        view::empty(frame, inner, app, &[("no worker has reported its memory yet at this moment", false)]);
        return;
    }
    let limit = state.workers.values().filter_map(|worker| worker.granted?.memory).min();
    let predicted = predicted_peak(state);
    let peak = state.workers.values().map(|worker| worker.peak_rss_bytes).max().unwrap_or(0);
    let advice = advice(app, state, peak);
    let label = 17;
    let width = inner.width.saturating_sub(label) as usize;
    let height = inner.height.saturating_sub(u16::from(advice.is_some() && inner.height > 3));
    let place = Rect { x: inner.x + label, width: width as u16, height, ..inner };
    let columns = if theme.ascii { width } else { width * 2 };
    let span = window(app, state);
    let rss = over_time(state, span, columns, true, |s, _| s.rss_bytes as f64);
    // A limit far above everything would press the curve flat: then it is told in words only.
    let used = top_of(&rss).max(predicted.unwrap_or(0) as f64).max(peak as f64);
    let limit_shown = limit.filter(|&limit| limit as f64 <= used * 4.0);
    let top = used.max(limit_shown.unwrap_or(0) as f64) * 1.05;
    let right = columns.max(2) as f64 - 1.0;
    let flat = |value: f64| vec![(0.0, value), (right, value)];
    let mut series = Vec::new();
    if let Some(limit) = limit_shown {
        series.push(Series {
            points: flat(limit as f64),
            style: theme.tone(Tone::Bad),
            mark: '-',
            joined: true,
            dotted: true,
        });
    }
    if let Some(bytes) = predicted {
        series.push(Series {
            points: flat(bytes as f64),
            style: theme.series(4),
            mark: '.',
            joined: true,
            dotted: true,
        });
    }
    let points = rss.iter().enumerate().filter(|(_, v)| v.is_finite()).map(|(i, v)| (i as f64, *v)).collect();
    series.push(Series { points, style: theme.series(0), mark: '*', joined: true, dotted: false });
    let buffer = frame.buffer_mut();
    chart::lines(buffer, place, theme, &series, (0.0, right), (0.0, top));
    // Labels at the heights of their lines; where two would meet, the lower one moves down.
    let row = |value: f64| ((1.0 - value / top) * f64::from(height.saturating_sub(1))).round().max(0.0) as u16;
    let mut labels: Vec<(u16, String, ratatui::style::Style)> = Vec::new();
    if let Some(limit) = limit {
        let at = if limit_shown.is_some() { row(limit as f64) } else { 0 };
        let sign = if limit_shown.is_some() { "" } else { theme.either("↑ ", "^ ") };
        labels.push((at, format!("{sign}limit {}", units::bytes(limit, decimal)), theme.tone(Tone::Bad)));
    }
    if let Some(bytes) = predicted {
        labels.push((row(bytes as f64), format!("pred. {}", units::bytes(bytes, decimal)), theme.series(4)));
    }
    labels.push((row(peak as f64), format!("peak {}", units::bytes(peak, decimal)), theme.series(0)));
    labels.sort_by_key(|label| label.0);
    let mut next = 0;
    for (at, text, style) in labels {
        let at = at.max(next);
        if at < height {
            put(buffer, inner.x, inner.y + at, &format!("{text:>w$}", w = label as usize - 1), label, style);
        }
        next = at + 1;
    }
    if let Some(spans) = advice
        && inner.height > 3
    {
        let place = Rect { y: inner.bottom() - 1, height: 1, ..inner };
        frame.render_widget(Line::from(spans), place);
    }
}

/// What the next depths would take, by the closed form calibrated with this run's peak.
fn advice(app: &App, state: &RunState, peak: u64) -> Option<Vec<Span<'static>>> {
    let theme = app.theme;
    let ask = memory_ask(state)?;
    let memory = Memory::calibrate(&[(ask, peak)]);
    let mut spans = vec![Span::styled("advisor: ", theme.dim())];
    for depth in [ask.depth + 2, ask.depth + 4] {
        let predicted = memory.predict(&MemoryAsk { depth, ..ask });
        let (word, tone) = match predicted.verdict {
            MemoryVerdict::NoLimit => ("", Tone::Plain),
            MemoryVerdict::Fits => (" ok", Tone::Good),
            MemoryVerdict::Tight => (" tight", Tone::Warn),
            MemoryVerdict::Exceeds => (" too much", Tone::Bad),
        };
        let text = format!(
            "depth {depth} {} {}{word}",
            theme.either("→", "->"),
            units::bytes(predicted.bytes, app.config.decimal_bytes)
        );
        spans.push(Span::styled(text, theme.tone(tone)));
        spans.push(Span::styled(theme.either(" · ", "  "), theme.dim()));
    }
    spans.pop();
    Some(spans)
}

#[cfg(test)]
mod tests {
    use fractal_logs::state::{Sample, WorkerState};

    use super::*;

    /// However many pulses fall into a column, a worker counts once in it.
    #[test]
    fn workers_are_summed_and_their_samples_are_not() {
        let pulse = |elapsed_us: u64| Sample {
            elapsed_us,
            phase: fractal_logs::Phase::Train,
            rows_per_s: 5.0,
            bytes_per_s: 0.0,
            rss_bytes: elapsed_us,
            peak_rss_bytes: 0,
            cpu_us: elapsed_us,
            exchanged_bytes: 0,
            throttled: None,
        };
        for samples in [10u64, 100, 2000] {
            let mut state = RunState { elapsed_us: 10_000_000, ..RunState::default() };
            for worker in 0..2 {
                let samples = (0..samples).map(|i| pulse(i * 10_000_000 / samples)).collect();
                state.workers.insert(worker, WorkerState { samples, ..WorkerState::default() });
            }
            let sums = over_time(&state, (0, 10_000_000), 10, false, |sample, _| sample.rows_per_s);
            assert_eq!(sums, [10.0; 10], "{samples} samples");
            let most = over_time(&state, (0, 10_000_000), 10, true, |sample, _| sample.rss_bytes as f64);
            let last = |column: u64| {
                (0..samples).map(|i| i * 10_000_000 / samples).filter(|us| us / 1_000_000 == column).max()
            };
            assert_eq!(most, (0..10).map(|column| last(column).unwrap() as f64).collect::<Vec<_>>());
        }
    }
}
