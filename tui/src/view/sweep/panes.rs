//! The panes around the matrix: queue, selected cell, events.

use fractal_sweeps::sweep::{RunEnd, SweepEvent, SweepEventKind, SweepOutcome, kind_word};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::cells::{Cells, Metric};
use super::{Pane, matrix};
use crate::app::App;
use crate::theme::{Theme, Tone};
use crate::units;
use crate::view::lints::{severity_word, tone_of};
use crate::view::{self, empty};

/// What the panes draw.
pub(super) struct Shown<'a> {
    pub app: &'a App,
    pub cells: &'a Cells,
}

impl Shown<'_> {
    pub(super) fn pane(&self, frame: &mut Frame<'_>, area: Rect, pane: Pane) {
        match pane {
            Pane::Grid => matrix::render(frame, area, self),
            Pane::Queue => self.queue(frame, area),
            Pane::Cell => self.cell(frame, area),
            Pane::Events => self.events(frame, area),
        }
    }

    pub(super) fn is_focused(&self, pane: Pane) -> bool {
        self.app.sweep_state.focus == pane
    }

    fn queue(&self, frame: &mut Frame<'_>, area: Rect) {
        let app = self.app;
        let theme = app.theme;
        let status = app.sweep.as_ref().and_then(|sweep| sweep.status.ready());
        let left = status.map_or(0, |status| status.queue.len());
        let title = if left > 0 { format!("Queue  {left} left") } else { "Queue".to_string() };
        let inner = view::pane(frame, area, app, &title, "", self.is_focused(Pane::Queue));
        let Some(status) = status.filter(|status| status.running) else {
            let go_on = app.keymap.key_of(crate::keymap::Action::Sweep(super::Action::Pause), theme.ascii);
            let missing = status.map_or(0, |status| status.counts.planned);
            let line = match (self.cells.loose, missing) {
                (true, _) => [
                    "These runs were not made by a sweep of ours.".to_string(),
                    "A  makes one over the same axes".into(),
                ],
                (false, 0) => {
                    ["Everything planned is done.".to_string(), "r  runs a cell again   A  makes a new sweep".into()]
                }
                (false, n) => [
                    format!("No runner is at it; {n} cells are to be run."),
                    format!("{go_on}  goes on with it   d  says what that takes"),
                ],
            };
            return empty(frame, inner, app, &[(&line[0], true), (&line[1], false)]);
        };
        let mut lines: Vec<Line<'_>> = Vec::new();
        let width = inner.width as usize;
        let label = width.saturating_sub(21).max(8);
        let head = format!("  {:<label$} {:>5} {:>11}", "cell", "rep", "predicted");
        lines.push(Line::styled(head, theme.dim()));
        if let Some(current) = &status.current {
            let share = current.predicted_s.filter(|s| *s > 0.0).map(|s| current.elapsed_s / s);
            let time = match current.predicted_s {
                Some(predicted) => format!("{} of ~{}", units::seconds(current.elapsed_s), units::seconds(predicted)),
                None => units::seconds(current.elapsed_s),
            };
            let style = theme.tone(Tone::Busy);
            let name = units::clip(&short(&current.label), label);
            let repeat = rep(current.repeat, status.repeats);
            lines.push(Line::styled(format!("{} {name:<label$} {repeat:>5}", theme.spinner(app.now_ms)), style));
            let phase = match (&current.phase, current.level) {
                (Some(phase), Some(level)) if phase == "train" => format!("{phase}, level {level}"),
                (Some(phase), _) => phase.clone(),
                (None, _) => "starting".into(),
            };
            let mut progress = vec![phase];
            let mut facts = vec![time];
            if current.rows_per_s > 0.0 {
                facts.push(format!("{} rows/s", units::short(current.rows_per_s)));
            }
            if current.rss_bytes > 0 {
                facts.push(units::bytes(current.rss_bytes, app.config.decimal_bytes));
            }
            if let Some(share) = share {
                let bar = theme.bar_text(share, 8);
                let over = if share > 1.0 { " late" } else { "" };
                progress.insert(0, format!("{bar}{over}"));
            }
            for part in [progress, facts] {
                lines.push(Line::styled(format!("    {}", part.join("  ")), theme.dim()));
            }
        } else if status.paused {
            let text = format!("{} paused: p goes on", theme.glyph("paused"));
            lines.push(Line::styled(text, theme.tone(Tone::Warn)));
        }
        let mut before = status.current.as_ref().map(|current| current.cell.as_str());
        let mut selected_line = 0;
        for (index, queued) in status.queue.iter().enumerate() {
            if let Some(change) = before.and_then(|before| self.cells.topology_change(before, &queued.cell)) {
                lines.push(Line::styled(
                    format!("  {} {change} {}", theme.either("──", "--"), theme.either("──", "--")),
                    theme.dim(),
                ));
            }
            before = Some(&queued.cell);
            let predicted = queued.predicted_s.map_or("not known".into(), units::seconds);
            let name = units::clip(&short(&queued.label), label);
            let mut line =
                Line::raw(format!("  {name:<label$} {:>5} {predicted:>11}", rep(queued.repeat, status.repeats)));
            if index == app.sweep_state.queued {
                selected_line = lines.len();
                if self.is_focused(Pane::Queue) {
                    line = line.style(theme.selected());
                }
            }
            lines.push(line);
        }
        if status.queue.is_empty() && status.current.is_some() {
            lines.push(Line::styled("  nothing comes after it", theme.dim()));
        }
        let queue: Vec<(String, u32)> = status.queue.iter().map(|line| (line.cell.clone(), line.repeat)).collect();
        let mut foot = Vec::new();
        if let Some((planned, written)) = self.cells.order(&queue) {
            foot.push(format!(
                "order {}: {} topology changes, {} workers moved",
                status.order, planned.topology_changes, planned.workers_moved
            ));
            foot.push(format!("as written: {}, {} moved", written.topology_changes, written.workers_moved));
        }
        let keys = "< > move  K skip  E $EDITOR";
        foot.push(keys.into());
        let room = inner.height as usize;
        let foot_lines = if room > 8 { foot.len() } else { 0 };
        let list = room - foot_lines;
        let first = if self.is_focused(Pane::Queue) { selected_line.saturating_sub(list / 2) } else { 0 };
        let first = first.min(lines.len().saturating_sub(list));
        let below = lines.len().saturating_sub(first + list);
        let mut shown: Vec<Line<'_>> = lines.into_iter().skip(first).take(list).collect();
        if below > 0
            && let Some(last) = shown.last_mut()
        {
            *last = Line::styled(format!("  and {} more", below + 1), theme.dim());
        }
        let shown_lines = shown.len() as u16;
        frame.render_widget(Paragraph::new(shown), Rect { height: shown_lines.min(inner.height), ..inner });
        if foot_lines > 0 {
            let place = Rect { y: inner.bottom() - foot_lines as u16, height: foot_lines as u16, ..inner };
            let lines: Vec<Line<'_>> =
                foot.into_iter().map(|text| Line::styled(units::clip(&text, width), theme.dim())).collect();
            frame.render_widget(Paragraph::new(lines), place);
        }
    }

    fn cell(&self, frame: &mut Frame<'_>, area: Rect) {
        let app = self.app;
        let theme = app.theme;
        let Some(cell) = app.sweep_state.cell() else {
            view::pane(frame, area, app, "Selected cell", "", self.is_focused(Pane::Cell));
            return;
        };
        let word = if cell.findings.is_empty() {
            cell.state.clone()
        } else {
            format!(
                "{} with {} lint{}",
                cell.state,
                cell.findings.len(),
                if cell.findings.len() == 1 { "" } else { "s" }
            )
        };
        let glyph = if cell.state == "absent" { "?" } else { theme.glyph(&cell.state) };
        let title = format!("Selected cell  {}  {glyph} {word}", short(&cell.label));
        let hint = if cell.runs.is_empty() { "" } else { "Enter opens its latest run" };
        let inner = view::pane(frame, area, app, &title, hint, self.is_focused(Pane::Cell));
        let width = inner.width as usize;
        let row = |name: &str, text: String, style: Style| {
            Line::from(vec![Span::styled(format!("{name:<8}"), theme.dim()), Span::styled(text, style)])
        };
        let mut lines = Vec::new();
        if let Some(reason) = &cell.reason {
            let text = units::wrapped(reason, width.saturating_sub(8));
            for (index, piece) in text.into_iter().enumerate() {
                let tone = if cell.state == "failed" { Tone::Bad } else { Tone::Warn };
                lines.push(row(if index == 0 { "why" } else { "" }, piece, theme.tone(tone)));
            }
        }
        let config: Vec<String> = ["workers", "cores", "memory", "fraction", "trees", "depth", "bins", "seed"]
            .iter()
            .filter_map(|key| Some(format!("{key}={}", cell.config.get(*key)?)))
            .collect();
        let id = if cell.id.is_empty() { String::new() } else { format!("   id {}", cell.id) };
        lines.push(row("config", format!("{}{id}", config.join(" ")), theme.text()));
        if let Some((median, least, most)) = cell.figure(Metric::Total) {
            let values: Vec<String> = cell.values(Metric::Total).iter().take(8).map(|v| units::seconds(*v)).collect();
            let mut text = format!(
                "median {}   range {} to {}   runs {}",
                units::seconds(median),
                units::seconds(least),
                units::seconds(most),
                values.join("  ")
            );
            if let Some(time) = cell.line.as_ref().and_then(|line| line.time.as_ref()) {
                if let Some((low, high)) = time.interval_s {
                    text += &format!("   95 % {} to {}", units::seconds(low), units::seconds(high));
                }
                text += &format!("   outliers {}", time.outliers);
                text += if time.cache == fractal_sweeps::sweep::Cache::Warm { "   warm" } else { "   cold" };
                if time.left_out > 0 {
                    text += &format!(" ({} cold left out)", time.left_out);
                }
            }
            lines.push(row("times", text, theme.text()));
        } else if let Some(seconds) = cell.predicted_s {
            lines.push(row("times", format!("about {} a run, predicted", units::seconds(seconds)), theme.text()));
        }
        let total: f64 = cell.phases.iter().map(|(_, seconds)| seconds).sum();
        if total > 0.0 {
            let mut phases: Vec<&(String, f64)> = cell.phases.iter().filter(|phase| phase.1 / total > 0.005).collect();
            phases.sort_by(|a, b| b.1.total_cmp(&a.1));
            let mut spans = vec![Span::styled(format!("{:<8}", "phases"), theme.dim())];
            for (index, (name, seconds)) in phases.into_iter().take(5).enumerate() {
                let share = seconds / total;
                let bar = theme.either("▇", "#").repeat(((share * 20.0).round() as usize).max(1));
                spans.push(Span::raw(format!("{name} {:.0}% ", share * 100.0)));
                spans.push(Span::styled(format!("{bar}  "), theme.series(index)));
            }
            lines.push(Line::from(spans));
        }
        let mut facts = Vec::new();
        for metric in [Metric::Train, Metric::Accuracy, Metric::Peak, Metric::Rate, Metric::Busy] {
            if let Some((median, ..)) = cell.figure(metric) {
                facts.push(format!("{} {}", metric.name(), matrix::show(metric, median, app)));
            }
        }
        if let Some(hash) = &cell.model_hash {
            facts.push(format!("model {}", hash.chars().take(8).collect::<String>()));
        }
        if !facts.is_empty() {
            lines.push(row("figures", facts.join("   "), theme.text()));
        }
        if !cell.about.is_empty() && area.height > 8 {
            lines.push(row("made", cell.about.clone(), theme.dim()));
        }
        let failed = cell.runs.iter().rev().find(|run| run.state == "failed").filter(|_| cell.reason.is_none());
        if let Some(error) = failed.and_then(|run| Some((run, run.error.as_ref()?))) {
            lines.push(row("failed", format!("{}: {}", error.0.id, error.1), theme.tone(Tone::Bad)));
        }
        for finding in cell.findings.iter().filter_map(|index| app.measurements.findings.get(*index)) {
            let word = severity_word(finding.severity);
            let text = units::wrapped(
                &format!("{} {} {}", finding.evidence, theme.either("→", "->"), finding.advice),
                width.saturating_sub(8),
            );
            for (index, piece) in text.into_iter().enumerate() {
                let head = if index == 0 { format!("{} {:<6}", theme.glyph(word), finding.id) } else { " ".repeat(8) };
                lines.push(Line::from(vec![
                    Span::styled(head, theme.tone(tone_of(finding.severity))),
                    Span::raw(piece),
                ]));
            }
        }
        if self.is_focused(Pane::Cell) && cell.runs.len() > 1 {
            for run in &cell.runs {
                let word = if run.repeat == 0 { "warm-up".to_string() } else { format!("repeat {}", run.repeat) };
                let time = run.seconds.map_or(String::new(), units::seconds);
                let text = format!("{:<22} {word:<10} {} {:<12} {time}", run.id, theme.glyph(run.state), run.state);
                lines.push(row("run", text, theme.tone(Theme::state_tone(run.state))));
            }
        }
        let first = if self.is_focused(Pane::Cell) { app.sweep_state.scroll } else { 0 };
        let first = first.min(lines.len().saturating_sub(inner.height as usize));
        frame.render_widget(Paragraph::new(lines.split_off(first)), inner);
    }

    fn events(&self, frame: &mut Frame<'_>, area: Rect) {
        let app = self.app;
        let focused = self.is_focused(Pane::Events);
        let inner = view::pane(frame, area, app, "Events of the sweep", "", focused);
        let steps = &app.sweep_state.steps;
        // The plan of a large sweep would drown everything else: planned cells are told in one line.
        let told: Vec<Line<'_>> = steps.iter().rev().filter_map(|step| self.event(step)).collect();
        if told.is_empty() {
            let line = if self.cells.loose { "Imported results have no events." } else { "Nothing happened yet." };
            return empty(frame, inner, app, &[(line, false)]);
        }
        let height = inner.height as usize;
        let first = if focused { app.sweep_state.scroll.min(told.len().saturating_sub(height)) } else { 0 };
        let lines: Vec<Line<'_>> = told.into_iter().skip(first).take(height).collect();
        frame.render_widget(Paragraph::new(lines), inner);
    }

    fn event(&self, step: &SweepEvent) -> Option<Line<'static>> {
        let theme = self.app.theme;
        let label = |id: &String| {
            self.cells.cells.iter().find(|cell| cell.id == *id).map_or(id.clone(), |cell| short(&cell.label))
        };
        let (tone, what, text) = match &step.kind {
            SweepEventKind::SweepStarted { order, repeats, pid, .. } => (
                Tone::Plain,
                "started",
                format!("order {order}, {repeats} repeat{}, process {pid}", if *repeats == 1 { "" } else { "s" }),
            ),
            SweepEventKind::CellPlanned { added: false, .. } => return None,
            SweepEventKind::CellPlanned { cell, .. } => (Tone::Plain, "added", label(cell)),
            SweepEventKind::CellSkipped { cell, reason, .. } => {
                (Tone::Warn, "skipped", format!("{}: {reason}", label(cell)))
            }
            SweepEventKind::CellReopened { cell, keep_done } => {
                let kept = if *keep_done { "; finished runs still count" } else { " from scratch" };
                (Tone::Plain, "reopened", format!("{}{kept}", label(cell)))
            }
            SweepEventKind::RunStarted { cell, repeat, run_id, cache } => {
                let word = if *repeat == 0 { "warm-up".to_string() } else { format!("repeat {repeat}") };
                let cache = if *cache == fractal_sweeps::sweep::Cache::Warm { "warm" } else { "cold" };
                (Tone::Busy, "run", format!("{} {word} begins, {cache}   {run_id}", label(cell)))
            }
            SweepEventKind::RunFinished { cell, run_id, end } => match end {
                RunEnd::Done { figures } => {
                    let hash = figures
                        .model_hash
                        .as_ref()
                        .map_or(String::new(), |hash| format!("   model {}", hash.chars().take(8).collect::<String>()));
                    let accuracy = figures.val_accuracy.map_or(String::new(), |value| format!("   val {value:.4}"));
                    let took = units::seconds(figures.total_time_s);
                    (Tone::Good, "done", format!("{}  {took}{accuracy}{hash}   {run_id}", label(cell)))
                }
                RunEnd::Failed { kind, error } => {
                    (Tone::Bad, "failed", format!("{}  {}: {error}   {run_id}", label(cell), kind_word(*kind)))
                }
                RunEnd::Interrupted => (Tone::Warn, "interrupted", format!("{}   {run_id}", label(cell))),
            },
            SweepEventKind::AnomalyFound { cell, measured_s, predicted_s, .. } => {
                let text = format!(
                    "{} took {}, {} was predicted",
                    label(cell),
                    units::seconds(*measured_s),
                    units::seconds(*predicted_s)
                );
                (Tone::Warn, "anomaly", text)
            }
            SweepEventKind::CellMoved { cell, position } => {
                (Tone::Plain, "moved", format!("{} to place {} of the queue", label(cell), position + 1))
            }
            SweepEventKind::SweepPaused => (Tone::Warn, "paused", "the current run goes on".into()),
            SweepEventKind::SweepResumed => (Tone::Plain, "resumed", String::new()),
            SweepEventKind::WarningRaised { code, message } => (Tone::Warn, "warning", format!("{code}: {message}")),
            SweepEventKind::SweepFinished { outcome } => match outcome {
                SweepOutcome::Done => (Tone::Good, "finished", "everything is done".into()),
                SweepOutcome::Failed => (Tone::Bad, "finished", "some cell failed".into()),
                SweepOutcome::Interrupted => (Tone::Warn, "ended", "the next start goes on from here".into()),
            },
        };
        Some(Line::from(vec![
            Span::styled(format!("{}  ", clock(step.at_ms, self.app.utc_offset_s)), theme.dim()),
            Span::styled(format!("{what:<12}"), theme.tone(tone)),
            Span::raw(text),
        ]))
    }
}

/// `x4 f=0.01` for `workers=4 fraction=0.01`: as it is called everywhere else.
pub(super) fn short(label: &str) -> String {
    let parts: Vec<String> = label
        .split_whitespace()
        .map(|part| match part.split_once('=') {
            Some(("workers", value)) => format!("x{value}"),
            Some(("fraction", value)) => format!("f={value}"),
            _ => part.to_string(),
        })
        .collect();
    // Workers lead, wherever their axis stands.
    let (mut first, rest): (Vec<String>, Vec<String>) = parts.into_iter().partition(|part| part.starts_with('x'));
    first.extend(rest);
    first.join(" ")
}

fn rep(repeat: u32, repeats: u32) -> String {
    if repeat == 0 { "warm".into() } else { format!("{repeat}/{repeats}") }
}

/// When the last sitting began, milliseconds since the Unix epoch.
pub(super) fn sitting_began(steps: &[SweepEvent]) -> Option<u64> {
    steps.iter().rev().find(|step| matches!(step.kind, SweepEventKind::SweepStarted { .. })).map(|step| step.at_ms)
}

/// `20:14:02` on clocks that are `offset_s` ahead of UTC.
fn clock(at_ms: u64, offset_s: i32) -> String {
    let s = (at_ms as i64 / 1000 + i64::from(offset_s)).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn times_are_those_of_the_clock_on_the_wall() {
        let at_ms = 1_763_900_642_000; // 12:24:02 UTC
        assert_eq!(clock(at_ms, 0), "12:24:02");
        assert_eq!(clock(at_ms, 2 * 3600), "14:24:02");
        assert_eq!(clock(at_ms, -(12 * 3600 + 1800)), "23:54:02");
    }
}
