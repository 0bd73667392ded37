//! Whole flows in a real terminal: the binary in a pty, its screen read by an emulator.

#![allow(clippy::print_stdout, reason = "says what it skipped")]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Longest time to wait for something on the screen; a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program in a terminal.
struct Screen {
    master: Box<dyn MasterPty + Send>,
    writer: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    raw: Vec<u8>,
}

fn cells(count: u16) -> std::num::NonZeroU16 {
    std::num::NonZeroU16::new(count).unwrap()
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../logs/samples")
}

impl Screen {
    fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Screen {
        Screen::start_other(Path::new(env!("CARGO_BIN_EXE_fractal-tui")), folder, arguments, variables)
    }

    /// The viewer from another place.
    fn start_other(viewer: &Path, folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Screen {
        let size = PtySize { rows: 40, cols: 120, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(viewer);
        command.args(arguments);
        command.cwd(folder);
        command.env("XDG_CONFIG_HOME", folder.join("config"));
        command.env("XDG_CACHE_HOME", folder.join("cache"));
        command.env("TERM", "xterm-256color");
        for name in ["NO_COLOR", "FRACTAL_STORE"] {
            command.env_remove(name);
        }
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let writer = pair.master.take_writer().unwrap();
        let (to, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = reader.read(&mut bytes) {
                if length == 0 || to.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let parser = vt100::Parser::new(cells(40), cells(120), 0);
        Screen { master: pair.master, writer, child, output, parser, raw: Vec::new() }
    }

    fn take(&mut self, bytes: Vec<u8>) {
        self.parser.process(&bytes);
        self.raw.extend(bytes);
    }

    fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// Waits until the screen fits.
    #[track_caller]
    fn until(&mut self, what: &str, fits: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if fits(&self.text()) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.take(bytes),
                Err(_) => panic!("{what} never came; the screen shows\n{}", self.text()),
            }
        }
    }

    #[track_caller]
    fn shows(&mut self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    fn resize(&mut self, cols: u16, rows: u16) {
        self.parser.screen_mut().set_size(cells(rows), cells(cols));
        self.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.process_id().unwrap().to_string();
        let status = std::process::Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the program's end and the last of its output; its exit code.
    fn end(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(bytes) = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.take(bytes);
        }
        self.child.wait().unwrap().exit_code()
    }

    /// The terminal is as it was: main screen, cursor shown, nobody wants the mouse.
    #[track_caller]
    fn is_clean(&self) {
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert!(!screen.bracketed_paste(), "pastes are still bracketed");
    }
}

fn sample() -> String {
    samples().join("lidar-2-workers.jsonl").display().to_string()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_stranger_finds_out_what_the_keys_do_and_quits() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[], &[]);
    screen.shows("Nothing has been run here yet");
    screen.shows("smoke sweep");
    screen.press("?");
    screen.shows("Help");
    screen.press("\x1b");
    screen.until("help gone", |text| !text.contains("Help ·"));
    screen.press("d");
    screen.shows("Phases and levels");
    screen.press("q");
    assert_eq!(screen.end(), 0);
    screen.is_clean();
}

#[test]
fn a_saved_journal_opens_on_a_fresh_clone() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
    screen.shows("DONE");
    screen.shows("Workers");
    // Pane by pane, and back.
    screen.press("\te");
    screen.until("one pane", |text| !text.contains("Phases and levels"));
    screen.press("\x1b");
    screen.shows("Phases and levels");
    for (digit, word) in [("5", "In the journal"), ("6", "Lints"), ("3", "Scaling"), ("2", "Phases and levels")] {
        screen.press(digit);
        screen.shows(word);
    }
    screen.press("q");
    assert_eq!(screen.end(), 0);
    screen.is_clean();
}

#[test]
fn a_replay_plays_pauses_jumps_and_shows_where_it_is() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &["replay", &sample(), "--speed", "2"], &[]);
    screen.shows("REPLAY");
    screen.shows("level 2");
    screen.press(" ");
    screen.shows("PAUSED");
    screen.press("g3s\r");
    screen.shows("0:03.0");
    screen.press("$");
    screen.shows("0:09.1");
    screen.press("q");
    assert_eq!(screen.end(), 0);
    screen.is_clean();
}

#[test]
fn every_size_is_drawn_at_once() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
    screen.shows("Throughput");
    screen.resize(80, 24);
    screen.until("the small layout", |text| !text.contains("Throughput") && text.contains("Workers"));
    screen.resize(40, 10);
    screen.shows("too small");
    screen.resize(200, 60);
    screen.shows("Splits by level");
    screen.press("q");
    assert_eq!(screen.end(), 0);
}

#[test]
fn signals_leave_a_clean_terminal() {
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let folder = folder();
        let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
        screen.shows("Phases and levels");
        screen.signal(signal);
        assert_eq!(screen.end(), code, "{signal}");
        screen.is_clean();
    }
}

#[test]
fn a_terminal_that_vanishes_takes_the_viewer_with_it() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
    screen.shows("Phases");
    let Screen { master, mut writer, mut child, output, .. } = screen;
    drop((master, output));
    // The reading thread holds the last handle; nobody listens to it, so it lets go with the next bytes.
    writer.write_all(b"?").unwrap();
    drop(writer);
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the viewer goes on without a terminal");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn ctrl_c_quits_and_capital_q_keeps_the_last_frame() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
    screen.shows("Phases and levels");
    screen.press("\x03");
    assert_eq!(screen.end(), 0);
    screen.is_clean();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
    screen.shows("Phases and levels");
    screen.press("Q");
    assert_eq!(screen.end(), 0);
    screen.is_clean();
    assert!(screen.text().contains("Phases and levels"), "the frame stays:\n{}", screen.text());
}

#[test]
fn a_stop_and_a_continue_redraw_everything() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
    screen.shows("Phases and levels");
    screen.signal("STOP");
    // What another program wrote meanwhile is overdrawn.
    screen.parser.process(b"\x1b[2J\x1b[HGARBAGE");
    screen.signal("CONT");
    screen.until("a fresh frame", |text| text.contains("Phases and levels") && !text.contains("GARBAGE"));
    screen.press("q");
    assert_eq!(screen.end(), 0);
}

#[test]
fn a_running_journal_is_followed_by_several_viewers_and_none_of_them_touches_it() {
    let folder = folder();
    let text = std::fs::read_to_string(sample()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let journal = folder.path().join("events.jsonl");
    let until_training = lines.iter().position(|line| line.contains("LevelStarted")).unwrap();
    let until_level_3 = lines.iter().position(|line| line.contains(r#""LevelFinished","batch":0,"level":2"#)).unwrap();
    std::fs::write(&journal, lines[..until_training].join("\n") + "\n").unwrap();
    let path = journal.display().to_string();
    let mut viewers: Vec<Screen> = (0..3).map(|_| Screen::start(folder.path(), &[&path], &[])).collect();
    for viewer in &mut viewers {
        viewer.shows("LIVE");
        viewer.until("loading", |text| text.contains("load train") && !text.contains("level 1"));
    }
    let add = |lines: &[&str]| {
        let mut file = std::fs::OpenOptions::new().append(true).open(&journal).unwrap();
        file.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    };
    add(&lines[until_training..=until_level_3]);
    for viewer in &mut viewers {
        viewer.shows("level 3");
    }
    // One quits, one is killed: the third goes on, and the journal is as it was.
    viewers[0].press("q");
    assert_eq!(viewers[0].end(), 0);
    viewers[1].signal("KILL");
    viewers[1].end();
    add(&lines[until_level_3 + 1..]);
    viewers[2].shows("DONE");
    viewers[2].press("q");
    assert_eq!(viewers[2].end(), 0);
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), text);
}

#[test]
fn no_color_and_ascii_are_obeyed() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &["--ascii", &sample()], &[("NO_COLOR", "1")]);
    screen.shows("Phases and levels");
    screen.press("q");
    assert_eq!(screen.end(), 0);
    let drawn = String::from_utf8_lossy(&screen.raw).into_owned();
    assert!(drawn.is_ascii(), "only ASCII reaches the terminal");
    for colour in ["\x1b[38;5;", "\x1b[38;2;", "\x1b[48;5;", "\x1b[48;2;"] {
        let found = drawn.find(colour).map(|place| drawn[place..].chars().take(40).collect::<String>());
        assert_eq!(found, None, "no colour reaches the terminal");
    }
}

#[test]
fn the_mouse_is_off_until_asked_for() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
    screen.shows("Phases and levels");
    assert_eq!(screen.parser.screen().mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    screen.press("M");
    screen.shows("mouse on");
    // A click on the tab of the events.
    let column = screen.text().lines().next().unwrap().find("5 Events").unwrap() as u16;
    screen.press(&format!("\x1b[<0;{};1M", column + 1));
    screen.shows("In the journal");
    screen.press("q");
    assert_eq!(screen.end(), 0);
    screen.is_clean();
}

#[test]
fn copying_asks_the_terminal_by_osc_52() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[]);
    screen.shows("Phases and levels");
    screen.press("5");
    screen.shows("In the journal");
    screen.press("y");
    screen.press("q");
    screen.end();
    assert!(String::from_utf8_lossy(&screen.raw).contains("\x1b]52;c;"));
}

/// `fractal-run` as cargo built it beside this test's program, if it did; else says what is skipped.
fn runner() -> Option<PathBuf> {
    let runner = Path::new(env!("CARGO_BIN_EXE_fractal-tui")).with_file_name("fractal-run");
    if !runner.exists() {
        println!("skipped: {} is not built (cargo build --workspace --bins)", runner.display());
        return None;
    }
    Some(runner)
}

/// When the latest event of a sweep happened, on clocks that are `offset_s` ahead of UTC.
fn local_time_of_the_latest(journal: &Path, offset_s: u64) -> String {
    let text = std::fs::read_to_string(journal).unwrap();
    let latest: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let s = latest["at_ms"].as_u64().unwrap() / 1000 + offset_s;
    format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// The whole life of a sweep, as a new user sees it: one key starts it, its runs open by themselves, it is paused, the
/// viewer quits and the sweep stays, another viewer finds it, resumes and ends it.
#[test]
fn one_key_runs_the_smoke_sweep_and_no_viewer_ends_it_by_leaving() {
    let Some(runner) = runner() else { return };
    let folder = folder();
    let status = || -> serde_json::Value {
        let mut command = std::process::Command::new(&runner);
        command.args(["status", "smoke", "--json"]).current_dir(folder.path());
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
    };
    // The sweep is over within a second, which is too soon for a key: a runner that makes more of it.
    let viewer = folder.path().join("bin/fractal-tui");
    let longer = viewer.with_file_name("fractal-run");
    let real = runner.display();
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in \"sweep smoke\") exec '{real}' \"$@\" --repeats 100;; esac\nexec '{real}' \"$@\"\n"
    );
    std::fs::create_dir(viewer.parent().unwrap()).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_fractal-tui"), &viewer).unwrap();
    std::fs::write(&longer, script).unwrap();
    std::fs::set_permissions(&longer, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut screen = Screen::start_other(&viewer, folder.path(), &[], &[]);
    screen.shows("runs the smoke sweep");
    screen.press("\r");
    screen.shows("starting");
    screen.shows("Phases and levels");
    screen.press("1p");
    screen.until("the pause", |text| text.contains("paused"));
    screen.press("q");
    assert_eq!(screen.end(), 0);
    screen.is_clean();
    let left = status();
    assert_eq!((&left["running"], &left["paused"]), (&true.into(), &true.into()), "{left}");
    let mut screen = Screen::start(folder.path(), &["smoke"], &[("TZ", "Asia/Kolkata")]);
    screen.until("the paused sweep", |text| text.contains("paused"));
    if Path::new("/usr/share/zoneinfo/Asia/Kolkata").exists() {
        screen.shows(&local_time_of_the_latest(&folder.path().join("runs/smoke/sweep.jsonl"), 19_800));
    } else {
        println!("skipped: local times (no time zones in /usr/share/zoneinfo)");
    }
    screen.press("C");
    screen.shows("Sure?");
    screen.press("smoke\r");
    screen.until("its end", |text| text.contains("no runner") || text.contains("stopped"));
    screen.press("q");
    assert_eq!(screen.end(), 0);
    assert_eq!(status()["running"], false);
}

/// The form, from the first key to the end of what it started: filled in, run dry, started, watched, left.
#[test]
fn a_sweep_is_planned_and_started_from_the_form() {
    let Some(runner) = runner() else { return };
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[], &[]);
    screen.shows("Nothing has been run here yet");
    screen.press("a");
    screen.shows("New sweep");
    screen.press("-form");
    screen.shows("smoke-form");
    screen.press("\r");
    screen.shows("Enter START");
    screen.press("\r");
    // The grid fills; a cell opens its latest run.
    screen.shows("Events of the sweep");
    screen.until("a finished cell", |text| text.contains("✔"));
    screen.press("\r");
    screen.shows("Phases and levels");
    screen.press("q");
    assert_eq!(screen.end(), 0);
    screen.is_clean();
    let mut wait = std::process::Command::new(&runner);
    wait.args(["wait", "smoke-form"]).current_dir(folder.path());
    wait.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    assert!(wait.status().unwrap().success(), "the sweep goes on to its end without a viewer");
}

#[test]
fn a_panic_leaves_a_clean_terminal_and_says_what_it_was() {
    let folder = folder();
    let mut screen = Screen::start(folder.path(), &[&sample()], &[("FRACTAL_TUI_PANIC", "1")]);
    assert_ne!(screen.end(), 0);
    screen.is_clean();
    assert!(screen.text().contains("asked to panic"), "{}", screen.text());
}

#[test]
fn an_archive_is_replayed_and_leaves_nothing_behind() {
    let folder = folder();
    let run = folder.path().join("runs/run/f006b803bd14-20261122T171354Z");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::copy(sample(), run.join("events.jsonl")).unwrap();
    let store = fractal_logs::Store::new(folder.path().join("runs"));
    let archive = folder.path().join("run.tar.zst");
    store.archive(&store.find("latest").unwrap(), &archive).unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let path = archive.display().to_string();
    let variables = [("TMPDIR", temporary.to_str().unwrap())];
    let mut screen = Screen::start(folder.path(), &["replay", &path, "--at", "end"], &variables);
    screen.shows("Phases and levels");
    screen.press("q");
    assert_eq!(screen.end(), 0);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}
