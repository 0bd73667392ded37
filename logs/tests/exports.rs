//! Exports, read back by rules of their readers.

mod recording;

use std::collections::BTreeMap;

use fractal_logs::export::{self, Cell, Table};
use fractal_logs::{RunResult, RunState};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use proptest::prelude::*;
use recording::{any_event, lost_run, recorded_run};
use serde_json::Value;

/// Panics unless the complete slices of each track nest: sorted by start (longer first), each lies inside the last one
/// still open. That is the rule by which Perfetto draws them.
fn check_nesting(trace: &[u8]) -> usize {
    let trace: Value = serde_json::from_slice(trace).unwrap();
    let mut tracks: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap() {
        if event["ph"] == "X" {
            let start = event["ts"].as_u64().unwrap();
            let end = start + event["dur"].as_u64().unwrap();
            tracks
                .entry((event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap()))
                .or_default()
                .push((start, end));
        }
    }
    let mut slices = 0;
    for (track, mut spans) in tracks {
        spans.sort_by_key(|&(start, end)| (start, std::cmp::Reverse(end)));
        slices += spans.len();
        let mut open: Vec<(u64, u64)> = Vec::new();
        for span in spans {
            open.retain(|&(_, end)| end > span.0 || (end == span.0 && end == span.1));
            if let Some(outer) = open.last() {
                assert!(span.1 <= outer.1, "track {track:?}: {span:?} leaves {outer:?}");
            }
            open.push(span);
        }
    }
    slices
}

#[test]
fn perfetto_shows_workers_threads_phases_and_counters() {
    let trace = export::perfetto(&RunState::of(&recorded_run()));
    // 7 phases and 2 passes of the run; per thread: fit_bins; 7 partitions; 8 passes of 3 slices each.
    assert_eq!(check_nesting(&trace.content), 7 + 2 + 4 + 7 + 8 * 3);
    let trace: Value = serde_json::from_slice(&trace.content).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let names = |kind: &str| -> Vec<&str> {
        events
            .iter()
            .filter(|event| event["name"] == kind)
            .map(|event| event["args"]["name"].as_str().unwrap())
            .collect()
    };
    assert_eq!(names("process_name"), ["runner", "worker 0 on n01", "worker 1 on n02"]);
    assert_eq!(names("thread_name"), ["phases", "passes", "thread 0", "thread 1", "thread 0", "thread 1"]);
    let tids: Vec<_> =
        events.iter().filter(|event| event["name"] == "thread_name").map(|event| &event["tid"]).collect();
    assert!(tids.iter().enumerate().all(|(i, tid)| !tids[..i].contains(tid)), "track ids are unique over processes");
    let rss = events.iter().filter(|event| event["ph"] == "C" && event["name"] == "RSS").count();
    assert_eq!(rss, 3, "one for each sample");
}

proptest! {
    #[test]
    fn perfetto_slices_nest_whatever_the_clocks_did(
        events in proptest::collection::vec(any_event(), 0..60),
        shifts in proptest::collection::vec(0..60_000u64, 60),
    ) {
        check_nesting(&export::perfetto(&RunState::of(&events)).content);
        let mut skewed = recorded_run();
        for (event, shift) in skewed.iter_mut().rev().zip(shifts) {
            event.elapsed_us = event.elapsed_us.saturating_sub(shift);
        }
        check_nesting(&export::perfetto(&RunState::of(&skewed)).content);
    }
}

#[test]
fn a_table_of_runs_has_a_row_for_each() {
    let done = RunResult::from_state(&RunState::of(&recorded_run()));
    let failed = RunResult::from_state(&RunState::of(&lost_run()));
    let table = Table::runs([&done, &failed]);
    assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    let cell = |row: usize, name: &str| &table.rows[row][table.columns.iter().position(|c| c == name).unwrap()];
    assert_eq!(cell(0, "outcome"), &Cell::Text("done".into()));
    assert_eq!(cell(1, "outcome"), &Cell::Text("failed".into()));
    assert_eq!(cell(1, "val_accuracy"), &Cell::Empty);
    assert_eq!(cell(0, "load_sec"), &Cell::Real(0.05));
    assert_eq!(cell(0, "granted_cpus_min"), &Cell::Real(2.0));
    assert_eq!(cell(0, "peak_rss_bytes_max"), &Cell::Whole(120 << 20));
    insta::assert_snapshot!("stages_table", export::markdown(&Table::stages(&RunState::of(&recorded_run()))));
}

#[test]
fn the_hlog_reads_back() {
    let state = RunState::of(&recorded_run());
    let log = export::hlog(&state).unwrap();
    let text = String::from_utf8(log.content).unwrap();
    let entries: Vec<LogEntry<'_>> = IntervalLogIterator::new(text.as_bytes()).collect::<Result<_, _>>().unwrap();
    let intervals: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        })
        .collect();
    assert_eq!(intervals.len(), 1);
    assert_eq!(intervals[0].tag().unwrap().as_str(), "level_count-w1");
    assert_eq!(intervals[0].duration().as_millis(), 157);
    assert!((intervals[0].max() - 9.3).abs() < 0.01, "milliseconds: {}", intervals[0].max());
}

#[test]
fn the_spark_log_is_written_as_the_server_demands() {
    let done = export::spark(&RunState::of(&recorded_run())).unwrap();
    assert!(!done.name.contains(['.', ':']), "{}", done.name);
    let open = export::spark(&RunState::of(&recorded_run()[..40])).unwrap();
    assert_eq!(open.name, format!("{}.inprogress", done.name));
    let text = String::from_utf8(done.content).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place = |event: &str, id: &str, value: u64| {
        events
            .iter()
            .position(|line| line["Event"] == event && (line[id] == value || line["Stage Info"][id] == value))
            .unwrap_or_else(|| panic!("{event} {id} {value}"))
    };
    for stage in 0..9 {
        let submitted = place("SparkListenerStageSubmitted", "Stage ID", stage);
        let completed = place("SparkListenerStageCompleted", "Stage ID", stage);
        let own = |event: &str| -> Vec<usize> {
            (0..events.len()).filter(|&i| events[i]["Event"] == event && events[i]["Stage ID"] == stage).collect()
        };
        let (starts, ends) = (own("SparkListenerTaskStart"), own("SparkListenerTaskEnd"));
        assert_eq!(starts.len(), ends.len());
        assert!(starts.iter().all(|&start| submitted < start), "stage {stage}");
        assert!(ends.iter().all(|&end| end < completed), "stage {stage}");
    }
    for job in 0..7 {
        let start = place("SparkListenerJobStart", "Job ID", job);
        let end = place("SparkListenerJobEnd", "Job ID", job);
        for stage in events[start]["Stage IDs"].as_array().unwrap() {
            let stage = stage.as_u64().unwrap();
            assert!(start < place("SparkListenerStageSubmitted", "Stage ID", stage));
            assert!(place("SparkListenerStageCompleted", "Stage ID", stage) < end);
        }
    }
    assert_eq!(events.last().unwrap()["Event"], "SparkListenerApplicationEnd");
}
