//! Sweep, Scaling, Compare and Lints over the original's results (the table of figures in `sweeps/tests`), over a sweep
//! that runs, and over nothing: what they say, and how it looks at three sizes.
//!
//! `INSTA_UPDATE=always cargo test --workspace --test screens_analysis` takes new frames; look at them before they are kept.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use fractal_logs::{Outcome, RunSpec};
use fractal_sweeps::analysis::records::Selection;
use fractal_sweeps::analysis::{LevelMeasured, Measured, PhaseMeasured, WorkerMeasured};
use fractal_sweeps::control::Request;
use fractal_sweeps::grid::{Axis, Cell, Grid};
use fractal_sweeps::import;
use fractal_sweeps::runner::RunFigures;
use fractal_sweeps::sweep::{
    Cache, CellLine, Counts, CurrentRun, Eta, QueueLine, RunEnd, SweepEvent, SweepEventKind, SweepStatus, TimeLine,
};
use fractal_tui::theme::Palette;
use fractal_tui::view::scaling::Pane;
use fractal_tui::{App, Command, Message, Screen, snapshot, step};
use support::*;

const TABLE: &str = include_str!("../../sweeps/tests/original-results.csv");
const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn text(app: &App, width: u16, height: u16) -> String {
    snapshot::text(&snapshot::frame(app, width, height))
}

fn check(name: &str, app: &App) {
    for (width, height) in SIZES {
        insta::assert_snapshot!(format!("{name}@{width}x{height}"), text(app, width, height));
    }
}

/// The table, written out as the files it was made from and imported again.
fn original(sweep: &str) -> Vec<Measured> {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = TABLE.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let first_metric = header.iter().position(|name| *name == "numStages").unwrap();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let object = |from: usize, to: usize| -> String {
            let filled = (from..to).filter(|&i| !fields[i].is_empty());
            filled.map(|i| format!("\"{}\": {}", header[i], fields[i])).collect::<Vec<_>>().join(", ")
        };
        let metrics = object(first_metric, header.len());
        let metrics = if metrics.is_empty() { metrics } else { format!(", \"spark_metrics\": {{{metrics}}}") };
        let path = folder.path().join(fields[0]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{{{}{metrics}}}", object(1, first_metric))).unwrap();
    }
    let mut runs: Vec<Measured> = import::read(folder.path())
        .unwrap()
        .runs
        .into_iter()
        .map(|run| run.measured)
        .filter(|run| run.sweep.as_deref() == Some(sweep))
        .map(|run| {
            let path = run.imported_from.as_deref().map(Path::new).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            Measured { run: name.clone(), imported_from: Some(name), ..run }
        })
        .collect();
    runs.sort_by(|a, b| a.run.cmp(&b.run));
    runs
}

fn with_runs(name: &str, runs: Vec<Measured>) -> App {
    let mut app = app();
    let selection = Selection { name: name.into(), is_sweep: true, runs, damaged: Vec::new() };
    app.open_sweep(name, false);
    let status = SweepStatus { sweep: name.into(), ..SweepStatus::default() };
    let messages =
        [Message::Sweep(name.into(), Ok(Box::new(status))), Message::Runs(name.into(), Ok(Arc::new(selection)))];
    step(&mut app, messages);
    app
}

fn local() -> App {
    with_runs("local-experiment-1-fixed-tree", original("local-experiment-1-fixed-tree"))
}

fn server() -> App {
    with_runs("server", original("server"))
}

fn on(mut app: App, screen: Screen) -> App {
    app.go(screen);
    app
}

/// A sweep of 2 by 2 by 2 cells in the middle of its work.
fn running() -> App {
    let toml = "name = \"night\"\n[axes]\nworkers = [4, 1]\nfraction = [0.01, 0.1]\ntrees = [20, 40]\n[base]\nmemory = \"7g\"\n[run]\nrepeats = 2\n";
    let grid = Grid::parse("night.toml", toml).unwrap();
    let cells = grid.cells().unwrap();
    let mut at_ms = NOW_MS - 4_000_000;
    let mut steps = Vec::new();
    let mut add = |kind: SweepEventKind| {
        at_ms += 61_000;
        steps.push(SweepEvent { at_ms, kind });
    };
    add(SweepEventKind::SweepStarted {
        version: 1,
        sweep: "night".into(),
        pid: 4711,
        command: ["fractal-run", "sweep", "night.toml", "--store", "runs", "--detach"].map(String::from).to_vec(),
        order: "balanced".into(),
        repeats: 2,
    });
    for Cell { id, spec, label } in &cells {
        add(SweepEventKind::CellPlanned {
            cell: id.clone(),
            label: label.clone(),
            spec: Box::new(spec.clone()),
            added: false,
        });
    }
    let figures = |seconds: f64| RunFigures {
        total_time_s: seconds,
        training_time_s: seconds * 0.8,
        train_rows: 59_109_292,
        val_accuracy: Some(0.809),
        test_accuracy: Some(0.77),
        model_hash: Some("3be1".repeat(16)),
        peak_rss_bytes: Some(5_400_000_000),
        granted_cores: Some(8.0),
        classes: Some(9),
    };
    let mut lines: Vec<CellLine> = cells
        .iter()
        .map(|cell| CellLine {
            cell: cell.id.clone(),
            label: cell.label.clone(),
            state: "planned".into(),
            reason: None,
            done: 0,
            warmups: 0,
            time: None,
            val_accuracy: None,
            model_hash: None,
        })
        .collect();
    for (index, seconds) in [(0, [372.0, 376.0]), (1, [381.0, 379.0])] {
        for (repeat, seconds) in seconds.into_iter().enumerate() {
            let (cell, run_id) = (cells[index].id.clone(), format!("{}-r{}", cells[index].id, repeat + 1));
            add(SweepEventKind::RunStarted {
                cell: cell.clone(),
                repeat: repeat as u32 + 1,
                run_id: run_id.clone(),
                cache: Cache::Warm,
            });
            add(SweepEventKind::RunFinished { cell, run_id, end: RunEnd::Done { figures: figures(seconds) } });
        }
        lines[index].state = "done".into();
        lines[index].done = 2;
        lines[index].time = Some(TimeLine {
            runs: 2,
            median_s: (seconds[0] + seconds[1]) / 2.0,
            min_s: seconds[0].min(seconds[1]),
            max_s: seconds[0].max(seconds[1]),
            interval_s: None,
            outliers: 0,
            cache: Cache::Warm,
            left_out: 0,
        });
    }
    let failed = cells[2].id.clone();
    add(SweepEventKind::RunStarted {
        cell: failed.clone(),
        repeat: 1,
        run_id: format!("{failed}-r1"),
        cache: Cache::Warm,
    });
    let error = "worker 0 was killed by the kernel: it used more than its 7.0 GiB".to_string();
    let end = RunEnd::Failed { kind: fractal_logs::FailureKind::Oom, error: error.clone() };
    add(SweepEventKind::RunFinished { cell: failed.clone(), run_id: format!("{failed}-r1"), end });
    lines[2].state = "failed".into();
    lines[2].reason = Some(format!("oom: {error}"));
    let current = cells[3].clone();
    add(SweepEventKind::RunStarted {
        cell: current.id.clone(),
        repeat: 1,
        run_id: format!("{}-r1", current.id),
        cache: Cache::Cold,
    });
    lines[3].state = "running".into();
    let queue = [(3, 2), (5, 1), (5, 2), (4, 1), (4, 2), (7, 1), (7, 2), (6, 1), (6, 2)];
    let status = SweepStatus {
        sweep: "night".into(),
        running: true,
        pid: Some(4711),
        order: "balanced".into(),
        repeats: 2,
        counts: Counts { planned: 4, running: 1, done: 2, failed: 1, skipped: 0 },
        cells: lines,
        current: Some(CurrentRun {
            cell: current.id.clone(),
            label: current.label.clone(),
            repeat: 1,
            run_id: format!("{}-r1", current.id),
            elapsed_s: 1072.0,
            predicted_s: Some(1539.0),
            phase: Some("train".into()),
            level: Some(4),
            rows_per_s: 18.1e6,
            rss_bytes: 21 << 30,
        }),
        queue: queue
            .into_iter()
            .map(|(index, repeat): (usize, u32)| QueueLine {
                cell: cells[index].id.clone(),
                label: cells[index].label.clone(),
                repeat,
                predicted_s: (index != 7).then_some(900.0 + 100.0 * index as f64),
            })
            .collect(),
        eta: Some(Eta { p50_s: 13_920.0, p90_s: 16_260.0, unknown_runs: 2 }),
        ..SweepStatus::default()
    };
    let mut app = app();
    app.open_sweep("night", false);
    let empty = Selection { name: "night".into(), is_sweep: true, ..Selection::default() };
    step(
        &mut app,
        [
            Message::Sweep("night".into(), Ok(Box::new(status))),
            Message::SweepSteps("night".into(), Arc::new(steps)),
            Message::Runs("night".into(), Ok(Arc::new(empty))),
        ],
    );
    on(app, Screen::Sweep)
}

/// Runs on 1 and 2 workers with everything that a journal tells, three repeats each.
fn journalled() -> Vec<Measured> {
    let mut runs = Vec::new();
    for (workers, seconds) in [(1u32, 100.0), (2, 58.0), (4, 37.0)] {
        for repeat in 1..=4u32 {
            let total = seconds + f64::from(repeat) * 0.2;
            let spec = RunSpec::default();
            let mut config: BTreeMap<String, String> =
                Axis::ALL.iter().map(|axis| (axis.name().to_string(), axis.show(&axis.get(&spec)))).collect();
            config.insert("workers".into(), workers.to_string());
            config.insert("memory".into(), "2g".into());
            let phase = |name: &str, wall_s: f64, busy: f64| PhaseMeasured {
                name: name.into(),
                wall_s,
                cpu_s: Some(busy),
                busy_s: Some(busy),
            };
            let load = 12.0 + 4.0 / f64::from(workers);
            runs.push(Measured {
                run: format!("c{workers}-r{repeat}"),
                sweep: Some("study".into()),
                outcome: Some(Outcome::Done),
                repeat: Some(repeat),
                config,
                workers,
                cores: 2,
                memory: Some(2 << 30),
                fraction: 0.05,
                trees: Some(20),
                depth: Some(6),
                train_rows: 20_000_000,
                partitions: 23,
                total_s: total,
                train_s: Some(total - load),
                phases: vec![phase("load", load, 20.0), phase("train", total - load, 150.0 + f64::from(workers) * 8.0)],
                busy_s: Some(170.0 + f64::from(workers) * 8.0),
                cpu_s: Some(165.0 + f64::from(workers) * 8.0),
                window_s: Some(total),
                granted_cores: Some(f64::from(workers) * 2.0),
                val_accuracy: Some(0.8),
                model_hash: Some("ab".repeat(32)),
                levels: (0..6)
                    .map(|level| LevelMeasured { level, wall_s: (total - load) / 6.0, ..LevelMeasured::default() })
                    .collect(),
                worker_list: (0..workers)
                    .map(|index| WorkerMeasured {
                        index,
                        threads: 2,
                        peak_bytes: (600 << 20) + (1200 << 20) / u64::from(workers) + (u64::from(index) << 22),
                        ..WorkerMeasured::default()
                    })
                    .collect(),
                ..Measured::default()
            });
        }
    }
    runs
}

fn compared() -> App {
    let mut app = app();
    step(&mut app, [Message::Tick(NOW_MS)]);
    let runs = journalled();
    app.home_state.marked = vec!["study/c1-r1".into(), "study/c4-r1".into()];
    let commands = press(&mut app, &["D"]);
    let asked = |command: &Command| matches!(command, Command::LoadRuns(name) if name == "study");
    assert_eq!(commands.iter().filter(|command| asked(command)).count(), 1, "{commands:?}");
    let selection = Selection { name: "study".into(), is_sweep: true, runs, damaged: Vec::new() };
    let trace = |end: f64, top: f64| -> Vec<(f64, f64)> {
        (0..=50).map(|i| (end * f64::from(i) / 50.0, top * (0.3 + 0.7 * (f64::from(i) / 20.0).min(1.0)))).collect()
    };
    step(
        &mut app,
        [
            Message::Runs("study".into(), Ok(Arc::new(selection))),
            Message::Trace("study/c1-r1".into(), Ok(trace(100.0, 1.8e9))),
            Message::Trace("study/c4-r1".into(), Ok(trace(37.0, 0.95e9))),
        ],
    );
    assert_eq!(app.screen, Screen::Compare);
    app
}

#[test]
fn scaling_of_the_original() {
    let mut app = on(local(), Screen::Scaling);
    check("scaling", &app);
    let shown = text(&app, 120, 40);
    // The figures of the study, to the digits shown.
    for figure in ["f=0.01", "0.161", "0.0018", "1.74", "2.65", "3.45", "0.49", "0.171", "1.59", "no single-thread run"]
    {
        assert!(shown.contains(figure), "{figure} is missing:\n{shown}");
    }
    press(&mut app, &["E", "a", "L"]);
    check("scaling_efficiency", &app);
    press(&mut app, &["E", "L", "f", "f"]);
    let polluted = text(&app, 120, 40);
    assert!(polluted.contains("f=0.07") && polluted.contains("B1"), "{polluted}");
}

#[test]
fn scaling_says_when_it_is_no_scaling_curve() {
    let mut app = on(server(), Screen::Scaling);
    press(&mut app, &["f"]);
    let shown = text(&app, 120, 40);
    assert!(shown.contains("not a scaling curve"), "{shown}");
    check("scaling_no_curve", &app);
}

#[test]
fn scaling_with_everything_recorded() {
    let app = on(with_runs("study", journalled()), Screen::Scaling);
    check("scaling_recorded", &app);
    for pane in Pane::ALL {
        let mut app = app.clone();
        app.scaling_state.focus = pane;
        insta::assert_snapshot!(format!("scaling_{pane:?}@80x24"), text(&app, 80, 24));
    }
    let mut what_if = app;
    press(&mut what_if, &["w", "right", "right", "up", "up", "up", "up", "up", "up"]);
    let shown = text(&what_if, 120, 40);
    assert!(shown.contains("depth 12"), "{shown}");
}

#[test]
fn another_name_is_drawn_beside() {
    let mut app = on(with_runs("study", journalled()), Screen::Scaling);
    let mut listing = listing();
    listing[0].name = "spark".into();
    listing[0].runs.iter_mut().for_each(|run| run.state = "imported".into());
    step(&mut app, [Message::Store(Ok(listing))]);
    let commands = press(&mut app, &["i"]);
    assert_eq!(commands, [Command::LoadRuns("spark".into())]);
    let runs = original("local-experiment-1-fixed-tree");
    let selection = Selection { name: "spark".into(), is_sweep: true, runs, damaged: Vec::new() };
    step(&mut app, [Message::Runs("spark".into(), Ok(Arc::new(selection)))]);
    let shown = text(&app, 120, 40);
    assert!(shown.contains("spark f=0.05"), "{shown}");
    assert!(shown.contains("study"), "its own runs stay:\n{shown}");
}

#[test]
fn lints_of_the_original() {
    let mut app = on(local(), Screen::Lints);
    check("lints", &app);
    let shown = text(&app, 120, 40);
    for part in ["B1", "formula", "advice", "x1 f=0.07"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    press(&mut app, &["/"]);
    step(&mut app, [Message::Paste("wave".into())]);
    press(&mut app, &["enter"]);
    let shown = text(&app, 120, 40);
    assert!(shown.contains("W1") && !shown.contains("B1 "), "{shown}");
    // Enter shows the lint's page.
    press(&mut app, &["enter"]);
    assert_eq!(app.overlays.len(), 1);
}

#[test]
fn a_lint_leads_to_its_cell() {
    let mut app = on(local(), Screen::Lints);
    press(&mut app, &["/"]);
    step(&mut app, [Message::Paste("work not conserved x1".into())]);
    press(&mut app, &["enter", "a"]);
    assert_eq!(app.screen, Screen::Sweep);
    let shown = text(&app, 120, 40);
    assert!(shown.contains("Selected cell  x1 f=0.07"), "{shown}");
}

#[test]
fn compare_two_cells() {
    let mut app = compared();
    check("compare", &app);
    let shown = text(&app, 120, 40);
    for part in ["Verdict", "2.68×", "95 %", "Mann", "workers", "train", "same forest"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    assert!(!shown.contains("fraction"), "equal rows are hidden:\n{shown}");
    press(&mut app, &["="]);
    assert!(text(&app, 120, 40).contains("fraction"));
    let before = text(&app, 120, 40);
    press(&mut app, &["tab"]);
    let swapped = text(&app, 120, 40);
    assert!(swapped.contains("A study/c4-r1") && swapped != before, "{swapped}");
    press(&mut app, &["r"]);
    assert!(text(&app, 120, 40).contains("no test"));
    let nothing = on(support::app(), Screen::Compare);
    check("compare_nothing", &nothing);
}

#[test]
fn the_matrix_shows_what_is_absent() {
    let app = on(server(), Screen::Sweep);
    check("sweep_imported", &app);
    let shown = text(&app, 120, 40);
    // Two cells of the server's grid have no file.
    assert!(shown.contains("? 2 cells absent"), "{shown}");
    assert_eq!(shown.matches("? absent").count(), 2, "{shown}");
}

#[test]
fn a_running_sweep() {
    let mut app = running();
    check("sweep_running", &app);
    press(&mut app, &["tab"]);
    insta::assert_snapshot!("sweep_queue@80x24", text(&app, 80, 24));
    press(&mut app, &["tab", "tab"]);
    insta::assert_snapshot!("sweep_events@80x24", text(&app, 80, 24));
    let shown = text(&app, 120, 40);
    for part in ["oom", "x4 to x1", "18.1 M rows/s", "3h52m P50", "+ 2 unknown", "1 failed", "trees="] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
}

#[test]
fn a_sweep_is_steered() {
    let mut app = running();
    assert_eq!(press(&mut app, &["p"]), [Command::Ask("night".into(), Request::Pause)]);
    // What destroys asks first.
    assert_eq!(press(&mut app, &["K"]), []);
    assert_eq!(app.overlays.len(), 1);
    let commands = press(&mut app, &["y"]);
    assert!(matches!(&commands[..], [Command::Ask(_, Request::Skip { .. })]), "{commands:?}");
    press(&mut app, &["r"]);
    let commands = press(&mut app, &["y"]);
    assert!(matches!(&commands[..], [Command::Ask(_, Request::Rerun { .. })]), "{commands:?}");
    press(&mut app, &["C"]);
    assert_eq!(press(&mut app, &["n", "i", "g", "h", "enter"]), [], "the whole name is typed");
    let commands = press(&mut app, &["t", "enter"]);
    assert_eq!(commands, [Command::Ask("night".into(), Request::Cancel { now: false })]);
    // The queue is walked with the cells following; < moves them.
    press(&mut app, &["tab", "j", "j", "j"]);
    let commands = press(&mut app, &["<"]);
    assert!(matches!(&commands[..], [Command::Ask(_, Request::Move { .. })]), "{commands:?}");
    press(&mut app, &["a"]);
    step(&mut app, [Message::Paste("workers=2,8 fraction=0.05".into())]);
    let commands = press(&mut app, &["enter"]);
    let axes = BTreeMap::from([
        ("workers".to_string(), vec!["2".to_string(), "8".to_string()]),
        ("fraction".to_string(), vec!["0.05".to_string()]),
    ]);
    assert_eq!(commands, [Command::Ask("night".into(), Request::Add { axes })]);
}

#[test]
fn a_queue_edited_as_text_is_moved_and_skipped_in_order() {
    let mut app = running();
    let commands = press(&mut app, &["E"]);
    let [Command::Write(path, written), Command::Edit(edited)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(path, edited);
    let text = String::from_utf8(written.clone()).unwrap();
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let dropped = lines.pop().unwrap().split_whitespace().next().unwrap().to_string();
    lines.swap(0, 1);
    let commands = step(&mut app, [Message::Edited(path.clone(), Ok(lines.join("\n")))]);
    assert_eq!(commands, [], "a cell is taken out: that is asked first");
    let commands = press(&mut app, &["y"]);
    let [Command::AskInOrder(_, requests)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(requests.len(), lines.len() + 1);
    assert_eq!(requests.last(), Some(&Request::Skip { cell: dropped }));
}

#[test]
fn a_read_only_viewer_steers_nothing() {
    let mut app = running();
    app.config.read_only = true;
    for key in ["p", "K", "r", "R", "c", "C", "a", "<", ">", "E", "A"] {
        assert_eq!(press(&mut app, &[key]), [], "{key}");
        assert!(app.overlays.is_empty(), "{key}");
    }
}

#[test]
fn a_new_sweep_is_planned_before_it_starts() {
    let mut app = app();
    step(&mut app, [Message::Store(Ok(Vec::new()))]);
    press(&mut app, &["a"]);
    assert_eq!(app.screen, Screen::Sweep);
    check("form", &app);
    // Another name, two more worker counts.
    press(&mut app, &["ctrl-u"]);
    step(&mut app, [Message::Paste("mine".into())]);
    press(&mut app, &["down", "down"]);
    step(&mut app, [Message::Paste(", 3, 4".into())]);
    let commands = press(&mut app, &["enter"]);
    let [Command::Write(path, toml), Command::Plan(arguments)] = &commands[..] else { panic!("{commands:?}") };
    assert!(path.ends_with("mine.toml"));
    assert_eq!(arguments, &[path.display().to_string()]);
    let grid = Grid::parse("mine.toml", std::str::from_utf8(toml).unwrap()).unwrap();
    assert_eq!((grid.name.as_str(), grid.cells().unwrap().len()), ("mine", 8));
    let line = |label: &str, seconds: Option<f64>| {
        serde_json::json!({
            "cell": "9f2c1e7a0b3d", "label": label, "does": "run", "repeats": [1, 2], "reason": "not run yet",
            "predicted_seconds": seconds.map(|s| serde_json::json!({"p50": s, "p90": s * 1.2, "basis": "model"})),
            "predicted_memory": {"bytes": 6_600_000_000u64, "rows": 5, "histograms": 6, "verdict": "tight", "calibrated_by": 3},
        })
        .to_string()
    };
    let lines = vec![line("workers=4 fraction=0.1", Some(372.0)), line("workers=4 fraction=0.3", None)];
    step(&mut app, [Message::Planned(Ok((lines, Vec::new())))]);
    check("form_planned", &app);
    let shown = text(&app, 120, 40);
    for part in ["4 measured runs", "12m24s P50", "unlike anything measured", "6.1 GiB tight", "Enter START"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    // A change after the plan is planned again, not started.
    press(&mut app, &["backspace"]);
    let commands = press(&mut app, &["enter"]);
    assert!(matches!(&commands[..], [Command::Write(..), Command::Plan(_)]), "{commands:?}");
    step(&mut app, [Message::Planned(Ok((vec![line("workers=2 fraction=0.1", Some(1.0))], Vec::new())))]);
    let commands = press(&mut app, &["enter"]);
    assert!(
        matches!(&commands[..], [Command::Write(..), Command::StartSweep(name, _)] if name == "mine"),
        "{commands:?}"
    );
}

#[test]
fn a_wrong_form_says_what_is_wrong_and_plans_nothing() {
    let mut app = app();
    press(&mut app, &["a", "down", "down", "ctrl-u"]);
    step(&mut app, [Message::Paste("two".into())]);
    assert_eq!(press(&mut app, &["enter"]), []);
    let shown = text(&app, 120, 40);
    assert!(shown.contains("workers takes a number, not 'two'"), "{shown}");
}

#[test]
fn every_shipped_grid_fills_the_form_and_comes_out_the_same() {
    for (name, text) in fractal_sweeps::grid::SHIPPED {
        let mut app = app();
        let commands = fractal_tui::view::sweep::open_grid(&mut app, name);
        let Some(Command::Write(_, toml)) = commands.first() else { panic!("{name}: {commands:?}") };
        let file = format!("{name}.toml");
        assert_eq!(
            Grid::parse(&file, std::str::from_utf8(toml).unwrap()).unwrap(),
            Grid::parse(&file, text).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn styles_and_ascii() {
    let screens = |app: App, name: &str| {
        let mut dark = app.clone();
        dark.config.theme = Palette::Dark;
        dark.apply_theme();
        insta::assert_snapshot!(format!("{name}_styles_dark"), snapshot::styles(&snapshot::frame(&dark, 120, 40)));
        let mut plain = app;
        plain.without_colours();
        plain.config.ascii = true;
        plain.apply_theme();
        for (width, height) in SIZES {
            let text = text(&plain, width, height);
            let foreign: String = text.chars().filter(|c| !c.is_ascii()).collect();
            assert!(foreign.is_empty(), "{name} at {width}x{height} shows {foreign}\n{text}");
        }
        insta::assert_snapshot!(format!("{name}_ascii@120x40"), text(&plain, 120, 40));
    };
    screens(on(local(), Screen::Scaling), "scaling");
    screens(on(local(), Screen::Lints), "lints");
    screens(compared(), "compare");
    screens(running(), "sweep");
}

#[test]
fn sizes_between_the_usual_ones_draw_too() {
    let apps =
        [on(local(), Screen::Scaling), on(server(), Screen::Sweep), on(local(), Screen::Lints), compared(), running()];
    for app in apps {
        for width in (60..=210).step_by(13) {
            for height in (15..=70).step_by(7) {
                snapshot::frame(&app, width, height);
            }
        }
    }
}
