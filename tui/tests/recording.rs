//! A long journal left on disk answers as one in memory does.

mod support;

use std::io::Write;
use std::ops::ControlFlow;

use fractal_logs::{EventKind, Journal, JournalWriter, RunEvent, RunState, Source};
use fractal_tui::recording::{Indexed, Recording, is_noise};
use support::*;

fn journal(events: &[RunEvent]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let writer = JournalWriter::create(&path).unwrap();
    for event in events {
        fractal_logs::EventSink::record(&writer, event);
    }
    drop(writer);
    (folder, path)
}

fn answers_alike(memory: &Recording, disk: &Recording) {
    assert_eq!(memory.len(), disk.len());
    assert_eq!(memory.latest(), disk.latest());
    let total = memory.latest().elapsed_us;
    for moment in (0..=20).map(|i| total * i / 20).chain([u64::MAX]) {
        let until = memory.events_until(moment);
        assert_eq!(until, disk.events_until(moment), "events until {moment}");
        assert_eq!(memory.state_after(until), disk.state_after(until), "state at {moment}");
    }
    for index in (0..memory.len()).step_by(97).chain([memory.len() - 1, memory.len()]) {
        assert_eq!(memory.reached_us(index), disk.reached_us(index), "event {index}");
        assert_eq!(memory.event(index), disk.event(index), "event {index}");
    }
    for range in [0..3, 250..300, 500..513, 0..memory.len()] {
        let walk = |recording: &Recording, back: bool| {
            let mut seen = Vec::new();
            let see = |index: usize, event: &RunEvent| {
                seen.push((index, event.clone()));
                if seen.len() < 400 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            if back {
                recording.each_back(range.clone(), see)
            } else {
                recording.each(range.clone(), see)
            }
            seen
        };
        assert_eq!(walk(memory, false), walk(disk, false), "{range:?}");
        assert_eq!(walk(memory, true), walk(disk, true), "{range:?} backwards");
        let steps = |recording: &Recording| {
            let mut seen = Vec::new();
            recording.each_step_back(range.clone(), |index, event| {
                seen.push((index, event.clone()));
                ControlFlow::Continue(())
            });
            seen
        };
        let mut all = Vec::new();
        memory.each_back(range.clone(), |index, event| {
            if !is_noise(event) {
                all.push((index, event.clone()));
            }
            ControlFlow::Continue(())
        });
        assert_eq!(steps(memory), all, "steps of {range:?}");
        assert_eq!(steps(disk), all, "steps of {range:?} on disk");
    }
}

/// A journal of many events, with clocks that step back and lines that are none.
#[test]
fn on_disk_as_in_memory() {
    let mut all = events(Shape { workers: 16, cores: 2, partitions: 200, levels: 8, samples: 400 });
    for (place, event) in all.iter_mut().enumerate() {
        if place % 11 == 0 {
            event.elapsed_us = event.elapsed_us.saturating_sub(40_000);
        }
    }
    let (_folder, path) = journal(&all);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(
        b"{\"t\":1,\"src\":\"w0\",\"event\":\"TreePruned\",\"tree\":3}\nnonsense\n{\"t\":99,\"src\":\"w0\",\"ev",
    )
    .unwrap();
    let Journal { events, skipped, .. } = fractal_logs::journal::read(&path).unwrap();
    assert_eq!(events, all);
    let index = Indexed::build(&path, |_| {}).unwrap();
    assert_eq!((index.skipped.damaged_lines, &index.skipped.unknown_kinds), (1, &skipped.unknown_kinds));
    answers_alike(&Recording::of(all), &Recording::on(std::sync::Arc::new(index)));
}

#[test]
fn what_is_added_later_comes_behind_the_index() {
    let all = events(SMALL);
    let half = all.len() / 2;
    let (_folder, path) = journal(&all[..half]);
    let index = std::sync::Arc::new(Indexed::build(&path, |_| {}).unwrap());
    assert!(!index.finished);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    for event in &all[half..] {
        writeln!(file, "{}", serde_json::to_string(event).unwrap()).unwrap();
    }
    let mut disk = Recording::on(index.clone());
    let (added, end, _) = index.after(index.end()).unwrap();
    assert_eq!(added, all[half..]);
    assert!(index.after(end).unwrap().0.is_empty());
    disk.extend(added);
    assert!(disk.finished);
    answers_alike(&Recording::of(all), &disk);
}

/// The quick reading of frequent lines agrees with the general one, or steps back.
#[test]
fn quick_lines_are_read_as_serde_reads_them() {
    let frequent = |rows_per_s: f64, throttled| RunEvent {
        elapsed_us: 7,
        source: Source::Thread { worker: 3, thread: 1 },
        kind: EventKind::WorkerSampled {
            phase: fractal_logs::Phase::FitBins,
            rows_per_s,
            bytes_per_s: 0.1 + 0.2,
            rss_bytes: u64::MAX,
            peak_rss_bytes: 0,
            cpu_us: 1 << 60,
            exchanged_bytes: 10_000_000_000_000_000_000,
            throttled,
        },
    };
    let rates = [0.0, -0.0, 1e300, 5e-324, 390_278.0, 0.1, 1.0 / 3.0, 123_456_789.123_456_79];
    let mut all: Vec<RunEvent> = rates.into_iter().map(|rate| frequent(rate, Some(3))).collect();
    // All lengths of whole numbers and fractions.
    all.extend(
        (0..2_000).map(|i| frequent(dice(i, 10u64.pow(i as u32 % 16)) as f64 / 10f64.powi(i as i32 / 16 % 18), None)),
    );
    all.push(frequent(1.0, None));
    all.extend(events(SMALL));
    let (_folder, path) = journal(&all);
    let index = std::sync::Arc::new(Indexed::build(&path, |_| {}).unwrap());
    let disk = Recording::on(index);
    for (place, event) in all.iter().enumerate() {
        assert_eq!(disk.event(place).as_ref(), Some(event));
    }
    assert_eq!(*disk.latest(), RunState::of(&all));
}

#[test]
fn lines_that_are_only_nearly_events_are_refused_as_serde_refuses_them() {
    let nearly = [
        r#"{"t":01,"src":"w0","event":"LevelCounted","batch":0,"level":0,"group":0,"rows":1,"busy_us":1,"cpu_us":1,"waiting_us":1,"sent_bytes":1}"#,
        r#"{"t":1,"src":"w0","event":"LevelCounted","batch":0,"level":0,"group":0,"rows":1.5,"busy_us":1,"cpu_us":1,"waiting_us":1,"sent_bytes":1}"#,
        r#"{"t":1,"src":"w0","event":"LevelCounted","batch":4294967296,"level":0,"group":0,"rows":1,"busy_us":1,"cpu_us":1,"waiting_us":1,"sent_bytes":1}"#,
        r#"{"t":1,"src":"x0","event":"LevelCounted","batch":0,"level":0,"group":0,"rows":1,"busy_us":1,"cpu_us":1,"waiting_us":1,"sent_bytes":1}"#,
        r#"{"t":1,"src":"w0","event":"LevelCounted","batch":0,"level":0,"group":0,"rows":1,"busy_us":1,"cpu_us":1,"waiting_us":1,"sent_bytes":1} trailing"#,
        r#"{"t":1,"src":"w0","event":"WorkerSampled","phase":"load","rows_per_s":inf,"bytes_per_s":0.0,"rss_bytes":1,"peak_rss_bytes":1,"cpu_us":1,"exchanged_bytes":1,"throttled":null}"#,
        r#"{"t":1,"src":"w0","event":"WorkerSampled","phase":"lunch","rows_per_s":1.0,"bytes_per_s":0.0,"rss_bytes":1,"peak_rss_bytes":1,"cpu_us":1,"exchanged_bytes":1,"throttled":null}"#,
    ];
    for line in nearly {
        assert!(serde_json::from_str::<RunEvent>(line).is_err(), "{line}");
        let (_folder, path) = journal(&[]);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        writeln!(file, "{line}").unwrap();
        let index = Indexed::build(&path, |_| {}).unwrap();
        assert_eq!((index.len(), index.skipped.damaged_lines), (0, 1), "{line}");
    }
}

#[test]
fn what_is_no_journal_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for (text, said) in [
        ("", "no first line"),
        ("hello\n", "no header"),
        ("{\"format\":\"other\",\"version\":1}\n", "another format"),
        ("{\"format\":\"fractal-journal\",\"version\":99,\"minor\":0,\"written_by\":\"x\"}\n", "99"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Indexed::build(&path, |_| {}).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// Opens a journal through a kept index; whether all of it was read.
fn open(path: &std::path::Path, folder: Option<&std::path::Path>) -> (Recording, bool) {
    let mut read = false;
    let index = Indexed::open(path, folder, |_| read = true).unwrap();
    index.keep();
    (Recording::on(std::sync::Arc::new(index)), read)
}

fn long() -> Vec<RunEvent> {
    events(Shape { workers: 8, cores: 2, partitions: 4_000, levels: 6, samples: 3_000 })
}

#[test]
fn a_kept_index_answers_as_a_new_one() {
    let all = long();
    let (folder, path) = journal(&all);
    let memory = Recording::of(all);
    let (first, read) = open(&path, None);
    assert!(read);
    answers_alike(&memory, &first);
    let kept = folder.path().join(".events.jsonl.index");
    assert!(kept.exists() && !folder.path().join(".events.jsonl.index.new").exists());
    let (second, read) = open(&path, None);
    assert!(!read, "the journal was read again");
    answers_alike(&memory, &second);
    // What is open goes on, whatever becomes of the file.
    std::fs::remove_file(&kept).unwrap();
    answers_alike(&memory, &second);
    assert!(open(&path, None).1);
}

#[test]
fn a_kept_index_grows_with_its_journal() {
    let all = long();
    let most = all.len() * 9 / 10;
    let (_folder, path) = journal(&all[..most]);
    open(&path, None);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    for event in &all[most..] {
        writeln!(file, "{}", serde_json::to_string(event).unwrap()).unwrap();
    }
    let (grown, read) = open(&path, None);
    assert!(read);
    answers_alike(&Recording::of(all), &grown);
}

#[test]
fn an_index_of_which_anything_is_off_is_not_used() {
    let all = long();
    let (folder, path) = journal(&all);
    let memory = Recording::of(all);
    open(&path, None);
    let kept = folder.path().join(".events.jsonl.index");
    let good = std::fs::read(&kept).unwrap();
    let mut spoilt: Vec<(String, Vec<u8>)> =
        [0, 10, 100, good.len() - 20].map(|length| (format!("cut at {length}"), good[..length].to_vec())).into();
    for place in [3, good.len() - 3, good.len() - 20, good.len() - 30, good.len() - 5_000] {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        spoilt.push((format!("byte {place} flipped"), bytes));
    }
    for (what, bytes) in spoilt {
        std::fs::write(&kept, bytes).unwrap();
        let (recording, read) = open(&path, None);
        assert!(read, "{what}");
        assert_eq!(recording.latest(), memory.latest(), "{what}");
        assert_eq!(std::fs::read(&kept).unwrap(), good, "{what}: it is made anew");
    }
    // A keyframe that was harmed is passed over; the others, and the rest, still serve.
    let mut bytes = good.clone();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x10;
    std::fs::write(&kept, bytes).unwrap();
    let (recording, read) = open(&path, None);
    assert!(!read);
    answers_alike(&memory, &recording);
    // Another journal under the same name, as long as this one.
    std::fs::write(&kept, &good).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("run_id\":\"", "run_id\":\"X").replacen("fractal-run", "ractal-run", 1))
        .unwrap();
    assert!(open(&path, None).1);
}

#[test]
fn where_the_journal_s_folder_takes_nothing_the_cache_does() {
    let all = long();
    let (folder, path) = journal(&all);
    let memory = Recording::of(all);
    // Nothing can be written under this name.
    std::fs::create_dir(folder.path().join(".events.jsonl.index.new")).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let elsewhere = cache.path().join("fractal");
    assert!(open(&path, Some(&elsewhere)).1);
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
    let (kept, read) = open(&path, Some(&elsewhere));
    assert!(!read);
    answers_alike(&memory, &kept);
    // And where nothing takes it, it stays in memory.
    let (recording, read) = open(&path, None);
    assert!(read);
    answers_alike(&memory, &recording);
}
