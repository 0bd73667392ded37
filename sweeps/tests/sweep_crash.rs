//! The runner is killed with `kill -9` at every step of a small sweep, and each time the next start does every cell
//! exactly once.
//!
//! The runner is this test program itself, started again as `the_runner_that_is_killed`: killing a thread is not
//! killing a process, and a lock or a half-written line only shows its worth when the kernel takes the process away.

mod sweep;

use std::path::Path;
use std::process::Command;

use fractal_sweeps::sweep::{JOURNAL_FILE, RunEnd, SweepEvent, SweepEventKind, SweepOutcome, SweepState};
use sweep::{Act, Scripted, World, die, kill_after};

const GRID: &str = "
    [axes]
    workers = [2, 1]
    fraction = [0.1, 0.2]
    [run]
    repeats = 2
    warmup = 1
    retries = 1
";

/// Where the runner kills itself.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// After the n-th step is on the disk.
    Step(u64),
    /// In the n-th run, before it has any record.
    InRun(u64),
    /// After the n-th run's record is complete, before the sweep knows.
    AfterRun(u64),
}

/// Does nothing unless it was started by the tests below with a store and a point to die at.
#[test]
fn the_runner_that_is_killed() {
    let (Ok(store), Ok(point)) = (std::env::var("SWEEP_CRASH_STORE"), std::env::var("SWEEP_CRASH_POINT")) else {
        return;
    };
    let (kind, n) = point.split_once(' ').unwrap();
    let n: u64 = n.parse().unwrap();
    let world = World::at(Path::new(&store), GRID);
    let watcher = kill_after(if kind == "step" { n } else { u64::MAX });
    let mut runner = logged(&world, Path::new(&store));
    let mut inner = std::mem::replace(&mut runner.on_run, Box::new(|_, _| {}));
    let (mut runs, at, after) = (0, kind == "in-run", kind == "after-run");
    runner.on_run = Box::new(move |request, cancel| {
        runs += 1;
        if runs == n && at {
            die();
        }
        inner(request, cancel);
        if runs == n && after {
            // What the scripted runner is about to write, whole.
            let figures = fractal_sweeps::runner::RunFigures { total_time_s: 1.0, ..Default::default() };
            std::fs::write(request.dir.join("result.json"), serde_json::to_vec(&figures).unwrap()).unwrap();
            die();
        }
    });
    // Failures once in a while, so that there are retries to be killed in.
    runner.script.insert("workers=1 fraction=0.1#1".into(), Act::Fail(fractal_logs::FailureKind::Exit, "once"));
    world.open(watcher).unwrap().run(&world.cells(), &mut runner).unwrap();
}

/// A runner that writes down, outside the sweep's own record, which runs it carries out.
fn logged(world: &World, store: &Path) -> Scripted {
    let mut runner = Scripted::new(&world.grid);
    let path = store.join("carried-out");
    runner.on_run = Box::new(move |request, _| {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        writeln!(file, "{} {}", request.cell, request.repeat).unwrap();
    });
    runner
}

/// Starts the runner that kills itself at `point`; whether it lived to the end.
fn start(store: &Path, point: Point) -> bool {
    let point = match point {
        Point::Step(n) => format!("step {n}"),
        Point::InRun(n) => format!("in-run {n}"),
        Point::AfterRun(n) => format!("after-run {n}"),
    };
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_runner_that_is_killed", "--nocapture"])
        .env("SWEEP_CRASH_STORE", store)
        .env("SWEEP_CRASH_POINT", point)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert!(status.success() || status.signal() == Some(9), "{status}");
    status.success()
}

/// The next start after a kill finishes the sweep, and each repeat of each cell is done exactly once.
fn resume_and_check(world: &World, what: &str) {
    let before = world.state();
    let finished_before: Vec<String> = done_ids(&before);
    let mut runner = logged(world, &world.store);
    assert_eq!(world.sit(&mut runner), SweepOutcome::Done, "{what}");
    let state = world.state();
    for cell in state.cells() {
        let mut repeats: Vec<u32> = cell.done().map(|(run, _)| run.repeat).collect();
        repeats.sort();
        assert_eq!(repeats, [1, 2], "{what}: {}", cell.label);
        assert!(cell.runs.iter().all(|run| run.end.is_some()), "{what}: {} has a run without an end", cell.label);
        let mut ids: Vec<&String> = cell.runs.iter().map(|run| &run.run_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), cell.runs.len(), "{what}: a run id was used twice");
    }
    assert_eq!(state.cells().len(), 4, "{what}");
    let after = done_ids(&state);
    assert!(finished_before.iter().all(|id| after.contains(id)), "{what}: a finished run was lost");
    // Nothing complete was carried out again.
    let again: Vec<String> = runner.story();
    for id in finished_before {
        let cell = state.cells().iter().find(|cell| cell.runs.iter().any(|run| run.run_id == id)).unwrap();
        let repeat = cell.runs.iter().find(|run| run.run_id == id).unwrap().repeat;
        assert!(!again.contains(&format!("{} r{repeat}", cell.label)), "{what}: {} was done twice", cell.label);
    }
    // And a third start has nothing to do.
    let mut third = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut third), SweepOutcome::Done, "{what}");
    assert!(third.story().is_empty(), "{what}: {:?}", third.story());
}

fn done_ids(state: &SweepState) -> Vec<String> {
    state.cells().iter().flat_map(|cell| cell.done().map(|(run, _)| run.run_id.clone())).collect()
}

#[test]
fn killed_at_every_step_and_resumed_each_cell_is_done_exactly_once() {
    let mut survived = false;
    for step in 1..200 {
        let world = World::new(GRID);
        survived = start(&world.store, Point::Step(step));
        resume_and_check(&world, &format!("killed after step {step}"));
        if survived {
            assert!(step > 25, "the sweep has more steps than {step}");
            break;
        }
    }
    assert!(survived, "the last point lies beyond the sweep's end");
}

#[test]
fn killed_inside_every_run_and_resumed_each_cell_is_done_exactly_once() {
    for run in 1..=11 {
        let world = World::new(GRID);
        assert!(!start(&world.store, Point::InRun(run)), "there are at least {run} runs");
        resume_and_check(&world, &format!("killed in run {run}"));
    }
}

#[test]
fn a_run_whose_record_was_complete_is_taken_over_and_not_done_again() {
    for run in 1..=11 {
        let world = World::new(GRID);
        assert!(!start(&world.store, Point::AfterRun(run)));
        let carried = |world: &World| std::fs::read_to_string(world.store.join("carried-out")).unwrap();
        let last = carried(&world).lines().last().unwrap().to_string();
        let (open_cell, open_id) = {
            let state = world.state();
            let (cell, open) = state.unfinished().next().expect("the killed run is open");
            (cell.id.clone(), open.run_id.clone())
        };
        resume_and_check(&world, &format!("killed after run {run}"));
        let state = world.state();
        let taken = state.cell(&open_cell).unwrap().runs.iter().find(|other| other.run_id == open_id).unwrap();
        assert!(matches!(taken.end, Some(RunEnd::Done { .. })), "run {run} was taken over");
        if !last.ends_with(" 0") {
            let times = carried(&world).lines().filter(|line| *line == last).count();
            // The run that fails once is carried out twice even without a kill.
            assert!(times <= 2, "{last} was carried out {times} times");
        }
    }
}

#[test]
fn killed_again_and_again_it_still_ends_with_each_cell_once() {
    let world = World::new(GRID);
    for sitting in 0..60 {
        // Few steps each time: one of SweepStarted, and a little progress or none.
        if start(&world.store, Point::Step(2 + sitting % 5)) {
            break;
        }
    }
    resume_and_check(&world, "killed many times");
}

#[test]
fn a_journal_cut_at_any_byte_is_resumed() {
    let world = World::new(GRID);
    world.sit(&mut Scripted::new(&world.grid));
    let path = world.dir().join(JOURNAL_FILE);
    let whole = std::fs::read(&path).unwrap();
    let lines: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    // Every line's middle, its end, and just before and after it.
    let cuts = lines.windows(2).flat_map(|pair| [(pair[0] + pair[1]) / 2, pair[1], pair[1] + 1]);
    for cut in cuts.step_by(2) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut runner = Scripted::new(&world.grid);
        assert_eq!(world.sit(&mut runner), SweepOutcome::Done, "cut at {cut}");
        let state = world.state();
        for cell in state.cells() {
            assert_eq!(cell.done().count(), 2, "cut at {cut}: {}", cell.label);
        }
    }
}

#[test]
fn a_damaged_line_is_left_out_and_said() {
    let world = World::new(GRID);
    world.sit(&mut Scripted::new(&world.grid));
    let path = world.dir().join(JOURNAL_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    // The end of a run becomes garbage: the run is open again, and its own record closes it.
    let at = text.lines().position(|line| line.contains("RunFinished")).unwrap();
    let damaged: Vec<&str> =
        text.lines().enumerate().map(|(n, line)| if n == at { "{\"at_ms\":1,garbage" } else { line }).collect();
    std::fs::write(&path, damaged.join("\n") + "\n").unwrap();
    let mut runner = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut runner), SweepOutcome::Done);
    assert!(runner.story().is_empty(), "nothing was lost but the line");
    assert!(world.state().warnings[0].contains(&format!("line {}", at + 1)), "{:?}", world.state().warnings);
}

#[test]
fn a_newer_journal_is_refused_with_what_to_do() {
    let world = World::new(GRID);
    std::fs::create_dir_all(world.dir()).unwrap();
    let event = SweepEvent {
        at_ms: 0,
        kind: SweepEventKind::SweepStarted {
            version: 99,
            sweep: "t".into(),
            pid: 1,
            command: vec![],
            order: "balanced".into(),
            repeats: 1,
        },
    };
    std::fs::write(world.dir().join(JOURNAL_FILE), serde_json::to_string(&event).unwrap() + "\n").unwrap();
    let wish = world.wish.clone();
    let open = fractal_sweeps::sweep::Sweep::open;
    let error = open(&world.store, "t", &world.grid, &[], wish, vec![], Box::new(|_| {})).unwrap_err().to_string();
    assert!(error.contains("format 99") && error.contains("update"), "{error}");
}
