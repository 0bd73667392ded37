//! A scripted runner and a small world for it, shared by the tests of the sweep.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fractal_logs::{EventSink, FailureKind, RunSpec};
use fractal_sweeps::grid::{Cell, Grid};
use fractal_sweeps::runner::{CancelToken, RunFigures, RunOutcome, RunRequest, Runner, StopCause};
use fractal_sweeps::sweep::{
    self, CellStatus, Notice, Sweep, SweepError, SweepEventKind, SweepOutcome, SweepState, Wish,
};

/// What the scripted runner does with a run.
#[derive(Clone, Debug)]
pub enum Act {
    /// Takes this many seconds, by its own word.
    Take(f64),
    /// Fails at once.
    Fail(FailureKind, &'static str),
    /// Never ends until it is told to stop.
    Hang,
}

/// Told of each run that begins, before it acts.
type OnRun = dyn FnMut(&RunRequest, &CancelToken);

/// A runner that does as it is told and keeps records like a real one: a run is complete when `result.json` is there.
pub struct Scripted {
    /// What to do with a run, by label of the cell or by `label#n` for its n-th run, from 1. Otherwise it takes 1 s.
    pub script: HashMap<String, Act>,
    pub label: Box<dyn Fn(&RunSpec) -> String>,
    pub on_run: Box<OnRun>,
    seen: HashMap<String, u32>,
    /// Everything that was carried out: `label r1`, in order.
    pub story: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub fn new(grid: &Grid) -> Scripted {
        let axes = grid.varied();
        Scripted {
            script: HashMap::new(),
            label: Box::new(move |spec| fractal_sweeps::grid::label(spec, &axes)),
            on_run: Box::new(|_, _| {}),
            seen: HashMap::new(),
            story: Arc::default(),
        }
    }

    pub fn with(mut self, run: &str, act: Act) -> Scripted {
        self.script.insert(run.to_string(), act);
        self
    }

    pub fn story(&self) -> Vec<String> {
        self.story.lock().unwrap().clone()
    }
}

impl Runner for Scripted {
    fn run(&mut self, request: &RunRequest, cancel: &CancelToken, _sink: Arc<dyn EventSink>) -> RunOutcome {
        let label = (self.label)(&request.spec);
        let number = self.seen.entry(label.clone()).or_default();
        *number += 1;
        let act = self.script.get(&format!("{label}#{number}")).or_else(|| self.script.get(&label)).cloned();
        let repeat = if request.repeat == 0 { "warm-up".to_string() } else { format!("r{}", request.repeat) };
        self.story.lock().unwrap().push(format!("{label} {repeat}"));
        assert!(!request.dir.join("result.json").exists(), "{} was used before", request.run_id);
        std::fs::create_dir_all(&request.dir).unwrap();
        (self.on_run)(request, cancel);
        match act.unwrap_or(Act::Take(1.0)) {
            Act::Take(total_time_s) => {
                let figures = RunFigures { total_time_s, train_rows: 1000, ..RunFigures::default() };
                std::fs::write(request.dir.join("result.json"), serde_json::to_vec(&figures).unwrap()).unwrap();
                RunOutcome::Done(figures)
            }
            Act::Fail(kind, error) => RunOutcome::Failed { kind, error: error.to_string() },
            Act::Hang => loop {
                match cancel.stop().map(|stop| stop.cause) {
                    Some(StopCause::User) => return RunOutcome::Interrupted,
                    Some(StopCause::TimeLimit) => {
                        return RunOutcome::Failed { kind: FailureKind::Timeout, error: "too slow".to_string() };
                    }
                    None => std::thread::sleep(std::time::Duration::from_millis(5)),
                }
            },
        }
    }

    fn recover(&mut self, request: &RunRequest) -> Option<RunOutcome> {
        let bytes = std::fs::read(request.dir.join("result.json")).ok()?;
        Some(RunOutcome::Done(serde_json::from_slice(&bytes).ok()?))
    }
}

/// A store in a temporary folder, and one grid.
pub struct World {
    pub store: PathBuf,
    pub grid: Grid,
    pub wish: Wish,
    _dir: Option<tempfile::TempDir>,
}

impl World {
    pub fn new(grid: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        World { store: dir.path().to_path_buf(), _dir: Some(dir), ..World::at(Path::new(""), grid) }
    }

    pub fn at(store: &Path, grid: &str) -> World {
        let mut grid = Grid::parse("t.toml", grid).unwrap();
        if grid.base.data.root.is_empty() {
            grid.base.data.root = "/data".to_string();
        }
        let wish = Wish { settings: grid.settings.clone(), ..Wish::default() };
        World { store: store.to_path_buf(), grid, wish, _dir: None }
    }

    pub fn cells(&self) -> Vec<Cell> {
        sweep::cells(&self.grid, &self.state()).unwrap()
    }

    pub fn dir(&self) -> PathBuf {
        self.store.join("t")
    }

    pub fn state(&self) -> SweepState {
        SweepState::load(&self.dir()).unwrap()
    }

    pub fn open(&self, watcher: Box<sweep::Watcher>) -> Result<Sweep, SweepError> {
        Sweep::open(&self.store, "t", &self.grid, &self.cells(), self.wish.clone(), Vec::new(), watcher)
    }

    /// One sitting from start to end.
    pub fn sit(&self, runner: &mut Scripted) -> SweepOutcome {
        self.open(Box::new(|_| {})).unwrap().run(&self.cells(), runner).unwrap()
    }

    /// `label: state` of each cell.
    pub fn states(&self) -> Vec<String> {
        let state = self.state();
        let line = |cell: &sweep::CellRecord| format!("{}: {}", cell.label, cell.status(state.repeats).word());
        state.cells().iter().map(line).collect()
    }

    /// The reason of a failed or skipped cell.
    pub fn reason(&self, label: &str) -> String {
        let state = self.state();
        match state.find("t", label).unwrap().status(state.repeats) {
            CellStatus::Failed { kind, error } => format!("{}: {error}", sweep::kind_word(kind)),
            CellStatus::Skipped { reason } => reason,
            other => other.word().to_string(),
        }
    }
}

/// A watcher that counts the steps of a sweep and kills this process, as `kill -9` does, after the n-th.
pub fn kill_after(steps: u64) -> Box<sweep::Watcher> {
    let seen = std::sync::atomic::AtomicU64::new(0);
    Box::new(move |notice| {
        if let Notice::Sweep(_) = notice
            && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == steps
        {
            die();
        }
    })
}

/// Ends this process as `kill -9` does.
pub fn die() -> ! {
    std::io::stdout().flush().ok();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("killed")
}

/// The name of a step, for stories.
pub fn step_name(kind: &SweepEventKind) -> &'static str {
    match kind {
        SweepEventKind::SweepStarted { .. } => "SweepStarted",
        SweepEventKind::CellPlanned { .. } => "CellPlanned",
        SweepEventKind::CellSkipped { .. } => "CellSkipped",
        SweepEventKind::CellReopened { .. } => "CellReopened",
        SweepEventKind::RunStarted { .. } => "RunStarted",
        SweepEventKind::RunFinished { .. } => "RunFinished",
        SweepEventKind::AnomalyFound { .. } => "AnomalyFound",
        SweepEventKind::CellMoved { .. } => "CellMoved",
        SweepEventKind::SweepPaused => "SweepPaused",
        SweepEventKind::SweepResumed => "SweepResumed",
        SweepEventKind::WarningRaised { .. } => "WarningRaised",
        SweepEventKind::SweepFinished { .. } => "SweepFinished",
    }
}
