//! Journals on disk: written, read back, torn, of the future, growing.

mod recording;

use std::fs;
use std::io::Write;
use std::time::Duration;

use fractal_logs::{Error, EventKind, EventSink, JournalWriter, RunEvent, RunState, Source, journal};
use proptest::prelude::*;
use recording::{any_event, recorded_run};

fn write(events: &[RunEvent]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let writer = JournalWriter::create(&path).unwrap();
    for event in events {
        writer.record(event);
    }
    drop(writer);
    (folder, path)
}

#[test]
fn a_journal_reads_back_as_written() {
    let events = recorded_run();
    let (_folder, path) = write(&events);
    let journal = journal::read(&path).unwrap();
    assert_eq!(journal.events, events);
    assert!(!journal.torn && journal.skipped.is_empty());
    assert_eq!(journal.header.version, journal::JOURNAL_VERSION);
}

proptest! {
    #[test]
    fn any_event_reads_back(event in any_event()) {
        let line = serde_json::to_string(&event).unwrap();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<RunEvent>(&line).unwrap(), event);
    }
}

#[test]
fn a_torn_last_line_is_dropped_and_reported() {
    let events = recorded_run();
    let (_folder, path) = write(&events);
    let whole = fs::read(&path).unwrap();
    let last_line = whole[..whole.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
    for cut in [last_line + 1, last_line + 30, whole.len() - 3] {
        fs::write(&path, &whole[..cut]).unwrap();
        let journal = journal::read(&path).unwrap();
        assert!(journal.torn, "cut at {cut}");
        assert_eq!(journal.events, events[..events.len() - 1]);
    }
    // Only the newline is missing: the event is whole.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(journal::read(&path).unwrap().events, events);
}

#[test]
fn every_cut_reads_without_failing() {
    let (_folder, path) = write(&recorded_run()[..12]);
    let whole = fs::read(&path).unwrap();
    let header = whole.iter().position(|&b| b == b'\n').unwrap();
    for cut in header..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        journal::read(&path).unwrap();
    }
}

#[test]
fn later_versions_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    fs::write(&path, "{\"format\":\"fractal-journal\",\"version\":9,\"names\":[]}\n{\"t\":[]}\n").unwrap();
    let error = journal::read(&path).unwrap_err();
    assert!(matches!(error, Error::FutureVersion { found: 9, .. }), "{error}");
    assert!(error.to_string().contains("newer fractal"), "{error}");

    // Same major, later minor: what is not known is passed over and counted, the rest is read.
    let text = concat!(
        "{\"format\":\"fractal-journal\",\"version\":1,\"minor\":7,\"written_by\":\"fractal 9\"}\n",
        "{\"t\":1,\"src\":\"runner\",\"event\":\"PhaseStarted\",\"phase\":\"load\",\"mood\":\"calm\"}\n",
        "{\"t\":2,\"src\":\"w0\",\"event\":\"TeaBrewed\",\"cups\":2}\n",
        "{\"t\":3,\"src\":\"w0\",\"event\":\"TeaBrewed\",\"cups\":1}\n",
        "{\"t\":4,\"src\":\"w0\",\"event\":\"PhaseStarted\",\"phase\":\"siesta\"}\n",
        "nonsense\n",
        "{\"t\":5,\"src\":\"w0\",\"event\":\"MeshConnected\",\"workers\":2}\n",
    );
    fs::write(&path, text).unwrap();
    let journal = journal::read(&path).unwrap();
    assert_eq!(journal.events.len(), 2);
    assert_eq!(journal.skipped.unknown_kinds["TeaBrewed"], 2);
    assert_eq!(journal.skipped.damaged_lines, 2);
    assert_eq!(journal.skipped.damages[0].0, 5);
    assert_eq!(journal.skipped.lines(), 4);
    assert!(!journal.torn);
}

#[test]
fn strangers_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    for text in ["", "\n", "{}\n", "PAR1\n", "{\"format\":\"other\",\"version\":1}\n"] {
        fs::write(&path, text).unwrap();
        let error = journal::read(&path).unwrap_err();
        assert!(matches!(error, Error::NotAJournal { .. }), "{text:?}: {error}");
    }
    assert!(matches!(journal::read(&folder.path().join("none")).unwrap_err(), Error::Io { .. }));
}

#[test]
fn a_journal_is_never_overwritten() {
    let (_folder, path) = write(&recorded_run());
    let before = fs::read(&path).unwrap();
    assert!(JournalWriter::create(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn events_reach_the_file_without_further_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let writer = JournalWriter::create(&path).unwrap();
    let mut follower = journal::follow(&path);
    let kind = EventKind::FileWritten { what: "model".into(), path: "m".into(), bytes: 1 };
    let event = RunEvent { elapsed_us: 1, source: Source::Runner, kind };
    for _ in 0..3 {
        writer.record(&event);
        assert_eq!(follower.wait(Duration::from_secs(20)).unwrap(), std::slice::from_ref(&event));
    }
    assert!(!follower.finished());
}

#[test]
fn a_growing_journal_is_followed_through_half_lines() {
    let events = recorded_run();
    let (folder, path) = write(&events);
    let whole = fs::read(&path).unwrap();
    let growing = folder.path().join("growing.jsonl");
    let mut follower = journal::follow(&growing);
    assert!(follower.poll().unwrap().is_empty(), "it does not exist yet");
    let mut file = fs::File::create(&growing).unwrap();
    let mut seen = Vec::new();
    for piece in whole.chunks(97) {
        file.write_all(piece).unwrap();
        seen.extend(follower.poll().unwrap());
    }
    assert_eq!(seen, events);
    assert!(follower.finished() && !follower.torn() && follower.skipped().is_empty());
    assert!(follower.poll().unwrap().is_empty());

    file.set_len(10).unwrap();
    assert!(matches!(follower.poll(), Err(Error::Replaced { .. })));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_stops_the_journal_and_not_the_run() {
    // /dev/full answers every write with "no space left"; the link makes it look like a fresh file's later life.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let writer = JournalWriter::on(full, &path).unwrap();
    for event in recorded_run() {
        writer.record(&event);
    }
    let error = writer.error().expect("the first event was written at once");
    assert!(error.to_lowercase().contains("space"), "{error}");
    assert_eq!(writer.dropped(), recorded_run().len() as u64);
    assert!(writer.sync().is_err());
}

#[test]
fn the_fold_of_the_file_is_the_fold_of_the_events() {
    let events = recorded_run();
    let (_folder, path) = write(&events);
    assert_eq!(RunState::of(&journal::read(&path).unwrap().events), RunState::of(&events));
}

/// Measures, asserts no time: `cargo test --release -p fractal-logs --test journal -- --ignored --nocapture replay`
#[test]
#[ignore = "a measurement"]
fn a_million_events_replay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let writer = JournalWriter::create(&path).unwrap();
    let run = recorded_run();
    // What long journals consist of: samples, partitions, passes.
    let repeated: Vec<&RunEvent> = run
        .iter()
        .filter(|event| matches!(event.kind.name(), "WorkerSampled" | "PartitionLoaded" | "LevelCounted"))
        .collect();
    let started = std::time::Instant::now();
    for number in 0..1_000_000u64 {
        let mut event = repeated[number as usize % repeated.len()].clone();
        event.elapsed_us = number * 100;
        match &mut event.kind {
            EventKind::PartitionLoaded { partition, .. } => *partition = number as u32,
            EventKind::LevelCounted { batch, .. } => *batch = number as u32 / 64,
            _ => {}
        }
        writer.record(&event);
    }
    drop(writer);
    let written = started.elapsed();
    let started = std::time::Instant::now();
    let mut state = RunState::default();
    let mut events = 0u64;
    journal::read_each(&path, |event| {
        state.apply(&event);
        events += 1;
    })
    .unwrap();
    let bytes = fs::metadata(&path).unwrap().len() >> 20;
    eprintln!("{events} events, {bytes} MiB: written in {written:.2?}, read and folded in {:.2?}", started.elapsed());
    assert_eq!(events, 1_000_000);
}
