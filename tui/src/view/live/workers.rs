//! Workers: CPU, memory against limit and prediction, rates, what they were granted.

use fractal_logs::Phase;
use fractal_logs::state::{WorkerState, WorkerStatus};
use ratatui::Frame;
use ratatui::layout::Rect;

use super::predicted_peak;
use crate::app::App;
use crate::run::OpenRun;
use crate::theme::{Theme, Tone};
use crate::units;
use crate::view;
use crate::view::table::{Cell, Column, table};

/// (cores' worth of CPU, bytes exchanged a second) between the last two samples.
pub(super) fn rates(worker: &WorkerState) -> Option<(f64, f64)> {
    let [.., before, last] = worker.samples.as_slice() else { return None };
    let passed = last.elapsed_us.saturating_sub(before.elapsed_us);
    if passed == 0 {
        return None;
    }
    let cpu = last.cpu_us.saturating_sub(before.cpu_us) as f64 / passed as f64;
    let net = last.exchanged_bytes.saturating_sub(before.exchanged_bytes) as f64 * 1e6 / passed as f64;
    Some((cpu, net))
}

const COLUMNS: [Column; 12] = [
    Column::left("w", 3, 0),
    Column::left("host", 8, 4).growing(),
    Column::left("cpu", 12, 2),
    Column::left("memory", 20, 0),
    Column::right("pred.", 8, 7),
    Column::right("peak", 8, 2),
    Column::right("part.", 5, 8),
    Column::right("rows/s", 7, 0),
    Column::right("net/s", 8, 5),
    Column::right("granted", 12, 3),
    Column::right("thr.", 4, 9),
    Column::left("state", 10, 1),
];

/// Draws them.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun, focused: bool) {
    let theme = app.theme;
    let state = run.state();
    let hint = if focused { "j k choose · Enter details and log" } else { "" };
    let inner = view::pane(frame, area, app, "Workers", hint, focused);
    if state.workers.is_empty() {
        view::empty(frame, inner, app, &[("no worker was started yet at this moment", false)]);
        return;
    }
    let predicted = predicted_peak(state);
    let workers: Vec<(&u32, &WorkerState)> = state.workers.iter().collect();
    let mut loaded = std::collections::HashMap::<u32, u32>::new();
    for partition in state.partitions.values() {
        if let Some(worker) = partition.loaded.as_ref().and_then(|loaded| loaded.source.worker()) {
            *loaded.entry(worker).or_default() += 1;
        }
    }
    let selected = app.live_state.worker.min(workers.len() - 1);
    let decimal = app.config.decimal_bytes;
    table(frame, inner, app, &COLUMNS, workers.len(), focused.then_some(selected), |place| {
        let (&index, worker) = workers[place];
        let over = state.finished.is_some();
        let (word, tone) = match worker.status() {
            WorkerStatus::Lost => ("lost", Tone::Bad),
            WorkerStatus::Finished => ("finished", Tone::Dim),
            _ if over => ("ended", Tone::Dim),
            WorkerStatus::Launched => ("launched", Tone::Busy),
            WorkerStatus::Running => (worker.latest().map_or("joined", |sample| short_name(sample.phase)), Tone::Plain),
        };
        let alive = matches!(worker.status(), WorkerStatus::Running) && !over;
        let ended = !alive && worker.status() != WorkerStatus::Launched;
        let (cpu, net) = rates(worker).filter(|_| alive).unwrap_or((0.0, 0.0));
        let cores = worker.granted.and_then(|granted| granted.cpus).or(worker.threads.map(f64::from)).unwrap_or(1.0);
        let share = cpu / cores.max(0.01);
        let rss = worker.latest().filter(|_| alive).map_or(0, |sample| sample.rss_bytes);
        let limit = worker.granted.and_then(|granted| granted.memory);
        let memory = match limit {
            Some(limit) if ended => Cell::new(format!("of {}", units::bytes(limit, decimal)), theme.dim()),
            Some(limit) => {
                let share = rss as f64 / limit.max(1) as f64;
                let warn = if share >= 0.9 { "!" } else { "" };
                let tone = if share >= 0.9 { Tone::Warn } else { Tone::Plain };
                Cell::new(
                    format!("{} {}{warn}", theme.bar_text(share, 6), units::bytes_of(rss, limit)),
                    theme.tone(tone),
                )
            }
            None if alive => Cell::new(format!("{} no limit", units::bytes(rss, decimal)), theme.text()),
            None => Cell::new(theme.either("–", "-"), theme.dim()),
        };
        let pred = predicted.map_or_else(String::new, |bytes| units::bytes(bytes, decimal));
        let granted = match (worker.granted, worker.requested) {
            (Some(granted), requested) => {
                let cpus = granted.cpus.map_or("–".into(), |cpus| format!("{cpus}"));
                let asked = requested.and_then(|r| r.cpus).map_or(String::new(), |cpus| format!("/{cpus}"));
                let short = requested.is_some_and(|requested| {
                    requested.cpus.is_some_and(|asked| granted.cpus.is_none_or(|got| got + 0.01 < asked))
                        || requested.memory.is_some() && granted.memory.is_none()
                });
                let sign = if short { " !" } else { "" };
                Cell::new(format!("{cpus}{asked} CPU{sign}"), theme.tone(if short { Tone::Warn } else { Tone::Plain }))
            }
            (None, _) => Cell::new("–", theme.dim()),
        };
        let throttled = worker.throttled.unwrap_or(0);
        let rate = worker.latest().filter(|_| alive).map_or(0.0, |sample| sample.rows_per_s);
        let cpu_cell = if alive {
            Cell::new(format!("{} {:>3.0}%", theme.bar_text(share, 7), share * 100.0), theme.text())
        } else {
            Cell::new("–", theme.dim())
        };
        vec![
            Cell::new(format!("w{index}"), theme.strong()),
            worker.host_name().unwrap_or("–").into(),
            cpu_cell,
            memory,
            Cell::new(pred, theme.dim()),
            units::bytes(worker.peak_rss_bytes, decimal).into(),
            loaded.get(&index).copied().unwrap_or(0).to_string().into(),
            Cell::new(if rate > 0.0 { units::short(rate) } else { "–".into() }, theme.text()),
            Cell::new(if net > 0.0 { units::bytes(net as u64, decimal) } else { "–".into() }, theme.text()),
            granted,
            Cell::new(
                worker.throttled.map_or("–".into(), |n| n.to_string()),
                theme.tone(if throttled > 0 { Tone::Warn } else { Tone::Dim }),
            ),
            Cell::new(format!("{}{word}", prefix(theme, word)), theme.tone(tone)),
        ]
    });
}

fn short_name(phase: Phase) -> &'static str {
    match phase {
        Phase::FitBins => "fit bins",
        phase => phase.name(),
    }
}

fn prefix(theme: Theme, word: &str) -> String {
    match word {
        "lost" => format!("{} ", theme.glyph("lost")),
        "finished" => format!("{} ", theme.glyph("done")),
        _ => String::new(),
    }
}
