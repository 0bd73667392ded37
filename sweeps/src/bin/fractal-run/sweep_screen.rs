//! What a sweep shows while it runs: a matrix filling in on a terminal, a line a run elsewhere, JSON for programs.
//! A screen that cannot be written to (a terminal that went away) is no reason to stop.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fractal_sweeps::sweep::{
    Cache, Desk, Notice, RunEnd, SweepEvent, SweepEventKind, SweepOutcome, SweepState, SweepStatus, kind_word,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::matrix;

/// How much is shown, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A matrix that fills in, redrawn.
    Matrix,
    /// A line a run.
    Lines,
    /// One event a line on stdout.
    Json,
    /// Nothing.
    Quiet,
}

/// The screen of a running sweep.
pub(crate) struct Screen {
    style: Style,
    /// The fold of the events, from which lines take their labels and counts.
    state: Mutex<SweepState>,
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    painter: Mutex<Option<JoinHandle<()>>>,
}

impl Screen {
    pub(crate) fn new(style: Style) -> Screen {
        let bar = match style {
            Style::Matrix => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
                bar.set_style(ProgressStyle::with_template("{msg}").expect("a fixed template"));
                bar
            }
            _ => ProgressBar::hidden(),
        };
        Screen { style, state: Mutex::default(), bar, stop: Arc::default(), painter: Mutex::default() }
    }

    /// Takes note of a step of the sweep.
    pub(crate) fn notice(&self, notice: Notice<'_>) {
        let Notice::Sweep(event) = notice else { return };
        if self.style == Style::Json {
            if let Ok(line) = serde_json::to_string(event) {
                writeln!(std::io::stdout(), "{line}").ok();
            }
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.apply(event);
        if let Some(line) = line(event, &state) {
            drop(state);
            self.say(&line);
        }
    }

    /// Begins to redraw.
    pub(crate) fn start(&self, desk: Arc<Desk>) {
        if self.style != Style::Matrix {
            return;
        }
        let (bar, stop) = (self.bar.clone(), self.stop.clone());
        let painter = std::thread::Builder::new().name("fractal:screen".into()).spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                bar.set_message(frame(&desk.status()));
                bar.tick();
                std::thread::sleep(Duration::from_millis(250));
            }
        });
        // Without a painter there is no picture, and the lines above it still come.
        *self.painter.lock().unwrap_or_else(PoisonError::into_inner) = painter.ok();
    }

    /// Clears the picture.
    pub(crate) fn finish(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(painter) = self.painter.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = painter.join();
        }
        self.bar.finish_and_clear();
    }

    /// A line above the picture.
    pub(crate) fn say(&self, line: &str) {
        if matches!(self.style, Style::Json | Style::Quiet) {
            return;
        }
        if self.style == Style::Matrix {
            self.bar.suspend(|| writeln!(std::io::stderr(), "{line}").ok());
        } else {
            writeln!(std::io::stderr(), "{line}").ok();
        }
    }

    /// The end: the matrix, what to know of it, and what to do next.
    pub(crate) fn conclude(&self, status: &SweepStatus, outcome: SweepOutcome, store: &Path, name: &str) {
        if matches!(self.style, Style::Json | Style::Quiet) {
            return;
        }
        let mut status = status.clone();
        status.running = false;
        let next = match outcome {
            SweepOutcome::Done => String::new(),
            SweepOutcome::Failed => "the same command with --rerun failed tries the failed cells again\n".to_string(),
            SweepOutcome::Interrupted => "interrupted; the same command goes on from here\n".to_string(),
        };
        let record = store.join(name);
        let text = format!(
            "\n{}\n{}{}{next}record  {}\n",
            matrix::headline(&status),
            matrix::matrix(&status, usize::MAX),
            matrix::remarks(&status),
            record.display()
        );
        write!(std::io::stderr(), "{text}").ok();
    }
}

fn frame(status: &SweepStatus) -> String {
    let mut frame = format!("{}\n", matrix::headline(status));
    frame.push_str(&matrix::matrix(status, 200));
    if let Some(current) = &status.current {
        frame.push_str(&matrix::current_line(current));
    }
    frame
}

/// One line for a step worth one.
fn line(event: &SweepEvent, state: &SweepState) -> Option<String> {
    let label = |cell: &str| state.cell(cell).map_or_else(|| cell.to_string(), |cell| cell.label.clone());
    match &event.kind {
        SweepEventKind::RunFinished { cell, run_id, end } => {
            let record = state.cell(cell)?;
            let run = record.runs.iter().find(|run| run.run_id == *run_id)?;
            let repeat = match run.repeat {
                0 => "warm-up".to_string(),
                repeat => format!("repeat {repeat}/{}", state.repeats.max(repeat)),
            };
            let (wanted, cells) = (state.repeats.max(1) as usize, state.cells());
            let done: usize = cells.iter().map(|cell| cell.done().count().min(wanted)).sum();
            let progress = format!("[{done}/{}]", cells.len() * wanted);
            Some(match end {
                RunEnd::Done { figures } => {
                    let cold = if run.cache == Cache::Cold { " cold" } else { "" };
                    let val = figures.val_accuracy.map_or(String::new(), |val| format!("  val {val:.4}"));
                    let model = figures
                        .model_hash
                        .as_ref()
                        .map_or(String::new(), |hash| format!("  model {}", hash.get(..8).unwrap_or(hash)));
                    format!(
                        "{progress} done    {}  {repeat}  {}{cold}{val}{model}",
                        record.label,
                        matrix::seconds(figures.total_time_s)
                    )
                }
                RunEnd::Failed { kind, error } => {
                    format!("{progress} failed  {}  {repeat}  {}: {error}", record.label, kind_word(*kind))
                }
                RunEnd::Interrupted => format!("{progress} stopped {}  {repeat}", record.label),
            })
        }
        SweepEventKind::CellSkipped { cell, reason, .. } => Some(format!("skipped {}  {reason}", label(cell))),
        SweepEventKind::AnomalyFound { cell, run_id, measured_s, predicted_s } => Some(format!(
            "unusual {}  {run_id} took {}, the other runs predict {}; look at it before you trust it",
            label(cell),
            matrix::seconds(*measured_s),
            matrix::seconds(*predicted_s)
        )),
        SweepEventKind::WarningRaised { message, .. } => Some(format!("warning {message}")),
        SweepEventKind::SweepPaused => Some("paused".to_string()),
        SweepEventKind::SweepResumed => Some("resumed".to_string()),
        _ => None,
    }
}
