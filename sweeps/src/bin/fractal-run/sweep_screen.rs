//! What a sweep shows while it runs: a matrix filling in on a terminal, a line a run elsewhere, JSON for programs.
//! A screen that cannot be written to (a terminal that went away) is no reason to stop.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fractal_sweeps::sweep::{
    Cache, Desk, Notice, RunEnd, SweepEvent, SweepEventKind, SweepOutcome, SweepState, SweepStatus, kind_word,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::matrix::{self, Room};

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
    /// Measured runs that this sitting set out to do, and those that have ended.
    planned: usize,
    ended: AtomicUsize,
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    painter: Mutex<Option<JoinHandle<()>>>,
}

impl Screen {
    /// For a sitting that sets out to do `planned` measured runs.
    pub(crate) fn new(style: Style, planned: usize) -> Screen {
        let bar = match style {
            Style::Matrix => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
                bar.set_style(ProgressStyle::with_template("{msg}").expect("a fixed template"));
                bar
            }
            _ => ProgressBar::hidden(),
        };
        Screen {
            style,
            state: Mutex::default(),
            planned,
            ended: AtomicUsize::new(0),
            bar,
            stop: Arc::default(),
            painter: Mutex::default(),
        }
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
        let width = match self.style {
            Style::Matrix => Room::of_stderr().width,
            _ => usize::MAX,
        };
        // Repeats that --ci adds and retries come on top of what was planned.
        let measured = matches!(&event.kind, SweepEventKind::RunFinished { cell, run_id, end }
            if !matches!(end, RunEnd::Interrupted)
                && state.cell(cell).is_some_and(|cell| cell.runs.iter().any(|run| run.run_id == *run_id && run.repeat > 0)));
        let ended = self.ended.fetch_add(usize::from(measured), Ordering::SeqCst) + usize::from(measured);
        let progress = format!("[{ended}/{}]", self.planned.max(ended));
        if let Some(line) = line(event, &state, &progress, width) {
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
                bar.set_message(frame(&desk.status(), Room::of_stderr()));
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
            matrix::matrix(&status, Room::of_stderr()),
            matrix::remarks(&status),
            record.display()
        );
        write!(std::io::stderr(), "{text}").ok();
    }
}

/// What is redrawn; no line longer than the terminal is wide, since a wrapped one would be redrawn in the wrong place.
fn frame(status: &SweepStatus, room: Room) -> String {
    let mut frame = format!("{}\n", matrix::headline(status));
    // The headline, the current run, and a line of what came before.
    let left = Room { height: room.height.saturating_sub(3), ..room };
    frame.push_str(&matrix::matrix(status, left));
    if let Some(current) = &status.current {
        frame.push_str(&matrix::current_line(current));
    }
    let cut = |line: &str| {
        if line.chars().count() < room.width {
            return line.to_string();
        }
        let mut cut: String = line.chars().take(room.width.saturating_sub(2)).collect();
        cut.push('…');
        cut
    };
    frame.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// `parts` as far as they fit into `width`, the first always.
fn fitting(parts: &[String], width: usize) -> String {
    let mut line = String::new();
    for part in parts {
        if !line.is_empty() && line.chars().count() + 2 + part.chars().count() > width {
            break;
        }
        if !line.is_empty() {
            line.push_str("  ");
        }
        line.push_str(part);
    }
    line
}

/// One line for a step worth one.
fn line(event: &SweepEvent, state: &SweepState, progress: &str, width: usize) -> Option<String> {
    let label = |cell: &str| state.cell(cell).map_or_else(|| cell.to_string(), |cell| cell.label.clone());
    match &event.kind {
        SweepEventKind::RunFinished { cell, run_id, end } => {
            let record = state.cell(cell)?;
            let run = record.runs.iter().find(|run| run.run_id == *run_id)?;
            let repeat = match run.repeat {
                0 => "warm-up".to_string(),
                repeat => format!("repeat {repeat}/{}", state.repeats.max(repeat)),
            };
            Some(match end {
                RunEnd::Done { figures } => {
                    let cold = if run.cache == Cache::Cold { " cold" } else { "" };
                    let time = matrix::seconds(figures.total_time_s);
                    let mut parts = vec![format!("{progress} done    {}  {repeat}  {time}{cold}", record.label)];
                    parts.extend(figures.val_accuracy.map(|val| format!("val {val:.4}")));
                    let hash = figures.model_hash.as_ref();
                    parts.extend(hash.map(|hash| format!("model {}", hash.get(..8).unwrap_or(hash))));
                    fitting(&parts, width)
                }
                RunEnd::Failed { kind, error } => {
                    format!("{progress} failed  {}  {repeat}  {}: {error}", record.label, kind_word(*kind))
                }
                RunEnd::Interrupted => format!("{progress} stopped {}  {repeat}", record.label),
            })
        }
        SweepEventKind::CellSkipped { cell, reason, .. } => Some(format!("skipped {}  {reason}", label(cell))),
        SweepEventKind::AnomalyFound { cell, run_id, measured_s, predicted_s } => {
            let line = format!(
                "unusual {}  it took {}, the other runs predict {}",
                label(cell),
                matrix::seconds(*measured_s),
                matrix::seconds(*predicted_s)
            );
            Some(fitting(&[line, format!("look at {run_id} before you trust it")], width))
        }
        SweepEventKind::WarningRaised { message, .. } => Some(format!("warning {message}")),
        SweepEventKind::SweepPaused => Some("paused".to_string()),
        SweepEventKind::SweepResumed => Some("resumed".to_string()),
        _ => None,
    }
}
