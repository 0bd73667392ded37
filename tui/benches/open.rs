//! Opening a long journal for the first time, keeping its index, opening it again, and seeking. Prints milliseconds and
//! resident memory.
//!
//! `cargo bench --workspace --bench open -- 5000000`: the number of events; 500,000 without it. The journal is written to
//! the temporary folder and removed; 5,000,000 events take about 1 GB.
#![allow(clippy::print_stdout)] // a bench prints

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::time::Instant;

use fractal_logs::{EventKind, JournalWriter, Phase, RunEvent, Source};
use fractal_tui::recording::{Indexed, Recording};
use rustix::time::{ClockId, clock_gettime};
use support::{SMALL, Shape, dice, events};

fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}

/// CPU time of this process, milliseconds.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn main() {
    let wanted: u64 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(500_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    drop(JournalWriter::create(&path).unwrap());
    let mut file = BufWriter::new(std::fs::OpenOptions::new().append(true).open(&path).unwrap());
    for event in events(Shape { workers: 64, partitions: 1000, ..SMALL }).iter().filter(|e| e.elapsed_us < 20_000_000) {
        writeln!(file, "{}", serde_json::to_string(event).unwrap()).unwrap();
    }
    for i in 0..wanted {
        let event = RunEvent {
            elapsed_us: 20_000_000 + i * 8_000,
            source: Source::Worker((i % 64) as u32),
            kind: EventKind::WorkerSampled {
                phase: Phase::Train,
                rows_per_s: 2.4e6 + dice(i, 400_000) as f64,
                bytes_per_s: 0.0,
                rss_bytes: (3 << 30) + dice(i, 1 << 28),
                peak_rss_bytes: 4 << 30,
                cpu_us: i * 14_000,
                exchanged_bytes: i * 1_000,
                throttled: Some(0),
            },
        };
        writeln!(file, "{}", serde_json::to_string(&event).unwrap()).unwrap();
    }
    file.flush().unwrap();
    drop(file);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("journal: {:.0} MB, {} events and a few", bytes as f64 / 1e6, wanted);
    let (before, cpu) = (resident_mib(), cpu_ms());
    let start = Instant::now();
    let index = Indexed::open(&path, None, |_| {}).unwrap();
    println!(
        "first open: {:8.0} ms  ({:.0} ms CPU, {} MiB resident more)",
        ms(start),
        cpu_ms() - cpu,
        resident_mib() - before
    );
    let start = Instant::now();
    index.keep();
    let kept = std::fs::metadata(folder.path().join(".events.jsonl.index")).unwrap().len();
    println!("keep index: {:8.0} ms  ({:.0} MB, after the first frame)", ms(start), kept as f64 / 1e6);
    drop(index);
    let mut again = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let index = Indexed::open(&path, None, |_| panic!("the journal was read again")).unwrap();
        again.push((ms(start), index));
    }
    again.sort_by(|a, b| a.0.total_cmp(&b.0));
    println!("later open: {:8.0} ms median of 5, {:.0} ms longest", again[2].0, again[4].0);
    let (_, index) = again.swap_remove(0);
    drop(again);
    let recording = Recording::on(Arc::new(index));
    let total = recording.latest().elapsed_us;
    let mut times: Vec<(f64, f64)> = (0..40)
        .map(|i| {
            let moment = dice(i, total);
            let (start, cpu) = (Instant::now(), cpu_ms());
            let state = recording.state_after(recording.events_until(moment));
            assert!(state.elapsed_us <= moment);
            (ms(start), cpu_ms() - cpu)
        })
        .collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [middle, longest] = [times[20], times[39]];
    println!(
        "seek:       {:8.1} ms median, {:.1} ms longest of 40  ({:.1} and {:.1} ms CPU)",
        middle.0, longest.0, middle.1, longest.1
    );
    println!("resident:   {:8} MiB", resident_mib());
}
