//! `fractal-run` with a store, data and host sets of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fractal_engine::dataset::{GenerateSpec, generate};
use fractal_logs::RunResult;

pub(crate) struct Program {
    pub(crate) dir: tempfile::TempDir,
}

/// A small set with several row groups a file, made once for all tests.
pub(crate) fn data() -> &'static str {
    static DATA: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = DATA.get_or_init(|| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let spec = GenerateSpec {
            train_files: 9,
            val_files: 3,
            test_files: 3,
            rows_per_file: 2000,
            row_group_rows: 1000,
            seed: 7,
        };
        generate(folder.path(), &spec, 2, &|_| {}).unwrap();
        folder
    });
    folder.path().to_str().unwrap()
}

impl Program {
    pub(crate) fn new() -> Program {
        Program { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fractal-run"));
        command.args(arguments).env("FRACTAL_STORE", self.store()).stdin(Stdio::null());
        // The cache holds the hash of this binary, which is worth sharing between tests.
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command
    }

    /// Runs to the end.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// One run that must end well: its result and its model.
    pub(crate) fn train(&self, name: &str, arguments: &[&str]) -> (RunResult, Vec<u8>) {
        let output = self.output(&[&["--name", name, "--quiet"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
        let run = self.run_dir(name);
        let read = |file: &str| fs::read(run.join(file)).unwrap();
        (serde_json::from_slice(&read("result.json")).unwrap(), read("model.json"))
    }

    /// The one error line of a run that must fail.
    pub(crate) fn error(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.output(&[&["--name", name, "--quiet"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", errors(&output));
        the_error(&errors(&output))
    }

    /// Folder of the only run of that name.
    pub(crate) fn run_dir(&self, name: &str) -> PathBuf {
        fs::read_dir(self.store().join(name)).unwrap().flatten().next().unwrap().path()
    }

    /// Starts a run that would take minutes, and waits until its workers are connected.
    pub(crate) fn long_run(&self, name: &str, arguments: &[&str]) -> Child {
        let long = ["--name", name, "--quiet", "--cores", "1", "--trees", "20000", "--depth", "20", "--data", data()];
        let mut child =
            self.command(&[&long, arguments].concat()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("the mesh", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the run ended at once");
            let run = fs::read_dir(self.store().join(name)).ok()?.flatten().next()?;
            let journal = fs::read_to_string(run.path().join("events.jsonl")).ok()?;
            journal.contains("MeshConnected").then_some(())
        });
        child
    }
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The only line that is an error.
pub(crate) fn the_error(errors: &str) -> String {
    let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(lines.len(), 1, "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    lines[0].to_string()
}

pub(crate) fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X'])))
}

pub(crate) fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
