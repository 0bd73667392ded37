//! A sweep through the real runner and the real supervisor, with workers that only pretend: this binary, re-executed,
//! plays them. What becomes of each run is written in its seed.

use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use fractal_hosts::Worker;
use fractal_logs::{EventKind, FailureKind, Phase};
use fractal_sweeps::grid::Grid;
use fractal_sweeps::run::{LocalRunner, Options};
use fractal_sweeps::sweep::{self, CellStatus, Rerun, Sweep, SweepOutcome, SweepState, Wish, kind_word};
use fractal_sweeps::worker;
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Signal, getpid, kill_process};

/// First argument of a fake worker.
const WORKER: &str = "fake-worker";

fn main() {
    if std::env::args().nth(1).as_deref() == Some(WORKER) {
        play();
    }
    let test = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let tests = vec![
        test("each_way_to_fail_has_its_word", each_way_to_fail_has_its_word),
        test("a_worker_that_hangs_meets_the_time_limit", a_worker_that_hangs_meets_the_time_limit),
        test("what_failed_once_is_tried_again_and_done", what_failed_once_is_tried_again_and_done),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

const WELL: u64 = 1;
const OUT_OF_MEMORY: u64 = 2;
const HANG: u64 = 3;
const EXIT_1: u64 = 4;
const GARBAGE: u64 = 5;
const KILLED: u64 = 6;
const FROZEN: u64 = 7;
const BAD_DATA: u64 = 8;
const FAIL_ONCE: u64 = 9;

fn play() -> ! {
    // Entering moves stdout aside; a second handle on it is the pipe to the runner, for nonsense.
    let pipe = rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 3).unwrap();
    let worker = Worker::enter(worker::identity()).expect("started by a runner");
    let job: serde_json::Value = serde_json::from_str(&worker.welcome().spec).unwrap();
    worker.connect_mesh().map(drop).unwrap();
    worker.emitter().emit(EventKind::PhaseStarted { phase: Phase::Load });
    match job["spec"]["forest"]["seed"].as_u64().unwrap() {
        WELL => {}
        OUT_OF_MEMORY => hog(),
        HANG => sleep(Duration::from_secs(3600)),
        EXIT_1 => std::process::exit(1),
        GARBAGE => {
            let mut pipe = std::fs::File::from(pipe);
            while writeln!(pipe, "<p>something that is no event</p>").is_ok() {}
        }
        KILLED => kill_process(getpid(), Signal::KILL).unwrap(),
        FROZEN => kill_process(getpid(), Signal::STOP).unwrap(),
        BAD_DATA => worker.fail(FailureKind::BadData, "a.parquet: row group 3 is truncated; fetch it again"),
        FAIL_ONCE => {
            let mark = Path::new(job["spec"]["data"]["root"].as_str().unwrap()).join("tried");
            if !mark.exists() {
                std::fs::write(mark, "").unwrap();
                std::process::exit(1);
            }
        }
        other => worker.fail(FailureKind::BadSpec, format!("no behaviour {other}")),
    }
    worker.finish()
}

fn hog() {
    let mut blocks = Vec::new();
    for _ in 0..64 {
        blocks.push(std::hint::black_box(vec![1u8; 16 << 20]));
    }
    std::hint::black_box(blocks);
}

struct World {
    dir: tempfile::TempDir,
    grid: Grid,
    wish: Wish,
}

impl World {
    fn new(seeds: &[u64], run: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[base]\ndata = '{}'\nmemory = '200m'\n[axes]\nseed = {seeds:?}\n[run]\norder = 'as-written'\n{run}\n",
            dir.path().display()
        );
        let grid = Grid::parse("fake.toml", &text).unwrap();
        let wish = Wish { settings: grid.settings.clone(), no_memory_gate: true, ..Wish::default() };
        World { dir, grid, wish }
    }

    /// One sitting with the real runner and fake workers.
    fn sit(&self) -> SweepOutcome {
        let mut options = Options::default();
        options.deadlines.beat = Duration::from_millis(100);
        options.deadlines.heartbeat = Duration::from_secs(3);
        let program = std::env::current_exe().unwrap();
        let mut runner = LocalRunner::new(options).unwrap().with_workers(program, vec![WORKER.into()]);
        let cells = sweep::cells(&self.grid, &self.state()).unwrap();
        let store = self.dir.path();
        let mut sweep =
            Sweep::open(store, "fake", &self.grid, &cells, self.wish.clone(), Vec::new(), Box::new(|_| {})).unwrap();
        sweep.run(&cells, &mut runner).unwrap()
    }

    fn state(&self) -> SweepState {
        SweepState::load(&self.dir.path().join("fake")).unwrap()
    }

    /// What is on record of the cell of a seed: the word of its state or failure, the line, and the number of runs.
    fn outcome(&self, seed: u64) -> (String, String, usize) {
        let state = self.state();
        let cell = state.cells().iter().find(|cell| cell.label == format!("seed={seed}")).unwrap().clone();
        let (word, line) = match cell.status(state.repeats) {
            CellStatus::Failed { kind, error } => (kind_word(kind), error),
            other => (other.word().to_string(), String::new()),
        };
        (word, line, cell.runs.len())
    }
}

fn each_way_to_fail_has_its_word() {
    let seeds = [WELL, OUT_OF_MEMORY, EXIT_1, GARBAGE, KILLED, FROZEN, BAD_DATA];
    let world = World::new(&seeds, "");
    assert_eq!(world.sit(), SweepOutcome::Failed);
    for (seed, word, says) in [
        (WELL, "done", ""),
        (OUT_OF_MEMORY, "oom", "passed its memory limit of 200 MiB"),
        (EXIT_1, "exit", "ended with status 1"),
        (GARBAGE, "exit", "talks nonsense on its event pipe"),
        (KILLED, "worker-lost", "was killed by SIGKILL"),
        (FROZEN, "worker-lost", "froze: nothing heard from it"),
        (BAD_DATA, "bad-data", "a.parquet: row group 3 is truncated; fetch it again"),
    ] {
        let (got, line, runs) = world.outcome(seed);
        assert_eq!((got.as_str(), runs), (word, 1), "seed {seed}: {line}");
        assert!(line.contains(says) && line.lines().count() <= 1, "seed {seed}: {line}");
        assert!(seed == WELL || line.contains("worker 0") && line.contains("log"), "seed {seed}: {line}");
    }
    // A second sitting leaves them all alone; asked for, it tries the failed ones again.
    assert_eq!(world.sit(), SweepOutcome::Failed);
    assert!(seeds.iter().all(|&seed| world.outcome(seed).2 == 1));
    let again = World { wish: Wish { rerun: Rerun::Failed, ..world.wish.clone() }, ..world };
    assert_eq!(again.sit(), SweepOutcome::Failed);
    assert_eq!((again.outcome(WELL).2, again.outcome(EXIT_1).2), (1, 2));
}

fn a_worker_that_hangs_meets_the_time_limit() {
    let world = World::new(&[HANG, WELL], "time_limit = '2s'");
    assert_eq!(world.sit(), SweepOutcome::Failed);
    let (word, line, _) = world.outcome(HANG);
    assert_eq!(word, "timeout", "{line}");
    assert!(line.contains("time limit"), "{line}");
    assert_eq!(world.outcome(WELL).0, "done");
}

fn what_failed_once_is_tried_again_and_done() {
    let world = World::new(&[FAIL_ONCE, KILLED, OUT_OF_MEMORY], "retries = 1");
    assert_eq!(world.sit(), SweepOutcome::Failed);
    assert_eq!((world.outcome(FAIL_ONCE).0.as_str(), world.outcome(FAIL_ONCE).2), ("done", 2));
    assert_eq!((world.outcome(KILLED).0.as_str(), world.outcome(KILLED).2), ("worker-lost", 2));
    assert_eq!((world.outcome(OUT_OF_MEMORY).0.as_str(), world.outcome(OUT_OF_MEMORY).2), ("oom", 1));
}
