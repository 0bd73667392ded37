//! What happens in a sweep, told as stories: in which order, after which failure, with what left on the disk.

mod sweep;

use std::sync::Arc;
use std::time::Duration;

use fractal_logs::FailureKind;
use fractal_sweeps::filter::Filter;
use fractal_sweeps::grid::{Axis, Retries};
use fractal_sweeps::runner::Urgency;
use fractal_sweeps::sweep::{Cache, Decision, Rerun, SweepOutcome};
use sweep::{Act, Scripted, World};

const TWO_BY_TWO: &str = "
    [axes]
    fraction = [0.1, 0.2]
    workers = [2, 1]
";

#[test]
fn two_repeats_go_there_and_back() {
    let mut world = World::new(TWO_BY_TWO);
    world.wish.settings.repeats = 2;
    let mut runner = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut runner), SweepOutcome::Done);
    assert_eq!(
        runner.story(),
        [
            "fraction=0.1 workers=2 r1",
            "fraction=0.2 workers=2 r1",
            "fraction=0.2 workers=1 r1",
            "fraction=0.1 workers=1 r1",
            "fraction=0.1 workers=1 r2",
            "fraction=0.2 workers=1 r2",
            "fraction=0.2 workers=2 r2",
            "fraction=0.1 workers=2 r2",
        ]
    );
}

#[test]
fn a_cell_is_named_by_what_sets_it_apart() {
    let world = World::new("[axes]\nfraction = [0.1, 0.2]\nworkers = [2]\ntrees = [3, 33]\n");
    world.sit(&mut Scripted::new(&world.grid));
    let state = world.state();
    let label = |typed: &str| state.find("t", typed).map(|cell| cell.label.clone());
    let first = state.cells()[0].clone();
    assert_eq!(label(&first.id[..8]).unwrap(), first.label);
    assert_eq!(label("fraction=0.2 workers=2 trees=3").unwrap(), "fraction=0.2 workers=2 trees=3");
    assert_eq!(label("trees=33 fraction=0.1").unwrap(), "fraction=0.1 workers=2 trees=33");
    let refused = |typed: &str| label(typed).unwrap_err().to_string();
    assert!(refused("trees=3").contains("fits 2 cells"), "a value is not the beginning of another one");
    for typed in ["trees=4", "trees", "", "workers=2 trees=3 fraction=0.3"] {
        assert!(refused(typed).contains("has no cell"), "{typed}");
    }
}

#[test]
fn what_is_done_is_not_done_again() {
    let world = World::new(TWO_BY_TWO);
    world.sit(&mut Scripted::new(&world.grid));
    let mut again = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut again), SweepOutcome::Done);
    assert!(again.story().is_empty());
}

#[test]
fn more_repeats_or_a_larger_grid_run_only_what_is_new() {
    let mut world = World::new(TWO_BY_TWO);
    world.sit(&mut Scripted::new(&world.grid));
    world.wish.settings.repeats = 2;
    let mut more = Scripted::new(&world.grid);
    world.sit(&mut more);
    assert_eq!(more.story().len(), 4);
    assert!(more.story().iter().all(|run| run.ends_with("r2")));

    let text = TWO_BY_TWO.replace("[2, 1]", "[4, 2, 1]");
    let mut larger = World::at(&world.store, &text);
    larger.wish = world.wish.clone();
    let mut new = Scripted::new(&larger.grid);
    larger.sit(&mut new);
    assert_eq!(new.story().len(), 4);
    assert!(new.story().iter().all(|run| run.contains("workers=4")));
}

#[test]
fn a_sick_run_does_not_stop_the_sweep() {
    let world = World::new(TWO_BY_TWO);
    let mut runner = Scripted::new(&world.grid)
        .with("fraction=0.2 workers=2", Act::Fail(FailureKind::Oom, "worker 0 passed 7 GiB"))
        .with("fraction=0.2 workers=1", Act::Fail(FailureKind::BadData, "a.parquet: no footer"));
    assert_eq!(world.sit(&mut runner), SweepOutcome::Failed);
    assert_eq!(runner.story().len(), 4);
    assert_eq!(
        world.states(),
        [
            "fraction=0.1 workers=2: done",
            "fraction=0.1 workers=1: done",
            "fraction=0.2 workers=2: failed",
            "fraction=0.2 workers=1: failed",
        ]
    );
    assert_eq!(world.reason("fraction=0.2 workers=2"), "oom: worker 0 passed 7 GiB");
    assert_eq!(world.reason("fraction=0.2 workers=1"), "bad-data: a.parquet: no footer");
}

#[test]
fn failed_cells_stay_failed_until_asked_for() {
    let mut world = World::new(TWO_BY_TWO);
    let sick = "fraction=0.2 workers=1";
    world.sit(&mut Scripted::new(&world.grid).with(sick, Act::Fail(FailureKind::Oom, "too much")));
    let mut resumed = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut resumed), SweepOutcome::Failed);
    assert!(resumed.story().is_empty());

    world.wish.rerun = Rerun::Failed;
    let mut rerun = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut rerun), SweepOutcome::Done);
    assert_eq!(rerun.story(), ["fraction=0.2 workers=1 r1"]);
    assert_eq!(world.sit(&mut Scripted::new(&world.grid)), SweepOutcome::Done);
}

#[test]
fn a_cell_or_all_of_them_can_be_run_from_scratch() {
    let mut world = World::new(TWO_BY_TWO);
    world.sit(&mut Scripted::new(&world.grid));
    let id = world.state().cells()[0].id.clone();
    world.wish.rerun = Rerun::Cells(vec![id.clone()]);
    let mut one = Scripted::new(&world.grid).with("fraction=0.1 workers=2", Act::Take(5.0));
    world.sit(&mut one);
    assert_eq!(one.story(), ["fraction=0.1 workers=2 r1"]);
    let state = world.state();
    let cell = state.cell(&id).unwrap();
    assert_eq!(cell.done().count(), 1, "the earlier run no longer counts");
    assert_eq!(cell.runs.len(), 2, "but it is still on record");
    assert_eq!(cell.summary().unwrap().total_time_s.median, 5.0);

    world.wish.rerun = Rerun::All;
    let mut all = Scripted::new(&world.grid);
    world.sit(&mut all);
    assert_eq!(all.story().len(), 4);
}

#[test]
fn what_may_pass_by_itself_is_tried_again_and_what_may_not_is_not() {
    let mut world = World::new(TWO_BY_TWO);
    world.wish.settings.retries = Retries::transient(2);
    world.wish.settings.repeats = 2;
    let mut runner = Scripted::new(&world.grid)
        .with("fraction=0.1 workers=2#1", Act::Fail(FailureKind::WorkerLost, "worker 1 was killed"))
        .with("fraction=0.2 workers=2", Act::Fail(FailureKind::Exit, "worker 0 ended with status 1"))
        .with("fraction=0.1 workers=1", Act::Fail(FailureKind::Oom, "too much"));
    assert_eq!(world.sit(&mut runner), SweepOutcome::Failed);
    let story = runner.story();
    let count = |run: &str| story.iter().filter(|step| step.starts_with(run)).count();
    assert_eq!(count("fraction=0.1 workers=2 r1"), 2, "lost once, then well");
    assert_eq!(count("fraction=0.1 workers=2 r2"), 1);
    assert_eq!(count("fraction=0.2 workers=2 r1"), 3, "once and two retries");
    assert_eq!(count("fraction=0.2 workers=2 r2"), 0, "what failed for good is not repeated");
    assert_eq!(count("fraction=0.1 workers=1 r1"), 1, "too little memory stays too little");
    assert_eq!(count("fraction=0.2 workers=1"), 2);
}

#[test]
fn a_hanging_run_meets_its_time_limit() {
    let mut world = World::new(TWO_BY_TWO);
    world.wish.settings.time_limit = Some(Duration::from_millis(50));
    let mut runner = Scripted::new(&world.grid).with("fraction=0.1 workers=2", Act::Hang);
    assert_eq!(world.sit(&mut runner), SweepOutcome::Failed);
    assert_eq!(world.reason("fraction=0.1 workers=2"), "timeout: too slow");
    assert_eq!(runner.story().len(), 4);
}

#[test]
fn an_interrupted_sweep_goes_on_where_it_ended() {
    let world = World::new(TWO_BY_TWO);
    let mut sitting = world.open(Box::new(|_| {})).unwrap();
    let desk = sitting.desk();
    let mut runner = Scripted::new(&world.grid).with("fraction=0.2 workers=1", Act::Hang);
    runner.on_run = Box::new(move |request, _| {
        if request.spec.topology.workers == 1 {
            desk.cancel(Urgency::Graceful);
        }
    });
    assert_eq!(sitting.run(&world.cells(), &mut runner).unwrap(), SweepOutcome::Interrupted);
    drop(sitting);
    assert_eq!(runner.story().len(), 3);
    assert_eq!(world.states()[3], "fraction=0.2 workers=1: planned");

    let mut resumed = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut resumed), SweepOutcome::Done);
    assert_eq!(resumed.story(), ["fraction=0.2 workers=1 r1", "fraction=0.1 workers=1 r1"]);
}

#[test]
fn filters_leave_cells_planned_and_named() {
    let mut world = World::new(TWO_BY_TWO);
    world.wish.only = vec![Filter::parse("workers==1 and fraction<0.2").unwrap()];
    let mut runner = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut runner), SweepOutcome::Done);
    assert_eq!(runner.story(), ["fraction=0.1 workers=1 r1"]);
    assert_eq!(world.states().iter().filter(|state| state.ends_with("planned")).count(), 3);
}

#[test]
fn warm_ups_are_marked_and_never_mixed_in() {
    let mut world = World::new(TWO_BY_TWO);
    world.wish.settings.warmup = 2;
    let mut runner = Scripted::new(&world.grid).with("fraction=0.1 workers=2#1", Act::Take(99.0));
    world.sit(&mut runner);
    assert_eq!(
        runner.story()[..6],
        [
            "fraction=0.1 workers=2 warm-up",
            "fraction=0.1 workers=2 warm-up",
            "fraction=0.1 workers=2 r1",
            "fraction=0.2 workers=2 warm-up",
            "fraction=0.2 workers=2 warm-up",
            "fraction=0.2 workers=2 r1",
        ]
    );
    assert_eq!(runner.story().len(), 8, "the files of the other cells have been read by then");
    let state = world.state();
    let summary = state.cells()[0].summary().unwrap();
    assert_eq!((summary.total_time_s.max, summary.cache, summary.left_out), (1.0, Cache::Warm, 0));
}

#[test]
fn cold_and_warm_runs_of_a_cell_are_told_apart() {
    let mut world = World::new("[axes]\nworkers = [1]");
    world.wish.settings.repeats = 3;
    let mut runner = Scripted::new(&world.grid).with("workers=1#1", Act::Take(50.0));
    world.sit(&mut runner);
    let state = world.state();
    let summary = state.cells()[0].summary().unwrap();
    assert_eq!((summary.cache, summary.left_out), (Cache::Warm, 1));
    assert_eq!(summary.total_time_s.max, 1.0);
}

#[test]
fn smaller_fractions_are_warm_after_larger_ones_and_hashed_ones_by_their_seed() {
    let world = World::new("[axes]\nfraction = [0.2, 0.1]\nsample = [\"prefix\", \"hashed\"]\nseed = [1, 2]");
    let mut world = world;
    world.wish.settings.order = "as-written".parse().unwrap();
    world.sit(&mut Scripted::new(&world.grid));
    let cold: Vec<String> = world
        .state()
        .cells()
        .iter()
        .filter(|cell| cell.runs[0].cache == Cache::Cold)
        .map(|cell| cell.label.clone())
        .collect();
    assert_eq!(
        cold,
        ["fraction=0.2 sample=prefix seed=1", "fraction=0.2 sample=hashed seed=1", "fraction=0.2 sample=hashed seed=2"]
    );
}

#[test]
fn repeats_go_on_until_the_interval_is_narrow() {
    let mut world = World::new("[axes]\nworkers = [2, 1]\n[run]\nwarmup = 1");
    world.wish.settings.ci = Some(0.02);
    world.wish.settings.max_repeats = 8;
    let mut runner = Scripted::new(&world.grid);
    // workers=2 is steady; workers=1 swings for as long as anybody looks.
    for n in 1..=12 {
        let swing = if n % 2 == 0 { 10.0 } else { 14.0 };
        runner = runner.with(&format!("workers=1#{n}"), Act::Take(swing));
    }
    assert_eq!(world.sit(&mut runner), SweepOutcome::Done);
    let state = world.state();
    let counts: Vec<usize> = state.cells().iter().map(|cell| cell.done().count()).collect();
    assert_eq!(counts, [3, 8], "three are the fewest that make an interval, eight the most allowed");
    let mut again = Scripted::new(&world.grid);
    world.sit(&mut again);
    assert!(again.story().is_empty(), "the most allowed is the end of it");
}

#[test]
fn a_cell_that_cannot_fit_is_skipped_with_the_reason() {
    // 200 trees × 2^14 nodes want all of the 2 GiB of histogram they may have; a worker may use 64 MiB.
    let text = "
        [base]
        trees = 200
        histogram_budget = \"2g\"
        [axes]
        depth = [4, 15]
        memory = [\"300m\"]
    ";
    let mut world = World::new(text);
    let mut runner = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut runner), SweepOutcome::Done);
    assert_eq!(runner.story(), ["depth=4 memory=300m r1"]);
    let reason = world.reason("depth=15 memory=300m");
    assert!(reason.contains("may use 300m") && reason.contains("--no-mem-gate"), "{reason}");

    world.wish.no_memory_gate = true;
    let mut anyway = Scripted::new(&world.grid);
    world.sit(&mut anyway);
    assert_eq!(anyway.story(), ["depth=15 memory=300m r1"]);
    assert!(world.states().iter().all(|state| state.ends_with("done")));
}

#[test]
fn hooks_go_around_the_runs_and_know_them() {
    let mut world = World::new(TWO_BY_TWO);
    let log = world.store.join("hooks");
    let say = |what: &str| Some(format!("echo {what} >> {}", log.display()));
    let hooks = &mut world.wish.settings.hooks;
    hooks.before_sweep = say("begin $FRACTAL_SWEEP");
    hooks.before_run = say("before $FRACTAL_REPEAT");
    hooks.after_run = say("after $FRACTAL_OUTCOME");
    hooks.after_sweep = say("end");
    world.wish.only = vec![Filter::any_of(Axis::Workers, vec![Axis::Workers.read("1").unwrap()])];
    world.sit(&mut Scripted::new(&world.grid).with("fraction=0.2 workers=1", Act::Fail(FailureKind::Exit, "x")));
    let told = std::fs::read_to_string(&log).unwrap();
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        ["begin t", "before 1", "after done", "before 1", "after failed", "end"]
    );
    world.sit(&mut Scripted::new(&world.grid));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), told, "nothing to run, nothing to hook");
}

#[test]
fn a_hook_that_fails_fails_the_run_it_prepares() {
    let mut world = World::new(TWO_BY_TWO);
    world.wish.settings.hooks.before_run = Some("exit 3".to_string());
    let mut runner = Scripted::new(&world.grid);
    assert_eq!(world.sit(&mut runner), SweepOutcome::Failed);
    assert!(runner.story().is_empty());
    assert_eq!(world.reason("fraction=0.1 workers=1"), "exit: hook before_run 'exit 3' ended with status 3");
}

#[test]
fn a_second_runner_is_refused() {
    let world = World::new(TWO_BY_TWO);
    let first = world.open(Box::new(|_| {})).unwrap();
    let error = world.open(Box::new(|_| {})).unwrap_err().to_string();
    assert!(error.contains("already being run by process"), "{error}");
    drop(first);
    world.open(Box::new(|_| {})).unwrap();
}

#[test]
fn a_dry_run_gives_every_cell_its_reason_and_writes_nothing() {
    let mut world = World::new(TWO_BY_TWO);
    let plan = |world: &World| {
        fractal_sweeps::sweep::dry_run(&world.store, "t", &world.grid, &world.cells(), &world.wish).unwrap()
    };
    assert!(plan(&world).cells.iter().all(|cell| cell.decision.reason() == "not run yet"));
    assert!(!world.dir().exists());

    world.sit(&mut Scripted::new(&world.grid).with("fraction=0.1 workers=1", Act::Fail(FailureKind::Oom, "too much")));
    world.wish.settings.repeats = 2;
    world.wish.only = vec![Filter::parse("fraction==0.1").unwrap()];
    let reasons: Vec<String> = plan(&world)
        .cells
        .iter()
        .map(|planned| format!("{}: {}", planned.decision.word(), planned.decision.reason()))
        .collect();
    assert_eq!(
        reasons,
        [
            "run: 1 of 2 repeats done",
            "failed: oom: too much; --rerun failed tries it again",
            "leave: does not match fraction==0.1",
            "leave: does not match fraction==0.1",
        ]
    );
    assert!(matches!(&plan(&world).cells[0].decision, Decision::Run { repeats, .. } if repeats == &[2]));
}

#[test]
fn a_run_far_from_its_prediction_is_flagged() {
    let text = "
        [axes]
        fraction = [0.1, 0.2, 0.3, 0.4]
        workers = [4, 2, 1]
        [run]
        warmup = 1
    ";
    let mut world = World::new(text);
    world.wish.settings.repeats = 2;
    let mut runner = Scripted::new(&world.grid);
    for cell in world.cells() {
        let (n, p) = (cell.spec.data.fraction, f64::from(cell.spec.topology.workers));
        runner = runner.with(&cell.label, Act::Take(2.0 + n * (10.0 + 400.0 / p)));
    }
    // The second measured run, the last of all its runs, of one cell takes twice as long.
    let odd = "fraction=0.1 workers=4";
    let Some(Act::Take(usual)) = runner.script.get(odd).cloned() else { unreachable!() };
    runner = runner.with(&format!("{odd}#3"), Act::Take(2.0 * usual));
    world.sit(&mut runner);
    let state = world.state();
    let flagged: Vec<&str> =
        state.anomalies.iter().map(|(cell, ..)| state.cell(cell).unwrap().label.as_str()).collect();
    assert_eq!(flagged, [odd]);
}

#[test]
fn the_desk_moves_skips_adds_and_pauses() {
    let world = World::new(TWO_BY_TWO);
    let mut sitting = world.open(Box::new(|_| {})).unwrap();
    let desk = sitting.desk();
    let mut runner = Scripted::new(&world.grid);
    let mut first = true;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let status = seen.clone();
    runner.on_run = Box::new(move |_, _| {
        if !std::mem::take(&mut first) {
            return;
        }
        desk.move_to("fraction=0.1 workers=1", 0).unwrap();
        desk.skip("fraction=0.2 workers=1").unwrap();
        let axes = [("workers", "3"), ("fraction", "0.1")];
        let axes: Vec<_> = axes
            .into_iter()
            .map(|(name, value)| {
                let axis = Axis::named(name).unwrap();
                (axis, vec![axis.read(value).unwrap()])
            })
            .collect();
        assert_eq!(desk.add(&axes).unwrap().len(), 1);
        assert_eq!(desk.add(&axes).unwrap().len(), 0, "it is there already");
        desk.pause().unwrap();
        let later = desk.clone();
        let status = status.clone();
        std::thread::spawn(move || {
            // Until the first run is over and the sweep stands still.
            while later.status().current.is_some() {
                std::thread::sleep(Duration::from_millis(5));
            }
            status.lock().unwrap().push(later.status());
            later.resume().unwrap();
        });
    });
    assert_eq!(sitting.run(&world.cells(), &mut runner).unwrap(), SweepOutcome::Done);
    drop(sitting);
    assert_eq!(
        runner.story(),
        [
            "fraction=0.1 workers=2 r1",
            "fraction=0.1 workers=1 r1",
            "fraction=0.2 workers=2 r1",
            "fraction=0.1 workers=3 r1",
        ]
    );
    let paused = seen.lock().unwrap();
    assert!(paused[0].paused && paused[0].counts.done == 1 && paused[0].queue.len() == 3, "{:?}", paused[0]);

    // A skipped cell stays skipped and an added one stays there.
    let mut again = Scripted::new(&world.grid);
    world.sit(&mut again);
    assert!(again.story().is_empty());
    assert_eq!(world.reason("fraction=0.2 workers=1"), "by command");
    assert_eq!(world.cells().len(), 5);
}
