//! [`Desk`]: the state of a sweep that is being run, shared by the loop that runs it and those who watch and steer it.
//!
//! Whoever changes the sweep takes the one lock, writes the change to the journal, and only then makes it true; so
//! what a viewer sees is always on the disk already.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fractal_logs::{EventKind, RunEvent, RunSpec};

use super::SweepError;
use super::forecast::Forecast;
use super::journal::{SkippedBy, SweepEvent, SweepEventKind, SweepJournal};
use super::plan::{Queued, Wish, one_more};
use super::state::{CellStatus, SweepState};
use super::status::{CurrentRun, SweepStatus};
use crate::grid::{Axis, AxisValue, Cell, Grid};
use crate::runner::{CancelToken, Urgency};

/// What a watcher of a running sweep is told.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// The sweep took a step; it is in the journal.
    Sweep(&'a SweepEvent),
    /// The current run did.
    Run(&'a RunEvent),
}

/// Told of every step, in order, by the thread that takes it. Must not call back into the desk.
pub type Watcher = dyn Fn(Notice<'_>) + Send + Sync;

/// The sweep while it runs.
pub struct Desk {
    name: String,
    base: RunSpec,
    axes: Vec<Axis>,
    wish: Wish,
    inner: Mutex<Inner>,
    live: Mutex<Live>,
    changed: Condvar,
    watcher: Box<Watcher>,
}

struct Inner {
    journal: SweepJournal,
    state: SweepState,
    selected: Vec<Cell>,
    queue: VecDeque<Queued>,
    paused: bool,
    ending: Option<Urgency>,
    current: Option<Current>,
    forecast: Arc<Forecast>,
}

struct Current {
    run: Queued,
    run_id: String,
    since: Instant,
    token: CancelToken,
}

/// What the current run last said of itself.
#[derive(Debug, Default)]
struct Live {
    phase: Option<&'static str>,
    level: Option<u32>,
    workers: std::collections::BTreeMap<u32, (f64, u64)>,
}

impl Desk {
    pub(super) fn new(
        name: &str,
        grid: &Grid,
        wish: Wish,
        journal: SweepJournal,
        state: SweepState,
        watcher: Box<Watcher>,
    ) -> Desk {
        let inner = Inner {
            journal,
            state,
            selected: Vec::new(),
            queue: VecDeque::new(),
            paused: false,
            ending: None,
            current: None,
            forecast: Arc::default(),
        };
        Desk {
            name: name.to_string(),
            base: grid.base.clone(),
            axes: grid.varied(),
            wish,
            inner: Mutex::new(inner),
            live: Mutex::default(),
            changed: Condvar::new(),
            watcher,
        }
    }

    /// Name of the sweep.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person wants of it.
    pub fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Axes by which its cells are told apart.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A watcher that panics must not take the sweep's record with it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, inner: &mut Inner, kinds: Vec<SweepEventKind>) -> Result<(), SweepError> {
        let at_ms = now_ms();
        let events: Vec<SweepEvent> = kinds.into_iter().map(|kind| SweepEvent { at_ms, kind }).collect();
        inner.journal.append(&events)?;
        for event in &events {
            inner.state.apply(event);
            (self.watcher)(Notice::Sweep(event));
        }
        Ok(())
    }

    /// Writes steps to the journal and makes them true.
    pub(super) fn step(&self, kinds: Vec<SweepEventKind>) -> Result<(), SweepError> {
        self.record(&mut self.lock(), kinds)
    }

    /// Looks at the state.
    pub fn with_state<T>(&self, look: impl FnOnce(&SweepState) -> T) -> T {
        look(&self.lock().state)
    }

    pub(super) fn set_queue(&self, selected: Vec<Cell>, queue: Vec<Queued>) {
        let mut inner = self.lock();
        inner.selected = selected;
        inner.queue = queue.into();
    }

    pub(super) fn set_forecast(&self, forecast: Forecast) {
        self.lock().forecast = Arc::new(forecast);
    }

    /// The latest models.
    pub fn forecast(&self) -> Arc<Forecast> {
        self.lock().forecast.clone()
    }

    /// The next run, waiting while paused; `None` at the end of the sweep.
    pub(super) fn next(&self) -> Option<(Queued, RunSpec)> {
        let mut inner = self.lock();
        loop {
            if inner.ending.is_some() {
                return None;
            }
            if inner.paused {
                inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if inner.queue.is_empty() {
                inner.queue = self.extra_round(&inner).into();
            }
            let next = inner.queue.pop_front()?;
            // A queued cell is always in the journal; it was planned before it was queued.
            if let Some(spec) = inner.state.cell(&next.cell).map(|cell| cell.spec.clone()) {
                return Some((next, spec));
            }
        }
    }

    /// With `--ci`: one more repeat of each cell whose interval is still too wide.
    fn extra_round(&self, inner: &Inner) -> Vec<Queued> {
        let settings = &self.wish.settings;
        let wanting: Vec<(u32, &Cell)> = inner
            .selected
            .iter()
            .filter_map(|cell| {
                let record = inner.state.cell(&cell.id)?;
                let open = record.status(settings.repeats) == CellStatus::Done && record.skipped.is_none();
                open.then(|| one_more(record, settings)).flatten().map(|(repeat, _)| (repeat, cell))
            })
            .collect();
        let Some(round) = wanting.iter().map(|(repeat, _)| *repeat).max() else { return Vec::new() };
        let repeats: std::collections::HashMap<&str, u32> =
            wanting.iter().map(|(repeat, cell)| (cell.id.as_str(), *repeat)).collect();
        let cells: Vec<Cell> = wanting.iter().map(|(_, cell)| (*cell).clone()).collect();
        let pass = settings.order.arrange(&cells, &self.axes, round, settings.order_seed);
        pass.iter().map(|cell| Queued { cell: cell.id.clone(), repeat: repeats[cell.id.as_str()] }).collect()
    }

    /// Notes that a run starts; `None` if the sweep is to end or the cell was skipped since it was taken.
    pub(super) fn begin(
        &self,
        run: &Queued,
        token: &CancelToken,
        taken: impl Fn(&str) -> bool,
        started: impl FnOnce(String) -> SweepEventKind,
    ) -> Result<Option<String>, SweepError> {
        let mut inner = self.lock();
        let skipped = |cell: &super::CellRecord| matches!(cell.skipped, Some((SkippedBy::Command, _)));
        let Some(run_id) = inner
            .state
            .cell(&run.cell)
            .filter(|cell| !skipped(cell))
            .map(|cell| cell.next_run_id(run.repeat, taken))
            .filter(|_| inner.ending.is_none())
        else {
            return Ok(None);
        };
        self.record(&mut inner, vec![started(run_id.clone())])?;
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Live::default();
        inner.current =
            Some(Current { run: run.clone(), run_id: run_id.clone(), since: Instant::now(), token: token.clone() });
        Ok(Some(run_id))
    }

    /// Notes that the current run ended.
    pub(super) fn end(&self, kinds: Vec<SweepEventKind>) -> Result<(), SweepError> {
        let mut inner = self.lock();
        inner.current = None;
        self.record(&mut inner, kinds)
    }

    /// Takes the queued runs of a cell that failed for good out of the queue.
    pub(super) fn drop_queued(&self, cell: &str) {
        self.lock().queue.retain(|queued| queued.cell != cell);
    }

    /// Takes note of an event of the current run and passes it on.
    pub(super) fn run_event(&self, event: &RunEvent) {
        {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            match &event.kind {
                EventKind::PhaseStarted { phase } => live.phase = Some(phase.name()),
                EventKind::LevelStarted { level, .. } => live.level = Some(*level),
                EventKind::WorkerSampled { rows_per_s, rss_bytes, .. } => {
                    live.workers.insert(event.source.worker().unwrap_or(0), (*rows_per_s, *rss_bytes));
                }
                _ => {}
            }
        }
        (self.watcher)(Notice::Run(event));
    }

    /// Whether the sweep is to end, and how fast.
    pub fn ending(&self) -> Option<Urgency> {
        self.lock().ending
    }

    /// Starts nothing new until [`Desk::resume`]; the current run goes on.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn pause(&self) -> Result<(), SweepError> {
        let mut inner = self.lock();
        if !inner.paused {
            self.record(&mut inner, vec![SweepEventKind::SweepPaused])?;
            inner.paused = true;
        }
        Ok(())
    }

    /// Starts runs again.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn resume(&self) -> Result<(), SweepError> {
        let mut inner = self.lock();
        if inner.paused {
            self.record(&mut inner, vec![SweepEventKind::SweepResumed])?;
            inner.paused = false;
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Ends the sweep: nothing new is started and the current run is told to stop. What is not done stays planned.
    pub fn cancel(&self, urgency: Urgency) {
        let mut inner = self.lock();
        inner.ending = inner.ending.max(Some(urgency));
        if let Some(current) = &inner.current {
            current.token.cancel(urgency);
        }
        self.changed.notify_all();
    }

    /// Takes a cell out, and stops its run if it is the current one. It stays out until run again by name.
    ///
    /// # Errors
    /// If there is no such cell, or the journal cannot be written.
    pub fn skip(&self, typed: &str) -> Result<String, SweepError> {
        let mut inner = self.lock();
        let cell = inner.state.find(&self.name, typed)?.id.clone();
        let reason = "by command".to_string();
        self.record(
            &mut inner,
            vec![SweepEventKind::CellSkipped { cell: cell.clone(), by: SkippedBy::Command, reason }],
        )?;
        inner.queue.retain(|queued| queued.cell != cell);
        if let Some(current) = inner.current.as_ref().filter(|current| current.run.cell == cell) {
            current.token.cancel(Urgency::Graceful);
        }
        Ok(cell)
    }

    /// Runs a cell again from scratch: its earlier runs do not count any more, and all its repeats go to the end of the
    /// queue. Returns how many.
    ///
    /// # Errors
    /// One line if there is no such cell, it runs now, or the journal cannot be written.
    pub fn rerun(&self, typed: &str) -> Result<usize, String> {
        let mut inner = self.lock();
        let cell = inner.state.find(&self.name, typed).map_err(|error| error.to_string())?;
        let (id, planned) =
            (cell.id.clone(), Cell { id: cell.id.clone(), spec: cell.spec.clone(), label: cell.label.clone() });
        if inner.current.as_ref().is_some_and(|current| current.run.cell == id) {
            return Err(format!("cell {id} is running now; it can be run again once it ended"));
        }
        let reopened = SweepEventKind::CellReopened { cell: id.clone(), keep_done: false };
        self.record(&mut inner, vec![reopened]).map_err(|error| error.to_string())?;
        inner.queue.retain(|queued| queued.cell != id);
        if !inner.selected.iter().any(|cell| cell.id == id) {
            inner.selected.push(planned);
        }
        let repeats = self.wish.settings.repeats;
        inner.queue.extend((1..=repeats).map(|repeat| Queued { cell: id.clone(), repeat }));
        self.changed.notify_all();
        Ok(repeats as usize)
    }

    /// Moves the queued runs of a cell together to a place in the queue, 0 = next. Returns how many were moved.
    ///
    /// # Errors
    /// If there is no such cell, or the journal cannot be written.
    pub fn move_to(&self, typed: &str, position: usize) -> Result<usize, SweepError> {
        let mut inner = self.lock();
        let cell = inner.state.find(&self.name, typed)?.id.clone();
        self.record(&mut inner, vec![SweepEventKind::CellMoved { cell: cell.clone(), position }])?;
        let (moved, mut rest): (Vec<Queued>, Vec<Queued>) =
            inner.queue.drain(..).partition(|queued| queued.cell == cell);
        let count = moved.len();
        let position = position.min(rest.len());
        rest.splice(position..position, moved);
        inner.queue = rest.into();
        Ok(count)
    }

    /// Adds the product of `axes` over the grid's base to the sweep and to the end of its queue. Returns the cells that
    /// are new.
    ///
    /// # Errors
    /// One line if a value does not fit its axis or the journal cannot be written.
    pub fn add(&self, axes: &[(Axis, Vec<AxisValue>)]) -> Result<Vec<Cell>, String> {
        let mut grid = Grid::single(&self.name, self.base.clone());
        grid.axes = axes.to_vec();
        grid.find_hosts()?;
        let mut named = self.axes.clone();
        named.extend(axes.iter().map(|(axis, _)| *axis).filter(|axis| !self.axes.contains(axis)));
        let mut inner = self.lock();
        let new: Vec<Cell> = grid
            .cells()?
            .into_iter()
            .filter(|cell| inner.state.cell(&cell.id).is_none())
            .map(|cell| Cell::new(cell.spec, &named))
            .collect();
        let planned = |cell: &Cell| SweepEventKind::CellPlanned {
            cell: cell.id.clone(),
            label: cell.label.clone(),
            spec: Box::new(cell.spec.clone()),
            added: true,
        };
        self.record(&mut inner, new.iter().map(planned).collect()).map_err(|error| error.to_string())?;
        for repeat in 1..=self.wish.settings.repeats {
            let pass = self.wish.settings.order.arrange(&new, &self.axes, repeat, self.wish.settings.order_seed);
            inner.queue.extend(pass.into_iter().map(|cell| Queued { cell: cell.id, repeat }));
        }
        inner.selected.extend(new.iter().cloned());
        self.changed.notify_all();
        Ok(new)
    }

    /// Everything a viewer shows, as of now.
    pub fn status(&self) -> SweepStatus {
        let inner = self.lock();
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status = SweepStatus::of(&self.name, &inner.state);
        status.paused = inner.paused;
        status.ending = inner.ending.is_some();
        status.running = true;
        status.set_queue(inner.queue.iter(), &inner.state, &inner.forecast);
        status.current = inner.current.as_ref().and_then(|current| {
            let cell = inner.state.cell(&current.run.cell)?;
            let band = inner.forecast.duration(&cell.spec);
            Some(CurrentRun {
                cell: cell.id.clone(),
                label: cell.label.clone(),
                repeat: current.run.repeat,
                run_id: current.run_id.clone(),
                elapsed_s: current.since.elapsed().as_secs_f64(),
                predicted_s: band.map(|band| band.p50),
                phase: live.phase.map(str::to_string),
                level: live.level,
                // The sum of none is −0.
                rows_per_s: live.workers.values().map(|(rows, _)| rows).sum::<f64>() + 0.0,
                rss_bytes: live.workers.values().map(|(_, rss)| rss).sum(),
            })
        });
        status.add_current_to_eta();
        status
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({})", self.name)
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
