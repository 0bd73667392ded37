//! Events for tests: a small recorded run, told step by step, and arbitrary events of all kinds.
#![allow(dead_code)] // each test file uses its share

use std::collections::BTreeMap;

use fractal_logs::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// Writes down a run as it happens; `at` moves the clock.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) events: Vec<RunEvent>,
    now_us: u64,
}

impl Recording {
    pub(crate) fn at(&mut self, ms: u64) -> &mut Self {
        self.now_us = ms * 1000;
        self
    }

    pub(crate) fn runner(&mut self, kind: EventKind) -> &mut Self {
        self.add(Source::Runner, kind)
    }

    pub(crate) fn worker(&mut self, worker: u32, kind: EventKind) -> &mut Self {
        self.add(Source::Worker(worker), kind)
    }

    pub(crate) fn thread(&mut self, worker: u32, thread: u32, kind: EventKind) -> &mut Self {
        self.add(Source::Thread { worker, thread }, kind)
    }

    fn add(&mut self, source: Source, kind: EventKind) -> &mut Self {
        self.events.push(RunEvent { elapsed_us: self.now_us, source, kind });
        self
    }

    pub(crate) fn started(&mut self, phase: Phase) -> &mut Self {
        self.runner(EventKind::PhaseStarted { phase })
    }

    pub(crate) fn finished(&mut self, phase: Phase, wall_ms: u64, cpu_ms: u64) -> &mut Self {
        self.runner(EventKind::PhaseFinished { phase, wall_us: wall_ms * 1000, cpu_us: cpu_ms * 1000 })
    }
}

pub(crate) fn host(name: &str) -> HostFacts {
    HostFacts {
        name: name.into(),
        kernel: "Linux 6.1".into(),
        cpu_model: "Test CPU".into(),
        logical_cpus: 4,
        physical_cores: Some(2),
        sockets: Some(1),
        numa_nodes: Some(1),
        governor: None,
        memory_total: 16 << 30,
        memory_available: 12 << 30,
        load_before: 0.25,
    }
}

pub(crate) fn spec() -> RunSpec {
    RunSpec {
        data: DataSpec { root: "/data/FRACTAL".into(), fraction: 0.05, ..DataSpec::default() },
        forest: ForestSpec { trees: 2, depth: 1, ..ForestSpec::default() },
        topology: Topology { workers: 2, cores: 2, memory: Some(7 << 30), ..Topology::default() },
        ..RunSpec::default()
    }
}

fn beginning() -> Recording {
    let mut run = Recording::default();
    let spec = spec();
    run.runner(EventKind::RunStarted {
        run_id: format!("{}-20261122T150001Z", spec.short_hash()),
        spec_hash: spec.hash(),
        spec: Box::new(spec),
        wall_clock_ms: 1_795_359_601_000,
        command: vec!["fractal-run".into(), "--data".into(), "/data/FRACTAL".into()],
        host: Box::new(host("n01")),
        versions: BTreeMap::from([("fractal".into(), "0.1.0".into()), ("timely".into(), "0.32.0".into())]),
        git_commit: Some("41ab90e".into()),
        binary_hash: Some("ab".repeat(32)),
        sweep: Some("local-01".into()),
        repeat: Some(1),
    });
    run.at(1).started(Phase::Start);
    for worker in 0..2 {
        let limits = Limits { cpus: Some(2.0), memory: Some(7 << 30) };
        run.at(5 + u64::from(worker)).runner(EventKind::WorkerLaunched {
            worker,
            pid: 100 + worker,
            host: "localhost".into(),
            log: format!("worker-{worker}.log"),
        });
        run.runner(EventKind::LimitsGranted {
            worker,
            requested: limits,
            granted: Limits { cpus: Some(2.0), memory: (worker == 0).then_some(7 << 30) },
            enforced_by: if worker == 0 { "cgroup2".into() } else { "affinity+rlimit".into() },
            pinned_cpus: vec![2 * worker, 2 * worker + 1],
        });
        run.at(30 + u64::from(worker)).worker(
            worker,
            EventKind::WorkerJoined {
                worker,
                threads: 2,
                host: Box::new(host(if worker == 0 { "n01" } else { "n02" })),
                allowed_cpus: 2,
                instruction_set: "avx2".into(),
            },
        );
    }
    run.at(40).runner(EventKind::MeshConnected { workers: 2 });
    run.at(41).finished(Phase::Start, 40, 3);
    run.started(Phase::Plan);
    for (subset, files) in [(Subset::Train, 40), (Subset::Val, 20), (Subset::Test, 20)] {
        run.at(44).worker(
            0,
            EventKind::FilesListed {
                subset,
                files,
                bytes: files * 1_000_000,
                taken_files: files / 20,
                taken_bytes: files * 50_000,
                list_hash: "cd".repeat(32),
            },
        );
    }
    for partition in 0..7 {
        run.at(50).worker(
            0,
            EventKind::PartitionPlanned {
                partition,
                subset: subset_of(partition),
                worker: partition % 2,
                thread: partition / 2 % 2,
                files: 1,
                bytes: 400_000,
                first_file: format!("PATCH-{partition:03}.parquet"),
            },
        );
    }
    run.at(52).finished(Phase::Plan, 11, 6);
    run.started(Phase::FitBins);
    for worker in 0..2 {
        for thread in 0..2 {
            run.at(80).thread(
                worker,
                thread,
                EventKind::PhaseFinished { phase: Phase::FitBins, wall_us: 27_500, cpu_us: 26_250 },
            );
        }
    }
    run.at(81).worker(
        0,
        EventKind::ThresholdsFitted { sample_rows: 10_000, bins: vec![32, 32, 7, 7, 7, 7, 30], z_deviation: Some(9.5) },
    );
    run.at(82).finished(Phase::FitBins, 30, 2);
    run.started(Phase::Load);
    run
}

fn subset_of(partition: u32) -> Subset {
    match partition {
        0..5 => Subset::Train,
        5 => Subset::Val,
        _ => Subset::Test,
    }
}

fn loaded(run: &mut Recording, partition: u32, wall_ms: u64) {
    run.thread(
        partition % 2,
        partition / 2 % 2,
        EventKind::PartitionLoaded {
            partition,
            subset: subset_of(partition),
            rows: 1000 + u64::from(partition),
            skipped: u64::from(partition == 2),
            read_bytes: 390_000,
            wall_us: wall_ms * 1000 + 250,
            cpu_us: wall_ms * 900,
            io_wait_us: wall_ms * 80,
        },
    );
}

fn sampled(run: &mut Recording, worker: u32, phase: Phase, rss_mb: u64, cpu_ms: u64) {
    run.worker(
        worker,
        EventKind::WorkerSampled {
            phase,
            rows_per_s: 125_000.5,
            bytes_per_s: 3e6,
            rss_bytes: rss_mb << 20,
            peak_rss_bytes: (rss_mb + 3) << 20,
            cpu_us: cpu_ms * 1000,
            exchanged_bytes: 4096,
            throttled: (worker == 0).then_some(1),
        },
    );
}

fn level(run: &mut Recording, level: u32, start_ms: u64) {
    let open_nodes = 2 << level;
    run.at(start_ms).worker(
        0,
        EventKind::LevelStarted {
            batch: 0,
            level,
            group: 0,
            groups: 1,
            open_nodes,
            histogram_bytes: open_nodes * 7 * 32 * 3 * 4,
            collected_nodes: 0,
        },
    );
    for worker in 0..2 {
        for thread in 0..2 {
            let busy_us = 8_300 + 500 * u64::from(worker + thread);
            run.at(start_ms + 10).thread(
                worker,
                thread,
                EventKind::LevelCounted {
                    batch: 0,
                    level,
                    group: 0,
                    rows: 1250,
                    busy_us,
                    cpu_us: busy_us - 100,
                    waiting_us: 10_000 - busy_us,
                    sent_bytes: 2048,
                },
            );
        }
    }
    run.at(start_ms + 11).worker(
        0,
        EventKind::LevelFinished {
            batch: 0,
            level,
            group: 0,
            wall_us: 11_000,
            exchanged_bytes: 8192,
            splits: vec![
                FeatureSplits { feature: 0, splits: 1, gain: 812.5 },
                FeatureSplits { feature: 6, splits: 1, gain: 0.125 },
            ],
            leaves: u64::from(level),
        },
    );
}

/// A run on two workers of two threads that went well.
pub(crate) fn recorded_run() -> Vec<RunEvent> {
    let mut run = beginning();
    for (partition, end_ms) in [(0, 110), (1, 112), (2, 118), (3, 115), (4, 130)] {
        run.at(end_ms);
        loaded(&mut run, partition, if partition == 4 { 19 } else { 25 });
    }
    run.at(120);
    sampled(&mut run, 0, Phase::Load, 90, 80);
    sampled(&mut run, 1, Phase::Load, 80, 75);
    run.at(131)
        .worker(0, EventKind::ClassesCounted { subset: Subset::Train, classes: vec![(2, 4000), (6, 1000), (9, 10)] });
    run.at(132).finished(Phase::Load, 50, 1);
    run.started(Phase::Train);
    level(&mut run, 0, 133);
    level(&mut run, 1, 145);
    run.at(150);
    sampled(&mut run, 0, Phase::Train, 110, 120);
    run.at(157).worker(
        0,
        EventKind::ForestGrown {
            trees: 2,
            nodes: 6,
            leaves: 4,
            depth: 1,
            model_hash: "ef".repeat(32),
            importances: vec![0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1],
        },
    );
    run.worker(
        1,
        EventKind::LatencyRecorded {
            name: "level_count".into(),
            count: 4,
            hdr_base64: histogram(&[8_300, 8_800, 8_800, 9_300]),
        },
    );
    run.at(158).finished(Phase::Train, 26, 1);
    run.started(Phase::Evaluate);
    run.at(190);
    loaded(&mut run, 5, 30);
    run.at(192);
    loaded(&mut run, 6, 33);
    run.at(193).worker(
        0,
        EventKind::WarningRaised {
            code: "unknown-class".into(),
            message: "test has 2 rows of class 64, which train lacks: they count as wrong".into(),
        },
    );
    for (subset, rows, accuracy, unknown_rows) in [(Subset::Val, 1005, 0.8, 0), (Subset::Test, 1006, 0.79, 2)] {
        run.at(195).worker(
            0,
            EventKind::SubsetEvaluated {
                subset,
                rows,
                accuracy,
                codes: vec![2, 6, 9],
                confusion: vec![vec![700, 100, 0], vec![99, 104, 0], vec![rows - unknown_rows - 1003, 0, 0]],
                unknown_rows,
            },
        );
    }
    run.at(196).finished(Phase::Evaluate, 38, 1);
    run.started(Phase::Record);
    run.at(197).runner(EventKind::FileWritten { what: "model".into(), path: "model.json".into(), bytes: 2345 });
    run.at(198).finished(Phase::Record, 2, 1);
    for worker in 0..2 {
        run.at(200).runner(EventKind::WorkerFinished {
            worker,
            cpu_us: 160_000,
            peak_rss_bytes: 120 << 20,
            peak_limited_bytes: None,
        });
    }
    run.at(201).runner(EventKind::RunFinished { outcome: Outcome::Done, failure: None, error: None, wall_us: 201_000 });
    run.events
}

/// The same run, except that worker 1 is killed while it loads.
pub(crate) fn lost_run() -> Vec<RunEvent> {
    let mut run = beginning();
    if let EventKind::RunStarted { run_id, .. } = &mut run.events[0].kind {
        *run_id = format!("{run_id}-2");
    }
    run.at(110);
    loaded(&mut run, 0, 25);
    run.at(112);
    loaded(&mut run, 1, 25);
    run.at(119).runner(EventKind::WorkerLost {
        worker: 1,
        cause: "worker 1 was killed by signal 9".into(),
        log: "worker-1.log".into(),
    });
    run.at(125).runner(EventKind::RunFinished {
        outcome: Outcome::Failed,
        failure: Some(FailureKind::WorkerLost),
        error: Some("worker 1 was killed by signal 9: see worker-1.log".into()),
        wall_us: 125_000,
    });
    run.events
}

/// An HdrHistogram of `values` as the journal has it.
pub(crate) fn histogram(values: &[u64]) -> String {
    use base64::Engine as _;
    use hdrhistogram::serialization::{Serializer as _, V2Serializer};
    let mut histogram = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    for &value in values {
        histogram.record(value).unwrap();
    }
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn text() -> BoxedStrategy<String> {
    // Quotes, control characters, newlines and non-ASCII are what breaks a line format.
    "[a-z0-9 \"\\\\\n\u{7f}é日]{0,12}".boxed()
}

fn ratio() -> BoxedStrategy<f64> {
    prop_oneof![0.0..1.0f64, Just(0.0), Just(1e300), -1e9..1e9f64].boxed()
}

fn number() -> BoxedStrategy<u64> {
    prop_oneof![0..1000u64, any::<u64>()].boxed()
}

fn small() -> BoxedStrategy<u32> {
    prop_oneof![0..4u32, any::<u32>()].boxed()
}

fn phase() -> BoxedStrategy<Phase> {
    proptest::sample::select(Phase::ALL.to_vec()).boxed()
}

fn subset() -> BoxedStrategy<Subset> {
    proptest::sample::select(Subset::ALL.to_vec()).boxed()
}

fn limits() -> BoxedStrategy<Limits> {
    (option::of(ratio()), option::of(number())).prop_map(|(cpus, memory)| Limits { cpus, memory }).boxed()
}

fn facts() -> BoxedStrategy<HostFacts> {
    (text(), option::of(text()), option::of(small()), number(), ratio())
        .prop_map(|(name, governor, cores, memory, load)| HostFacts {
            governor,
            physical_cores: cores,
            memory_total: memory,
            load_before: load,
            ..host(&name)
        })
        .boxed()
}

fn any_spec() -> BoxedStrategy<RunSpec> {
    (text(), ratio(), small(), option::of(number()), vec(text(), 0..3), any::<bool>())
        .prop_map(|(root, fraction, trees, memory, features, columns)| {
            let mut spec = spec();
            spec.data.root = root.clone();
            spec.data.fraction = fraction;
            spec.forest.trees = trees;
            spec.topology.memory = memory;
            if columns {
                spec.data.schema = Schema::Columns { label: root, features };
                spec.cross_validation = Some(CrossValidation { folds: 3, trees: vec![trees], depths: vec![] });
            }
            spec
        })
        .boxed()
}

pub(crate) fn any_source() -> BoxedStrategy<Source> {
    prop_oneof![
        Just(Source::Runner),
        (0..3u32).prop_map(Source::Worker),
        (0..3u32, 0..3u32).prop_map(|(worker, thread)| Source::Thread { worker, thread }),
    ]
    .boxed()
}

/// Any event at all: every kind, every optional field, extreme numbers, awkward text.
pub(crate) fn any_event() -> BoxedStrategy<RunEvent> {
    (number(), any_source(), any_kind())
        .prop_map(|(elapsed_us, source, kind)| RunEvent { elapsed_us, source, kind })
        .boxed()
}

fn any_kind() -> BoxedStrategy<EventKind> {
    use EventKind as K;
    let n = number;
    proptest::strategy::Union::new([
        (
            any_spec(),
            facts(),
            text(),
            n(),
            vec(text(), 0..3),
            btree_map(text(), text(), 0..3),
            option::of(text()),
            option::of(small()),
        )
            .prop_map(|(spec, host, run_id, wall_clock_ms, command, versions, word, repeat)| K::RunStarted {
                spec_hash: spec.hash(),
                spec: Box::new(spec),
                host: Box::new(host),
                run_id,
                wall_clock_ms,
                command,
                versions,
                git_commit: word.clone(),
                binary_hash: word.clone(),
                sweep: word,
                repeat,
            })
            .boxed(),
        (small(), small(), text(), text())
            .prop_map(|(worker, pid, host, log)| K::WorkerLaunched { worker, pid, host, log })
            .boxed(),
        (small(), limits(), limits(), text(), prop::collection::vec(small(), 0..3))
            .prop_map(|(worker, requested, granted, enforced_by, pinned_cpus)| K::LimitsGranted {
                worker,
                requested,
                granted,
                enforced_by,
                pinned_cpus,
            })
            .boxed(),
        (small(), small(), facts(), small(), text())
            .prop_map(|(worker, threads, host, allowed_cpus, instruction_set)| K::WorkerJoined {
                worker,
                threads,
                host: Box::new(host),
                allowed_cpus,
                instruction_set,
            })
            .boxed(),
        small().prop_map(|workers| K::MeshConnected { workers }).boxed(),
        phase().prop_map(|phase| K::PhaseStarted { phase }).boxed(),
        (phase(), n(), n()).prop_map(|(phase, wall_us, cpu_us)| K::PhaseFinished { phase, wall_us, cpu_us }).boxed(),
        (subset(), n(), n(), n(), n(), text())
            .prop_map(|(subset, files, bytes, taken_files, taken_bytes, list_hash)| K::FilesListed {
                subset,
                files,
                bytes,
                taken_files,
                taken_bytes,
                list_hash,
            })
            .boxed(),
        (small(), subset(), small(), small(), small(), n(), text())
            .prop_map(|(partition, subset, worker, thread, files, bytes, first_file)| K::PartitionPlanned {
                partition,
                subset,
                worker,
                thread,
                files,
                bytes,
                first_file,
            })
            .boxed(),
        (small(), subset(), n(), n(), n(), n(), n(), n())
            .prop_map(|(partition, subset, rows, skipped, read_bytes, wall_us, cpu_us, io_wait_us)| {
                K::PartitionLoaded { partition, subset, rows, skipped, read_bytes, wall_us, cpu_us, io_wait_us }
            })
            .boxed(),
        (n(), n()).prop_map(|(rows, disk_bytes)| K::RowsSpilled { rows, disk_bytes }).boxed(),
        (text(), text()).prop_map(|(path, reason)| K::FileSkipped { path, reason }).boxed(),
        (n(), vec(small(), 0..4), option::of(ratio()))
            .prop_map(|(sample_rows, bins, z_deviation)| K::ThresholdsFitted { sample_rows, bins, z_deviation })
            .boxed(),
        (subset(), vec((any::<i64>(), n()), 0..4))
            .prop_map(|(subset, classes)| K::ClassesCounted { subset, classes })
            .boxed(),
        (small(), small(), small(), small(), n(), n(), n())
            .prop_map(|(batch, level, group, groups, open_nodes, histogram_bytes, collected_nodes)| K::LevelStarted {
                batch,
                level,
                group,
                groups,
                open_nodes,
                histogram_bytes,
                collected_nodes,
            })
            .boxed(),
        (small(), small(), small(), n(), n(), n(), n(), n())
            .prop_map(|(batch, level, group, rows, busy_us, cpu_us, waiting_us, sent_bytes)| K::LevelCounted {
                batch,
                level,
                group,
                rows,
                busy_us,
                cpu_us,
                waiting_us,
                sent_bytes,
            })
            .boxed(),
        (small(), small(), small(), n(), n(), vec((small(), n(), ratio()), 0..3), n())
            .prop_map(|(batch, level, group, wall_us, exchanged_bytes, splits, leaves)| K::LevelFinished {
                batch,
                level,
                group,
                wall_us,
                exchanged_bytes,
                splits: splits
                    .into_iter()
                    .map(|(feature, splits, gain)| FeatureSplits { feature, splits, gain })
                    .collect(),
                leaves,
            })
            .boxed(),
        (small(), n(), n(), small(), text(), vec(ratio(), 0..4))
            .prop_map(|(trees, nodes, leaves, depth, model_hash, importances)| K::ForestGrown {
                trees,
                nodes,
                leaves,
                depth,
                model_hash,
                importances,
            })
            .boxed(),
        (small(), small(), small(), n(), ratio())
            .prop_map(|(trees, depth, fold, rows, accuracy)| K::FoldScored {
                score: FoldScore { trees, depth, fold, rows, accuracy },
            })
            .boxed(),
        (small(), small(), ratio())
            .prop_map(|(trees, depth, accuracy)| K::ParametersChosen { trees, depth, accuracy })
            .boxed(),
        (subset(), n(), ratio(), vec(any::<i64>(), 0..3), vec(vec(n(), 0..3), 0..3), n())
            .prop_map(|(subset, rows, accuracy, codes, confusion, unknown_rows)| K::SubsetEvaluated {
                subset,
                rows,
                accuracy,
                codes,
                confusion,
                unknown_rows,
            })
            .boxed(),
        (phase(), ratio(), ratio(), n(), n(), n(), n(), option::of(n()))
            .prop_map(
                |(phase, rows_per_s, bytes_per_s, rss_bytes, peak_rss_bytes, cpu_us, exchanged_bytes, throttled)| {
                    K::WorkerSampled {
                        phase,
                        rows_per_s,
                        bytes_per_s,
                        rss_bytes,
                        peak_rss_bytes,
                        cpu_us,
                        exchanged_bytes,
                        throttled,
                    }
                },
            )
            .boxed(),
        (text(), n(), text())
            .prop_map(|(name, count, hdr_base64)| K::LatencyRecorded { name, count, hdr_base64 })
            .boxed(),
        (phase(), n(), vec((text(), n(), n(), n()), 0..3), vec((text(), text(), n(), n(), n()), 0..3))
            .prop_map(|(phase, parked_us, operators, channels)| K::DataflowMeasured {
                phase,
                parked_us,
                operators: operators
                    .into_iter()
                    .map(|(name, activations, busy_us, longest_us)| OperatorCost {
                        name,
                        activations,
                        busy_us,
                        longest_us,
                    })
                    .collect(),
                channels: channels
                    .into_iter()
                    .map(|(from, to, sent_messages, sent_records, received_records)| ChannelTraffic {
                        from,
                        to,
                        sent_messages,
                        sent_records,
                        received_records,
                    })
                    .collect(),
            })
            .boxed(),
        (text(), text()).prop_map(|(code, message)| K::WarningRaised { code, message }).boxed(),
        (text(), text(), n()).prop_map(|(what, path, bytes)| K::FileWritten { what, path, bytes }).boxed(),
        (small(), n(), n(), proptest::option::of(n()))
            .prop_map(|(worker, cpu_us, peak_rss_bytes, peak_limited_bytes)| K::WorkerFinished {
                worker,
                cpu_us,
                peak_rss_bytes,
                peak_limited_bytes,
            })
            .boxed(),
        (small(), text(), text()).prop_map(|(worker, cause, log)| K::WorkerLost { worker, cause, log }).boxed(),
        (
            proptest::sample::select(vec![Outcome::Done, Outcome::Failed, Outcome::Interrupted]),
            option::of(proptest::sample::select(vec![
                FailureKind::Oom,
                FailureKind::Timeout,
                FailureKind::Exit,
                FailureKind::WorkerLost,
                FailureKind::BadData,
                FailureKind::BadSpec,
                FailureKind::Store,
                FailureKind::Interrupted,
            ])),
            option::of(text()),
            n(),
        )
            .prop_map(|(outcome, failure, error, wall_us)| K::RunFinished { outcome, failure, error, wall_us })
            .boxed(),
    ])
    .boxed()
}
