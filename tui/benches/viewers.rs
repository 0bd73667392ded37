//! What viewers cost a run: the same run headless, with one and with three `fractal-tui` attached, in turn. Prints medians
//! and ranges of the run's wall and CPU time, their ratios to headless, and the CPU that viewers take.
//!
//! `cargo bench --workspace --bench viewers -- 7`: the number of rounds; 5 without it. A viewer draws into a terminal of
//! 200×60 that is read and thrown away.
#![allow(clippy::print_stdout)] // a bench prints

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fractal_logs::store::Store;
use fractal_logs::{RunState, journal};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Viewers attached to a run.
const CROWDS: [usize; 3] = [0, 1, 3];
/// How long idle viewers are watched.
const IDLE: Duration = Duration::from_secs(10);

struct Viewer {
    child: Box<dyn Child + Send + Sync>,
    _terminal: Box<dyn MasterPty + Send>,
}

impl Viewer {
    fn attach(store: &Path, what: &str) -> Viewer {
        let size = PtySize { rows: 60, cols: 200, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_fractal-tui"));
        command.args([what, "--store"]);
        command.arg(store);
        command.env("TERM", "xterm-256color");
        command.env("XDG_CONFIG_HOME", store);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 1 << 16];
            while reader.read(&mut bytes).is_ok_and(|length| length > 0) {}
        });
        Viewer { child, _terminal: pair.master }
    }

    /// CPU time so far, seconds.
    fn cpu_s(&self) -> f64 {
        let pid = self.child.process_id().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Fields 14 and 15, counted behind the name, which may hold blanks.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run cost.
struct Cost {
    wall_s: f64,
    cpu_s: f64,
    viewers_cpu_s: f64,
}

fn run(runner: &Path, data: &Path, viewers: usize) -> Cost {
    let store = tempfile::tempdir().unwrap();
    let mut child = Command::new(runner)
        .args(["--workers", "1", "--cores", "2", "--trees", "60", "--depth", "10", "--data"])
        .arg(data)
        .arg("--store")
        .arg(store.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let attached: Vec<Viewer> = match viewers {
        0 => Vec::new(),
        viewers => {
            // There is something to attach to as soon as the run has its folder.
            while Store::new(store.path()).find("latest").is_err() {
                assert!(child.try_wait().unwrap().is_none(), "the run ended before it began");
                sleep(Duration::from_millis(5));
            }
            (0..viewers).map(|_| Viewer::attach(store.path(), "latest")).collect()
        }
    };
    assert!(child.wait().unwrap().success());
    let viewers_cpu_s = attached.iter().map(Viewer::cpu_s).sum();
    drop(attached);
    let journal = journal::read(&Store::new(store.path()).find("latest").unwrap().dir.journal()).unwrap();
    let state = RunState::of(&journal.events);
    let cpu_us: u64 = state.workers.values().map(|worker| worker.cpu_us).sum();
    Cost { wall_s: state.total_us() as f64 * 1e-6, cpu_s: cpu_us as f64 * 1e-6, viewers_cpu_s }
}

/// (median, least, most)
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn main() {
    let rounds: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let runner = PathBuf::from(env!("CARGO_BIN_EXE_fractal-tui")).with_file_name("fractal-run");
    if !runner.is_file() {
        println!("{} is not there: cargo build --release --workspace --bins makes it", runner.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let generate = Command::new(&runner)
        .args(["generate", "--train-files", "8", "--val-files", "1", "--test-files", "1", "--rows-per-file", "74000"])
        .arg("--out")
        .arg(&data)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(generate.success());
    run(&runner, &data, 0);
    let mut costs: [Vec<Cost>; 3] = Default::default();
    for round in 0..rounds {
        // Each comes first, second and third equally often.
        for turn in 0..CROWDS.len() {
            let place = (turn + round) % CROWDS.len();
            costs[place].push(run(&runner, &data, CROWDS[place]));
        }
    }
    println!("592,000 rows, 60 trees of depth 10, 1 worker with 2 threads; {rounds} rounds; median (least to most)");
    let headless =
        [spread(costs[0].iter().map(|cost| cost.wall_s)).0, spread(costs[0].iter().map(|cost| cost.cpu_s)).0];
    for (viewers, costs) in CROWDS.iter().zip(&costs) {
        let wall = spread(costs.iter().map(|cost| cost.wall_s));
        let cpu = spread(costs.iter().map(|cost| cost.cpu_s));
        let theirs = spread(costs.iter().map(|cost| cost.viewers_cpu_s));
        println!(
            "{viewers} viewers: wall {:.2} s ({:.2} to {:.2}), {:+.1} %; CPU of the run {:.2} s ({:.2} to {:.2}), {:+.1} %; \
             CPU of the viewers {:.2} s, {:.1} % of a core each",
            wall.0,
            wall.1,
            wall.2,
            (wall.0 / headless[0] - 1.0) * 100.0,
            cpu.0,
            cpu.1,
            cpu.2,
            (cpu.0 / headless[1] - 1.0) * 100.0,
            theirs.0,
            100.0 * theirs.0 / wall.0 / (*viewers).max(1) as f64
        );
    }
    idle(&runner, &data);
}

/// A viewer of a run that is over has nothing to do.
fn idle(runner: &Path, data: &Path) {
    let store = tempfile::tempdir().unwrap();
    let status = Command::new(runner)
        .args(["--trees", "5", "--depth", "3", "--data"])
        .arg(data)
        .arg("--store")
        .arg(store.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let viewer = Viewer::attach(store.path(), "latest");
    sleep(Duration::from_secs(2));
    let (before, start) = (viewer.cpu_s(), Instant::now());
    sleep(IDLE);
    let share = (viewer.cpu_s() - before) / start.elapsed().as_secs_f64();
    println!("idle, a finished run on the screen: {:.2} % of a core over {} s", share * 100.0, IDLE.as_secs());
}
