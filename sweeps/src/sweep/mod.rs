//! Sweeps: the cells of a grid walked through a [`Runner`], with a record that survives the death of the runner at any
//! moment.
//!
//! A sweep lives in `<store>/<name>/`: `sweep.jsonl`, its journal; `lock` and `runner.json`, who runs it; and a folder
//! for each run. Before a run starts and after it ended the journal says so and is flushed. When a runner dies, the
//! next one finds runs that were started and not ended: if the run's own folder holds a complete record, it is taken
//! over, otherwise the run is done again under a new id. So each cell is done exactly once, and nothing is lost.

mod desk;
mod error;
mod forecast;
mod hooks;
mod journal;
mod lock;
mod plan;
mod state;
mod status;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use desk::now_ms as stamp;
pub use desk::{Desk, Notice, Watcher};
pub use error::SweepError;
pub use forecast::Forecast;
use fractal_logs::{FailureKind, RunEvent, RunSpec, Sample};
pub use journal::{Cache, JOURNAL_FILE, JOURNAL_VERSION, RunEnd, SkippedBy, SweepEvent, SweepEventKind, SweepOutcome};
pub use lock::RunnerNote;
use lock::SweepLock;
pub use plan::{Decision, Plan, PlannedCell, Queued, Rerun, Wish, kind_word};
pub use state::{CellRecord, CellStatus, CellSummary, RunRecord, SweepState};
pub use status::{CellLine, Counts, CurrentRun, Eta, QueueLine, SweepStatus, TimeLine};

use crate::grid::{Axis, Cell, Grid};
use crate::runner::{CancelToken, RunOutcome, RunRequest, Runner};

/// A sweep that this process holds the lock of.
#[derive(Debug)]
pub struct Sweep {
    dir: PathBuf,
    grid: Grid,
    lock: SweepLock,
    note: RunnerNote,
    desk: Arc<Desk>,
    warm: WarmFiles,
    siblings: Vec<SweepState>,
}

/// The cells of a sweep: those of its grid, and those that were added to it by command earlier.
///
/// # Errors
/// As [`Grid::cells`].
pub fn cells(grid: &Grid, state: &SweepState) -> Result<Vec<Cell>, String> {
    let mut cells = grid.cells()?;
    let axes = grid.varied();
    for record in state.cells().iter().filter(|record| record.added) {
        if !cells.iter().any(|cell| cell.id == record.id) {
            let mut cell = Cell::new(record.spec.clone(), &axes);
            cell.label = record.label.clone();
            cells.push(cell);
        }
    }
    Ok(cells)
}

/// What a sitting would do, without taking the lock or writing anything.
///
/// # Errors
/// If the journal cannot be read.
pub fn dry_run(store: &Path, name: &str, grid: &Grid, cells: &[Cell], wish: &Wish) -> Result<Plan, SweepError> {
    let state = SweepState::load(&store.join(name))?;
    let siblings = siblings(store, name);
    let forecast = fit(&state, &siblings, &grid.varied());
    Ok(Plan::new(cells, &grid.varied(), &state, wish, &forecast))
}

/// The other sweeps of the store, whose measurements help to predict. One that cannot be read helps nobody and hurts
/// nobody.
fn siblings(store: &Path, name: &str) -> Vec<SweepState> {
    let Ok(entries) = std::fs::read_dir(store) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name() != name && entry.path().join(JOURNAL_FILE).exists())
        .filter_map(|entry| SweepState::load(&entry.path()).ok())
        .collect()
}

fn fit(state: &SweepState, siblings: &[SweepState], axes: &[Axis]) -> Forecast {
    let all: Vec<&SweepState> = std::iter::once(state).chain(siblings).collect();
    Forecast::fit(&all, axes)
}

impl Sweep {
    /// Takes the sweep `name` of `store` up: locks it, reads its journal and adds the grid's cells to it.
    ///
    /// `command` goes on record; `watcher` is told of every step.
    ///
    /// # Errors
    /// If another process runs it, or its folder cannot be read or written.
    pub fn open(
        store: &Path,
        name: &str,
        grid: &Grid,
        cells: &[Cell],
        wish: Wish,
        command: Vec<String>,
        watcher: Box<Watcher>,
    ) -> Result<Sweep, SweepError> {
        let dir = store.join(name);
        std::fs::create_dir_all(&dir).map_err(SweepError::store(&dir, "cannot make the sweep's folder"))?;
        let lock = SweepLock::take(&dir, name)?;
        let note = RunnerNote::this_process(desk::now_ms());
        lock.announce(&note)?;
        let (journal, recorded) = journal::SweepJournal::open(&dir)?;
        let state = SweepState::of(&recorded.events);
        let settings = &wish.settings;
        let mut steps = vec![SweepEventKind::SweepStarted {
            version: JOURNAL_VERSION,
            sweep: name.to_string(),
            pid: std::process::id(),
            command,
            order: settings.order.name().to_string(),
            repeats: settings.repeats,
        }];
        if !recorded.unreadable.is_empty() {
            let lines: Vec<String> = recorded.unreadable.iter().map(usize::to_string).collect();
            let message = format!(
                "{}: line {} cannot be read and was left out; what it said is found again from the grid and the runs",
                dir.join(JOURNAL_FILE).display(),
                lines.join(", ")
            );
            steps.push(SweepEventKind::WarningRaised { code: "journal-damaged".to_string(), message });
        }
        steps.extend(
            cells.iter().filter(|cell| state.cell(&cell.id).is_none_or(|known| known.label != cell.label)).map(
                |cell| SweepEventKind::CellPlanned {
                    cell: cell.id.clone(),
                    label: cell.label.clone(),
                    spec: Box::new(cell.spec.clone()),
                    added: false,
                },
            ),
        );
        let desk = Arc::new(Desk::new(name, grid, wish, journal, state, watcher));
        desk.step(steps)?;
        let siblings = siblings(store, name);
        Ok(Sweep { dir, grid: grid.clone(), lock, note, desk, warm: WarmFiles::default(), siblings })
    }

    /// Folder of the sweep.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// By which the sweep is watched and steered while [`Sweep::run`] runs it.
    pub fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Says where the control socket and the log are.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn announce(&mut self, socket: Option<PathBuf>, log: Option<PathBuf>) -> Result<(), SweepError> {
        self.note.socket = socket;
        self.note.log = log;
        self.lock.announce(&self.note)
    }

    /// Runs everything that is to be run, and returns when that is done, or the sweep was ended from its desk.
    ///
    /// # Errors
    /// Only if the sweep's own record cannot be written, or `before_sweep` fails: what goes wrong in a run is its
    /// cell's state.
    pub fn run(&mut self, cells: &[Cell], runner: &mut dyn Runner) -> Result<SweepOutcome, SweepError> {
        self.take_over(runner)?;
        let plan = self.plan(cells)?;
        let cancel = CancelToken::new();
        let hooks = self.desk.wish().settings.hooks.clone();
        let variables = vec![("FRACTAL_SWEEP", self.desk.name().to_string())];
        if let Some(command) = hooks.before_sweep.as_ref().filter(|_| !plan.queue.is_empty()) {
            hooks::run(command, &variables, &cancel).map_err(SweepError::Hook)?;
        }
        while let Some((next, spec)) = self.desk.next() {
            self.warm_up(&next, &spec, runner)?;
            self.run_with_retries(&next, &spec, runner)?;
        }
        if let Some(command) = hooks.after_sweep.as_ref().filter(|_| !plan.queue.is_empty())
            && let Err(error) = hooks::run(command, &variables, &cancel)
        {
            self.warn("hook-failed", format!("hook after_sweep {error}"))?;
        }
        let outcome = match self.desk.ending() {
            Some(_) => SweepOutcome::Interrupted,
            None => self.outcome(cells),
        };
        self.desk.step(vec![SweepEventKind::SweepFinished { outcome }])?;
        Ok(outcome)
    }

    fn outcome(&self, cells: &[Cell]) -> SweepOutcome {
        let wish = self.desk.wish();
        let failed = self.desk.with_state(|state| {
            cells
                .iter()
                .filter(|cell| wish.only.iter().all(|filter| filter.matches(&cell.spec)))
                .filter_map(|cell| state.cell(&cell.id))
                .any(|cell| matches!(cell.status(wish.settings.repeats), CellStatus::Failed { .. }))
        });
        if failed { SweepOutcome::Failed } else { SweepOutcome::Done }
    }

    /// Closes the runs that an earlier runner started and did not live to close.
    fn take_over(&mut self, runner: &mut dyn Runner) -> Result<(), SweepError> {
        let open: Vec<(RunSpec, String, u32, String)> = self.desk.with_state(|state| {
            state
                .unfinished()
                .map(|(cell, run)| (cell.spec.clone(), cell.id.clone(), run.repeat, run.run_id.clone()))
                .collect()
        });
        for (spec, cell, repeat, run_id) in open {
            let request = self.request(&spec, &cell, repeat, &run_id);
            let end = runner.recover(&request).map_or(RunEnd::Interrupted, RunEnd::from);
            self.desk.step(vec![SweepEventKind::RunFinished { cell, run_id, end }])?;
        }
        Ok(())
    }

    fn plan(&mut self, cells: &[Cell]) -> Result<Plan, SweepError> {
        let axes = self.grid.varied();
        let forecast = self.desk.with_state(|state| fit(state, &self.siblings, &axes));
        let plan = self.desk.with_state(|state| Plan::new(cells, &axes, state, self.desk.wish(), &forecast));
        let mut steps = Vec::new();
        for planned in &plan.cells {
            let cell = planned.cell.id.clone();
            match &planned.decision {
                Decision::Run { reopen: Some(keep_done), .. } => {
                    steps.push(SweepEventKind::CellReopened { cell, keep_done: *keep_done });
                }
                // The gate may have held it back before, and does no more.
                Decision::Run { .. } if self.desk.with_state(|state| is_skipped(state, &cell)) => {
                    steps.push(SweepEventKind::CellReopened { cell, keep_done: true });
                }
                Decision::Skip { by, reason } if !self.desk.with_state(|state| is_skipped(state, &cell)) => {
                    steps.push(SweepEventKind::CellSkipped { cell, by: *by, reason: reason.clone() });
                }
                _ => {}
            }
        }
        self.desk.step(steps)?;
        self.desk.set_forecast(forecast);
        let selected = plan
            .cells
            .iter()
            .filter(|planned| !matches!(planned.decision, Decision::NotSelected { .. } | Decision::Skip { .. }))
            .map(|planned| planned.cell.clone())
            .collect();
        self.desk.set_queue(selected, plan.queue.clone());
        Ok(plan)
    }

    /// Warm-up runs, if these files were not read in this sitting.
    fn warm_up(&mut self, next: &Queued, spec: &RunSpec, runner: &mut dyn Runner) -> Result<(), SweepError> {
        if self.warm.cache(spec) == Cache::Warm {
            return Ok(());
        }
        for _ in 0..self.desk.wish().settings.warmup {
            let warm_up = Queued { cell: next.cell.clone(), repeat: 0 };
            // A warm-up that fails says nothing yet: the measured run decides.
            self.run_once(&warm_up, spec, runner)?;
        }
        Ok(())
    }

    fn run_with_retries(&mut self, next: &Queued, spec: &RunSpec, runner: &mut dyn Runner) -> Result<(), SweepError> {
        loop {
            let Some(RunEnd::Failed { kind, .. }) = self.run_once(next, spec, runner)? else { return Ok(()) };
            let failures = self.desk.with_state(|state| state.cell(&next.cell).map_or(0, plan::failures_in_a_row));
            if failures > self.desk.wish().settings.retries.times(kind) {
                // What failed for good once would only fail again in its other repeats.
                self.desk.drop_queued(&next.cell);
                return Ok(());
            }
        }
    }

    /// One run from its first step in the journal to its last; `None` if it was not started after all.
    fn run_once(
        &mut self,
        next: &Queued,
        spec: &RunSpec,
        runner: &mut dyn Runner,
    ) -> Result<Option<RunEnd>, SweepError> {
        let settings = self.desk.wish().settings.clone();
        let token = CancelToken::with_time_limit(settings.time_limit);
        let cache = self.warm.cache(spec);
        let (cell, repeat) = (next.cell.clone(), next.repeat);
        let started = |run_id| SweepEventKind::RunStarted { cell: cell.clone(), repeat, run_id, cache };
        let Some(run_id) = self.desk.begin(next, &token, |id| self.dir.join(id).exists(), started)? else {
            return Ok(None);
        };
        let request = self.request(spec, &cell, repeat, &run_id);
        let forecast = self.desk.forecast();

        let mut variables = vec![
            ("FRACTAL_SWEEP", self.desk.name().to_string()),
            ("FRACTAL_CELL", cell.clone()),
            ("FRACTAL_REPEAT", repeat.to_string()),
            ("FRACTAL_RUN_DIR", request.dir.display().to_string()),
        ];
        let before = settings.hooks.before_run.as_ref().map(|command| hooks::run(command, &variables, &token));
        let outcome = match before {
            Some(Err(_)) if token.is_cancelled() => RunOutcome::Interrupted,
            Some(Err(error)) => {
                RunOutcome::Failed { kind: FailureKind::Exit, error: format!("hook before_run {error}") }
            }
            _ => {
                let desk = self.desk.clone();
                runner.run(&request, &token, Arc::new(move |event: &RunEvent| desk.run_event(event)))
            }
        };
        let end = RunEnd::from(outcome);
        let mut steps =
            vec![SweepEventKind::RunFinished { cell: cell.clone(), run_id: run_id.clone(), end: end.clone() }];
        if let RunEnd::Done { figures } = &end {
            self.warm.read(spec);
            // Neither warm-ups nor cold runs say anything about the cell.
            let predicted = forecast.anomaly(spec, figures.total_time_s);
            if let Some(predicted_s) = predicted.filter(|_| repeat > 0 && cache == Cache::Warm) {
                let measured_s = figures.total_time_s;
                steps.push(SweepEventKind::AnomalyFound { cell: cell.clone(), run_id, measured_s, predicted_s });
            }
        }
        self.desk.end(steps)?;
        if let Some(command) = &settings.hooks.after_run {
            let word = match &end {
                RunEnd::Done { .. } => "done",
                RunEnd::Failed { .. } => "failed",
                RunEnd::Interrupted => "interrupted",
            };
            variables.push(("FRACTAL_OUTCOME", word.to_string()));
            if let Err(error) = hooks::run(command, &variables, &token) {
                self.warn("hook-failed", format!("hook after_run {error}"))?;
            }
        }
        if matches!(end, RunEnd::Done { .. }) {
            let forecast = self.desk.with_state(|state| fit(state, &self.siblings, self.desk.axes()));
            self.desk.set_forecast(forecast);
        }
        Ok(Some(end))
    }

    fn request(&self, spec: &RunSpec, cell: &str, repeat: u32, run_id: &str) -> RunRequest {
        RunRequest {
            spec: spec.clone(),
            sweep: Some(self.desk.name().to_string()),
            cell: cell.to_string(),
            repeat,
            run_id: run_id.to_string(),
            dir: self.dir.join(run_id),
        }
    }

    fn warn(&self, code: &str, message: String) -> Result<(), SweepError> {
        self.desk.step(vec![SweepEventKind::WarningRaised { code: code.to_string(), message }])
    }
}

fn is_skipped(state: &SweepState, cell: &str) -> bool {
    state.cell(cell).is_some_and(|cell| cell.skipped.is_some())
}

/// Which files the runs of this sitting have read.
#[derive(Debug, Default)]
struct WarmFiles {
    /// Largest fraction read, by folder, kind of sample and hosts: smaller fractions are part of larger ones.
    fractions: HashMap<(String, Option<u64>, Option<String>), f64>,
}

impl WarmFiles {
    fn key(spec: &RunSpec) -> (String, Option<u64>, Option<String>) {
        let seed = match spec.data.sample {
            Sample::Prefix => None,
            Sample::Hashed => Some(spec.forest.seed),
        };
        let topology = &spec.topology;
        // A host alone reads every file. Which of several reads which file depends on all that decides who gets which
        // partition: only the same run again finds its files where it left them.
        let hosts = topology.host_set.as_ref().map(|set| match topology.hosts.unwrap_or(1) {
            1 => set.clone(),
            hosts => {
                let (RunSpec { data, .. }, workers, cores) = (spec, topology.workers, topology.cores);
                let parts = (data.min_partition, data.max_partition, data.fraction);
                format!("{hosts} of {set} with {workers}×{cores} over {parts:?}")
            }
        });
        (spec.data.root.clone(), seed, hosts)
    }

    fn cache(&self, spec: &RunSpec) -> Cache {
        match self.fractions.get(&Self::key(spec)) {
            Some(fraction) if *fraction >= spec.data.fraction => Cache::Warm,
            _ => Cache::Cold,
        }
    }

    fn read(&mut self, spec: &RunSpec) {
        let fraction = self.fractions.entry(Self::key(spec)).or_default();
        *fraction = fraction.max(spec.data.fraction);
    }
}
