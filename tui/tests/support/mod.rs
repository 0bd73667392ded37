//! Apps and journals for tests. Everything is a function of its arguments: no clock, no chance.
#![allow(dead_code)] // each test file uses its share

use std::collections::BTreeMap;
use std::path::PathBuf;

use fractal_logs::journal::Skipped;
use fractal_logs::*;
use fractal_tui::config::Config;
use fractal_tui::keymap::{Key, Keymap};
use fractal_tui::message::{JournalNews, RunLine, StoreName, Target};
use fractal_tui::{App, Message, Screen, step};

/// The wall clock of all tests.
pub(crate) const NOW_MS: u64 = 1_795_000_000_000;

/// Shape of a made-up run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) workers: u32,
    pub(crate) cores: u32,
    pub(crate) partitions: u32,
    pub(crate) levels: u32,
    pub(crate) samples: u32,
}

pub(crate) const HUGE: Shape = Shape { workers: 64, cores: 2, partitions: 1000, levels: 10, samples: 40 };
pub(crate) const SMALL: Shape = Shape { workers: 2, cores: 2, partitions: 12, levels: 3, samples: 10 };

fn host(name: &str) -> HostFacts {
    HostFacts {
        name: name.into(),
        kernel: "Linux 6.1".into(),
        cpu_model: "Test CPU".into(),
        logical_cpus: 8,
        physical_cores: Some(4),
        sockets: Some(1),
        numa_nodes: Some(1),
        governor: None,
        memory_total: 64 << 30,
        memory_available: 60 << 30,
        load_before: 0.25,
    }
}

/// A pseudo-random number below `below`, from a seed.
pub(crate) fn dice(seed: u64, below: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x51_7c_c1_b7;
    x ^= x >> 31;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x % below.max(1)
}

/// A whole run of a shape, as its journal would have it.
pub(crate) fn events(shape: Shape) -> Vec<RunEvent> {
    let Shape { workers, cores, partitions, levels, samples } = shape;
    let mut events = Vec::new();
    let mut add = |t: u64, source: Source, kind: EventKind| events.push(RunEvent { elapsed_us: t, source, kind });
    let spec = RunSpec {
        data: DataSpec { root: "/data/FRACTAL".into(), fraction: 0.05, ..DataSpec::default() },
        forest: ForestSpec { depth: levels, ..ForestSpec::default() },
        topology: Topology { workers, cores, memory: Some(7 << 30), ..Topology::default() },
        ..RunSpec::default()
    };
    let run = Source::Runner;
    add(
        0,
        run,
        EventKind::RunStarted {
            run_id: format!("{}-20261122T150001Z", spec.short_hash()),
            spec_hash: spec.hash(),
            spec: Box::new(spec),
            wall_clock_ms: NOW_MS - 3_600_000,
            command: vec!["fractal-run".into()],
            host: Box::new(host("runner")),
            versions: BTreeMap::new(),
            git_commit: None,
            binary_hash: None,
            sweep: None,
            repeat: Some(1),
        },
    );
    add(100, run, EventKind::PhaseStarted { phase: Phase::Start });
    let limits = Limits { cpus: Some(f64::from(cores)), memory: Some(7 << 30) };
    for w in 0..workers {
        let name = format!("n{:02}", w / 2);
        let t = 1_000 + u64::from(w) * 500;
        add(t, run, EventKind::WorkerLaunched { worker: w, pid: 1000 + w, host: name.clone(), log: "w.log".into() });
        let enforced_by = "cgroup2".to_string();
        add(
            t,
            run,
            EventKind::LimitsGranted {
                worker: w,
                requested: limits,
                granted: limits,
                enforced_by,
                pinned_cpus: vec![],
            },
        );
        let joined = EventKind::WorkerJoined {
            worker: w,
            threads: cores,
            host: Box::new(host(&name)),
            allowed_cpus: 8,
            instruction_set: "avx2".into(),
        };
        add(t + 400, Source::Worker(w), joined);
    }
    add(100_000, run, EventKind::MeshConnected { workers });
    add(101_000, run, EventKind::PhaseFinished { phase: Phase::Start, wall_us: 100_900, cpu_us: 900 });
    let first = Source::Worker(0);
    add(102_000, first, EventKind::PhaseStarted { phase: Phase::Plan });
    for p in 0..partitions {
        let planned = EventKind::PartitionPlanned {
            partition: p,
            subset: Subset::Train,
            worker: p % workers,
            thread: p / workers % cores,
            files: 3,
            bytes: 200_000_000,
            first_file: format!("train/{p}.parquet"),
        };
        add(150_000, first, planned);
    }
    add(200_000, first, EventKind::PhaseFinished { phase: Phase::Plan, wall_us: 98_000, cpu_us: 50_000 });
    add(200_000, first, EventKind::PhaseStarted { phase: Phase::FitBins });
    add(
        900_000,
        first,
        EventKind::ThresholdsFitted { sample_rows: 100_000, bins: vec![32; 7], z_deviation: Some(2.0) },
    );
    add(900_000, first, EventKind::PhaseFinished { phase: Phase::FitBins, wall_us: 700_000, cpu_us: 600_000 });
    add(900_000, first, EventKind::PhaseStarted { phase: Phase::Load });
    let waves = u64::from(partitions.div_ceil(workers * cores));
    for p in 0..partitions {
        let wave = u64::from(p / (workers * cores));
        let wall = 2_000_000 + dice(u64::from(p), 900_000) + if p % 97 == 13 { 3_000_000 } else { 0 };
        let t = 900_000 + wave * 3_000_000 + wall;
        let loaded = EventKind::PartitionLoaded {
            partition: p,
            subset: Subset::Train,
            rows: 1_100_000 + dice(u64::from(p) + 7, 300_000),
            skipped: 0,
            read_bytes: 190_000_000,
            wall_us: wall,
            cpu_us: wall * 9 / 10,
            io_wait_us: wall / 20,
        };
        add(t, Source::Thread { worker: p % workers, thread: p / workers % cores }, loaded);
    }
    let loaded = 900_000 + waves * 3_000_000 + 3_000_000;
    add(loaded, first, EventKind::PhaseFinished { phase: Phase::Load, wall_us: loaded - 900_000, cpu_us: loaded });
    add(loaded, first, EventKind::PhaseStarted { phase: Phase::Train });
    let step = 2_500_000;
    for level in 0..levels {
        let start = loaded + u64::from(level) * step;
        let open_nodes = 40u64 << level.min(20);
        let started = EventKind::LevelStarted {
            batch: 0,
            level,
            group: 0,
            groups: 1,
            open_nodes,
            histogram_bytes: open_nodes * 16_000,
            collected_nodes: 0,
        };
        add(start, first, started);
        for w in 0..workers {
            for thread in 0..cores {
                let busy = 1_800_000 + dice(u64::from(level * 1000 + w * 10 + thread), 500_000);
                let counted = EventKind::LevelCounted {
                    batch: 0,
                    level,
                    group: 0,
                    rows: 500_000,
                    busy_us: busy,
                    cpu_us: busy,
                    waiting_us: step - busy,
                    sent_bytes: 1_000_000,
                };
                add(start + step - 1_000, Source::Thread { worker: w, thread }, counted);
            }
        }
        let splits =
            (0..7).map(|feature| FeatureSplits { feature, splits: 5 + u64::from(feature) * 3, gain: 1e4 }).collect();
        let finished = EventKind::LevelFinished {
            batch: 0,
            level,
            group: 0,
            wall_us: step - 500,
            exchanged_bytes: 64_000_000,
            splits,
            leaves: u64::from(level),
        };
        add(start + step - 500, first, finished);
    }
    let grown = loaded + u64::from(levels) * step;
    add(grown, first, EventKind::PhaseFinished { phase: Phase::Train, wall_us: grown - loaded, cpu_us: grown });
    let forest = EventKind::ForestGrown {
        trees: 40,
        nodes: 5000,
        leaves: 2520,
        depth: levels,
        model_hash: "ab".repeat(32),
        importances: vec![1.0 / 7.0; 7],
    };
    add(grown, first, forest);
    add(grown, first, EventKind::PhaseStarted { phase: Phase::Evaluate });
    for subset in [Subset::Val, Subset::Test] {
        let scored = EventKind::SubsetEvaluated {
            subset,
            rows: 300,
            accuracy: 0.8,
            codes: vec![1, 2, 6],
            confusion: vec![vec![10, 70, 20], vec![5, 90, 5], vec![10, 10, 80]],
            unknown_rows: 0,
        };
        add(grown + 400_000, first, scored);
    }
    add(grown + 500_000, first, EventKind::PhaseFinished { phase: Phase::Evaluate, wall_us: 500_000, cpu_us: 400_000 });
    for w in 0..workers {
        add(
            grown + 550_000,
            Source::Worker(w),
            EventKind::WorkerFinished { worker: w, cpu_us: grown, peak_rss_bytes: 6 << 30, peak_limited_bytes: None },
        );
    }
    let finished =
        EventKind::RunFinished { outcome: Outcome::Done, failure: None, error: None, wall_us: grown + 600_000 };
    add(grown + 600_000, run, finished);
    let total = grown + 500_000;
    for s in 1..=samples {
        for w in 0..workers {
            let t = total * u64::from(s) / u64::from(samples + 1);
            let phase = if t < loaded { Phase::Load } else { Phase::Train };
            let sampled = EventKind::WorkerSampled {
                phase,
                rows_per_s: 2.4e6 + dice(u64::from(s * 100 + w), 400_000) as f64,
                bytes_per_s: 1.2e8,
                rss_bytes: (3 << 30) + u64::from(s) * (2 << 20),
                peak_rss_bytes: (3 << 30) + u64::from(s) * (2 << 20),
                cpu_us: t * u64::from(cores) * 9 / 10,
                exchanged_bytes: t * 8,
                throttled: Some(0),
            };
            add(t, Source::Worker(w), sampled);
        }
    }
    events.sort_by_key(|event| event.elapsed_us);
    events
}

/// The recorded sample of two workers.
pub(crate) fn sample() -> Vec<RunEvent> {
    let JournalNews::Events { events, .. } = fractal_tui::feed::sample() else { panic!("the sample is whole") };
    events
}

/// The recorded sample of a run that lost a worker.
pub(crate) fn failed() -> Vec<RunEvent> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../logs/samples/worker-lost.jsonl");
    fractal_logs::journal::read(&path).unwrap().events
}

/// An app with nothing open.
pub(crate) fn app() -> App {
    let mut app = App::new(Config::default(), Keymap::default(), PathBuf::from("runs"), NOW_MS);
    app.size = (120, 40);
    app
}

/// All events as one piece of news.
pub(crate) fn news(events: Vec<RunEvent>) -> JournalNews {
    JournalNews::Events { events, skipped: Skipped::default(), more: false }
}

/// An app that shows a run.
pub(crate) fn showing(title: &str, events: Vec<RunEvent>) -> App {
    let mut app = app();
    app.open_run(Target::Sample, title);
    app.go(Screen::Live);
    let number = app.run_number;
    step(&mut app, [Message::Journal(number, news(events))]);
    app
}

/// Presses keys, by their names.
pub(crate) fn press(app: &mut App, keys: &[&str]) -> Vec<fractal_tui::Command> {
    step(app, keys.iter().map(|key| Message::Key(key.parse::<Key>().unwrap())))
}

/// A listing of a store with a sweep and runs of every kind.
pub(crate) fn listing() -> Vec<StoreName> {
    let run = |id: &str, state: &str, label: &str, ago_s: u64| RunLine {
        id: id.into(),
        journal: PathBuf::from(format!("runs/x/{id}/events.jsonl")),
        started_ms: Some(NOW_MS - ago_s * 1000),
        state: state.into(),
        label: label.into(),
        total_s: (state == "done").then_some(286.4),
        rows: (state == "done").then_some(59_109_292),
        accuracy: (state == "done").then_some(0.8087),
        bytes: 3 << 20,
        reason: (state == "failed").then(|| "worker 1 was killed by SIGKILL".into()),
    };
    vec![
        StoreName {
            name: "local-01".into(),
            sweep: Some(fractal_sweeps::sweep::SweepStatus { sweep: "local-01".into(), ..Default::default() }),
            runs: vec![
                run("5ce1a2-r2", "running", "x7 f=0.07 rep 2", 30),
                run("5ce1a2-r1", "done", "x7 f=0.07 rep 1", 400),
                run("90b1c2-r1", "failed", "x1 f=0.1 rep 1", 4000),
            ],
        },
        StoreName {
            name: "run".into(),
            sweep: None,
            runs: vec![run("f006b803bd14-20261122T171354Z", "interrupted", "x2 f=1", 90_000)],
        },
    ]
}
