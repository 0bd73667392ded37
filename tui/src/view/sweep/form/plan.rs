//! What a dry run of the grid said: each cell's predicted time and memory, before anything starts.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};
use serde_json::Value;

use super::{Form, Purpose};
use crate::app::App;
use crate::theme::Tone;
use crate::units;
use crate::view;
use crate::view::sweep::panes::short;
use crate::view::table::{Cell, Column, table};

/// What a dry run said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    cells: Vec<PlannedLine>,
    notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct PlannedLine {
    label: String,
    does: String,
    runs: usize,
    /// P50, P90 in seconds, and whether it is rough.
    seconds: Option<(f64, f64, bool)>,
    /// Bytes, verdict, and whether it is only a lower bound.
    memory: Option<(u64, String, bool)>,
    reason: String,
}

impl Plan {
    pub(super) fn read(lines: &[String], notes: Vec<String>) -> Plan {
        let cells = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|cell| {
            let text = |key: &str| cell[key].as_str().unwrap_or_default().to_string();
            let seconds = &cell["predicted_seconds"];
            let memory = &cell["predicted_memory"];
            PlannedLine {
                label: short(&text("label")),
                does: text("does"),
                runs: cell["repeats"].as_array().map_or(0, Vec::len),
                seconds: seconds["p50"]
                    .as_f64()
                    .zip(seconds["p90"].as_f64())
                    .map(|(p50, p90)| (p50, p90, seconds["basis"] == "nearest")),
                memory: memory["bytes"].as_u64().map(|bytes| {
                    (bytes, memory["verdict"].as_str().unwrap_or_default().replace('_', " "), memory["rows"] == 0)
                }),
                reason: text("reason"),
            }
        });
        Plan { cells: cells.collect(), notes }
    }

    fn runs(&self) -> usize {
        self.cells.iter().filter(|cell| cell.does == "run").map(|cell| cell.runs).sum()
    }

    /// (P50, P90 summed up, runs nobody can predict)
    fn total(&self) -> (f64, f64, usize) {
        let mut total = (0.0, 0.0, 0);
        for cell in self.cells.iter().filter(|cell| cell.does == "run") {
            match cell.seconds {
                Some((p50, p90, _)) => {
                    total.0 += p50 * cell.runs as f64;
                    total.1 += p90 * cell.runs as f64;
                }
                None => total.2 += cell.runs,
            }
        }
        total
    }
}

const COLUMNS: [Column; 5] = [
    Column::left("cell", 14, 0).growing(),
    Column::left("does", 6, 0),
    Column::right("time P50-P90", 15, 0),
    Column::right("memory", 17, 1),
    Column::left("why", 26, 2),
];

/// Draws it, or what there is to say while it is not there.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, form: &Form) {
    let theme = app.theme;
    let hint = if matches!(form.purpose, Purpose::Show(_)) { "Esc close" } else { "PgUp PgDn" };
    let inner = view::pane(frame, area, app, "Dry run: nothing is started yet", hint, false);
    let unasked = [
        ("Enter asks what this grid would do:", true),
        ("each cell's predicted time and memory,", false),
        ("before anything starts.", false),
    ];
    if !view::there(frame, inner, app, &form.plan, "the plan", &unasked) {
        return;
    }
    let Some(plan) = form.plan.ready() else { return };
    let (p50, p90, unknown) = plan.total();
    let runs = plan.runs();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let mut summary = vec![format!("{runs} measured run{}", plural(runs))];
    if p50 > 0.0 {
        summary.push(format!("{} P50, at most {}", units::seconds(p50), units::seconds(p90)));
    }
    if unknown > 0 {
        summary.push(format!("{unknown} of them unlike anything measured: no prediction"));
    }
    let skipped = plan.cells.iter().filter(|cell| cell.does == "skip").count();
    if skipped > 0 {
        summary.push(format!("{skipped} cell{} skipped", plural(skipped)));
    }
    let wrapped = units::wrapped(&summary.join(" · "), inner.width as usize);
    let mut head: Vec<Line<'_>> = wrapped.into_iter().map(|line| Line::styled(line, theme.strong())).collect();
    head.extend(plan.notes.iter().take(2).map(|note| Line::styled(note.clone(), theme.dim())));
    if matches!(form.purpose, Purpose::New) {
        head.push(match (form.is_planned(), runs) {
            (true, 0) => Line::styled("Nothing is left to run.", theme.tone(Tone::Good)),
            (true, _) => Line::styled("Enter starts it; it goes on when you quit.", theme.accent()),
            (false, _) => Line::styled("The grid has changed: Enter plans it again.", theme.tone(Tone::Warn)),
        });
    }
    let height = (head.len() as u16).min(inner.height);
    frame.render_widget(Paragraph::new(head).wrap(Wrap { trim: true }), Rect { height, ..inner });
    let below = Rect { y: inner.y + height, height: inner.height - height, ..inner };
    let first = form.scroll.min(plan.cells.len().saturating_sub(below.height.saturating_sub(1) as usize));
    table(frame, below, app, &COLUMNS, plan.cells.len() - first, None, |index| {
        let cell = &plan.cells[index + first];
        let does =
            if cell.runs > 1 { format!("run {}{}", theme.either("×", "x"), cell.runs) } else { cell.does.clone() };
        let time = cell.seconds.map_or("not known".to_string(), |(p50, p90, rough)| {
            let about = if rough { "~" } else { "" };
            format!("{about}{} - {}", units::seconds(p50), units::seconds(p90))
        });
        let memory = match &cell.memory {
            None => "no limit".into(),
            Some((bytes, verdict, least)) => {
                let least = if *least { theme.either("≥", ">=") } else { "" };
                format!("{least}{} {verdict}", units::bytes(*bytes, app.config.decimal_bytes))
            }
        };
        let tone = match cell.memory.as_ref().map(|(_, verdict, _)| verdict.as_str()) {
            Some("exceeds") => Tone::Bad,
            Some("tight") => Tone::Warn,
            _ => Tone::Plain,
        };
        vec![
            cell.label.clone().into(),
            Cell::new(does, theme.tone(if cell.does == "run" { Tone::Busy } else { Tone::Dim })),
            time.into(),
            Cell::new(memory, theme.tone(tone)),
            Cell::new(cell.reason.clone(), theme.dim()),
        ]
    });
}
