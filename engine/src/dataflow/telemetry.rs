//! A worker's pulse: what its threads count as they go, sampled by one thread of its own a few times a second, so that
//! watching does not bend the measurement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fractal_logs::{Emitter, EventKind, Phase};
use rustix::time::{ClockId, clock_gettime};

/// Counters that the threads of a worker raise.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    rows: AtomicU64,
    read_bytes: AtomicU64,
    exchanged_bytes: AtomicU64,
    phase: AtomicU8,
}

impl Counters {
    pub(crate) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn add_read_bytes(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_exchanged_bytes(&self, bytes: u64) {
        self.exchanged_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        Phase::ALL[self.phase.load(Ordering::Relaxed) as usize % Phase::ALL.len()]
    }
}

/// The sampling thread; dropping it takes a last sample and ends it.
#[derive(Debug)]
pub(crate) struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// Samples `counters` every `interval` and emits [`EventKind::WorkerSampled`].
    pub(crate) fn start(counters: Arc<Counters>, emitter: Emitter, interval: Duration) -> std::io::Result<Pulse> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("fractal:pulse".into()).spawn(move || {
            let mut last = (Instant::now(), 0, 0);
            loop {
                std::thread::park_timeout(interval);
                let ended = stopped.load(Ordering::Acquire);
                let now = Instant::now();
                let seconds = (now - last.0).as_secs_f64();
                // A spurious wake-up would give a rate over almost nothing.
                if !ended && seconds < interval.as_secs_f64() / 2.0 {
                    continue;
                }
                let rows = counters.rows.load(Ordering::Relaxed);
                let bytes = counters.read_bytes.load(Ordering::Relaxed);
                let (rss_bytes, peak_rss_bytes) = resident_bytes();
                emitter.emit(EventKind::WorkerSampled {
                    phase: counters.phase(),
                    rows_per_s: ((rows - last.1) as f64 / seconds.max(1e-6)).round(),
                    bytes_per_s: ((bytes - last.2) as f64 / seconds.max(1e-6)).round(),
                    rss_bytes,
                    peak_rss_bytes,
                    cpu_us: process_cpu_us(),
                    exchanged_bytes: counters.exchanged_bytes.load(Ordering::Relaxed),
                    throttled: None,
                });
                last = (now, rows, bytes);
                if ended {
                    return;
                }
            }
        })?;
        Ok(Pulse { stop, thread: Some(thread) })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A sampler that panicked has nothing to tell; the run goes on.
            let _ = thread.join();
        }
    }
}

/// CPU time of the calling thread, µs.
pub(crate) fn thread_cpu_us() -> u64 {
    microseconds(ClockId::ThreadCPUTime)
}

/// CPU time of the process, user and system, µs.
pub(crate) fn process_cpu_us() -> u64 {
    microseconds(ClockId::ProcessCPUTime)
}

fn microseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Resident bytes of this process, now and at most; zeros where the kernel does not tell.
pub(crate) fn resident_bytes() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0)
    };
    (kib("VmRSS:") * 1024, kib("VmHWM:") * 1024)
}

/// Wall and CPU time of a stretch of one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    wall: Instant,
    thread_cpu_us: u64,
    process_cpu_us: u64,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Stopwatch { wall: Instant::now(), thread_cpu_us: thread_cpu_us(), process_cpu_us: process_cpu_us() }
    }

    pub(crate) fn wall_us(&self) -> u64 {
        self.wall.elapsed().as_micros() as u64
    }

    /// CPU time of this thread since the start.
    pub(crate) fn cpu_us(&self) -> u64 {
        thread_cpu_us() - self.thread_cpu_us
    }

    /// CPU time of the whole process since the start.
    pub(crate) fn process_cpu_us(&self) -> u64 {
        process_cpu_us() - self.process_cpu_us
    }
}
