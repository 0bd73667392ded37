//! Journals that real runs on real LiDAR wrote, folded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fractal_logs::{EventKind, Journal, Outcome, Phase, RunResult, RunState, Subset, journal, stages};

fn sample(name: &str) -> Journal {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
    let journal = journal::read(&path).unwrap();
    assert!(!journal.torn && journal.skipped.is_empty(), "{:?}", journal.skipped);
    journal
}

#[test]
fn a_whole_run_on_two_workers() {
    let journal = sample("lidar-2-workers.jsonl");
    let state = RunState::of(&journal.events);
    let result = RunResult::from_state(&state);
    insta::assert_snapshot!("lidar_2_workers_result", result.to_json());
    assert_eq!(result.outcome, Some(Outcome::Done));
    // The figures that the data's own README gives.
    assert_eq!((result.train_count, result.val_count, result.test_count), (1_009_518, 212_567, 266_381));
    assert_eq!(result.subsets[&Subset::Train].classes.iter().map(|&(_, rows)| rows).sum::<u64>(), 1_009_518);
    // Every pass scans every row of train once, by all threads of all workers.
    assert_eq!(state.levels.len(), 6);
    for (key, level) in &state.levels {
        assert_eq!(level.rows(), 1_009_518, "{key:?}");
        assert_eq!(level.threads.len(), 4, "{key:?}");
        let sent: u64 = level.threads.values().map(|share| share.sent_bytes).sum();
        assert_eq!(sent, level.finished.as_ref().unwrap().exchanged_bytes, "{key:?}");
    }
    // The confusion matrices hold every scored row.
    for evaluation in result.subsets.values().filter_map(|subset| subset.evaluation.as_ref()) {
        let held: u64 = evaluation.confusion.iter().flatten().sum();
        assert_eq!(held + evaluation.unknown_rows, evaluation.rows);
        let right: u64 = (0..evaluation.confusion.len()).map(|class| evaluation.confusion[class][class]).sum();
        assert!((right as f64 / evaluation.rows as f64 - evaluation.accuracy).abs() < 1e-12);
    }
}

#[test]
fn a_run_whose_worker_was_killed() {
    let journal = sample("worker-lost.jsonl");
    let state = RunState::of(&journal.events);
    let result = RunResult::from_state(&state);
    assert_eq!(result.outcome, Some(Outcome::Failed));
    assert!(result.error.as_ref().unwrap().contains("worker 1 was killed by SIGKILL"), "{:?}", result.error);
    let lost: Vec<u32> = result.workers.iter().filter(|(_, worker)| worker.lost.is_some()).map(|(&w, _)| w).collect();
    assert_eq!(lost, [1]);
    assert_eq!(state.current_phase(), Some(Phase::Train));
    let jobs = stages::jobs(&state);
    let failed: Vec<_> =
        jobs.iter().flat_map(|job| &job.stages).flat_map(|s| &s.tasks).filter(|t| t.failure.is_some()).collect();
    assert!(failed.iter().all(|task| task.worker == Some(1)) && failed.len() == 1, "{failed:?}");
}

#[test]
fn the_samples_name_no_machine_s_folders() {
    let kinds: BTreeSet<&str> = ["lidar-2-workers.jsonl", "worker-lost.jsonl"]
        .iter()
        .flat_map(|name| sample(name).events)
        .map(|event| {
            if let EventKind::WorkerLaunched { log, .. } = &event.kind {
                assert!(!log.starts_with('/'), "{log}");
            }
            event.kind.name()
        })
        .collect();
    assert!(kinds.len() >= 20, "the samples show most kinds: {kinds:?}");
}
