//! Progress of a run on stderr: a live line on a terminal, a line a phase otherwise. Reads the run's events, nothing else.

use std::io::Write;
use std::sync::Mutex;

use fractal_logs::{EventKind, EventSink, Phase, RunEvent, RunState, Subset};
use indicatif::{ProgressBar, ProgressStyle};

use fractal_logs::units::{bytes, count, seconds};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A bar that redraws itself.
    Live,
    /// A line for each finished phase, and warnings.
    Lines,
    /// Warnings only.
    Quiet,
}

/// Shows the progress of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    style: Style,
    bar: ProgressBar,
    seen: Mutex<RunState>,
}

impl Progress {
    pub(crate) fn new(style: Style) -> Self {
        let bar = if style == Style::Live { ProgressBar::no_length() } else { ProgressBar::hidden() };
        bar.set_style(spinner());
        if style == Style::Live {
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar.set_message("starting workers");
        }
        Progress { style, bar, seen: Mutex::new(RunState::default()) }
    }

    /// Takes the line off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        if self.style == Style::Live {
            self.bar.suspend(|| writeln!(std::io::stderr(), "{text}").ok());
        } else {
            writeln!(std::io::stderr(), "{text}").ok();
        }
    }

    fn enter(&self, phase: Phase, state: &RunState) {
        let planned = |train: bool| {
            state.partitions.values().filter(|p| p.subset.is_some_and(|s| (s == Subset::Train) == train)).count()
        };
        let steps = match phase {
            Phase::Load => planned(true) as u64,
            Phase::Evaluate => planned(false) as u64,
            Phase::Train => state.started.as_ref().map_or(0, |started| u64::from(started.spec.forest.depth)),
            _ => 0,
        };
        if steps == 0 {
            self.bar.set_style(spinner());
        } else {
            self.bar.set_style(bar());
            self.bar.set_length(steps);
        }
        self.bar.set_position(0);
        self.bar.reset_elapsed();
        self.bar.reset_eta();
        self.bar.set_prefix(words(phase));
        self.bar.set_message("");
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner:.cyan} {elapsed:>4} {prefix:.bold} {wide_msg}").expect("a valid template")
}

fn bar() -> ProgressStyle {
    ProgressStyle::with_template(
        "{spinner:.cyan} {elapsed:>4} {prefix:.bold} [{bar:24.cyan/dim}] {pos}/{len} ETA {eta} {wide_msg}",
    )
    .expect("a valid template")
    .progress_chars("━╸─")
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "starting workers",
        Phase::Plan => "listing files",
        Phase::FitBins => "fitting bins",
        Phase::Load => "loading train",
        Phase::Train => "growing trees",
        Phase::Evaluate => "scoring val and test",
        Phase::Record => "writing the record",
    }
}

impl EventSink for Progress {
    fn record(&self, event: &RunEvent) {
        let Ok(mut state) = self.seen.lock() else { return };
        state.apply(event);
        match &event.kind {
            EventKind::PhaseStarted { phase } => self.enter(*phase, &state),
            EventKind::PartitionLoaded { .. } | EventKind::LevelFinished { .. } => self.bar.inc(1),
            EventKind::LevelStarted { level, open_nodes, group, groups, collected_nodes, .. } => {
                let of_groups = if *groups > 1 { format!(", group {} of {groups}", group + 1) } else { String::new() };
                let to_the_end = if *collected_nodes > 0 { " and deeper" } else { "" };
                // Groups are passes of their own, and below what is collected there may be none.
                let below = match collected_nodes == open_nodes {
                    true => 0,
                    false => state.started.as_ref().map_or(0, |s| s.spec.forest.depth.saturating_sub(level + 1)),
                };
                self.bar.set_length(self.bar.position() + u64::from(groups.saturating_sub(*group) + below));
                self.bar
                    .set_message(format!("level {level}{to_the_end}: {} open nodes{of_groups}", count(*open_nodes)));
            }
            EventKind::WorkerSampled { .. } => {
                let latest = || state.workers.values().filter_map(|worker| worker.latest());
                let rate: f64 = latest().map(|sample| sample.rows_per_s).sum();
                let memory: u64 = latest().map(|sample| sample.rss_bytes).sum();
                self.bar.set_message(format!("{} rows/s, {} resident", count(rate as u64), bytes(memory)));
            }
            EventKind::PhaseFinished { phase, wall_us, .. }
                if self.style == Style::Lines && event.source == fractal_logs::Source::Worker(0) =>
            {
                self.line(&format!("{:<22} {:>9}", words(*phase), seconds(*wall_us as f64 / 1e6)));
            }
            EventKind::WarningRaised { message, .. } => self.line(&format!("warning: {message}")),
            EventKind::FileSkipped { reason, .. } => self.line(&format!("skipped: {reason}")),
            _ => {}
        }
    }
}
