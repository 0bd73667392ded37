//! A runner in a session of its own: no terminal it could lose, no parent it could miss.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use fractal_sweeps::sweep::RunnerNote;

use crate::status::RUNNER_LOG;

/// Starts this program again with the same arguments, as the sweep's runner, and returns when it has taken the sweep
/// up, or passes on why it could not.
pub(crate) fn start(store: &Path, sweep: &str) -> anyhow::Result<ExitCode> {
    let dir = store.join(sweep);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let log_path = dir.join(RUNNER_LOG);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("cannot open {}", log_path.display()))?;
    let before = log.metadata().map_or(0, |facts| facts.len());
    let mut arguments: Vec<_> = std::env::args_os().skip(1).filter(|argument| argument != "--detach").collect();
    // After the subcommand, where its flags are.
    arguments.insert(1, "--detached".into());
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the log")?)
        .stderr(log)
        .spawn()
        .context("cannot start the runner")?;
    loop {
        if RunnerNote::read(&dir).is_some_and(|note| note.pid == child.id() && note.log.is_some()) {
            let out = &mut std::io::stdout().lock();
            writeln!(out, "{sweep}")?;
            let hint = format!(
                "runs as process {}; fractal-run status|wait|cancel|logs {sweep} (store {})",
                child.id(),
                store.display()
            );
            writeln!(std::io::stderr(), "{hint}").ok();
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(status) = child.try_wait().context("cannot wait for the runner")? {
            let log = std::fs::read(&log_path).unwrap_or_default();
            let said = String::from_utf8_lossy(log.get(before as usize..).unwrap_or_default()).into_owned();
            write!(std::io::stderr(), "{said}").ok();
            if status.success() {
                // So little was left to do that it is over already.
                writeln!(std::io::stdout(), "{sweep}")?;
            }
            return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Leaves the terminal's session.
pub(crate) fn become_session_leader() -> anyhow::Result<()> {
    rustix::process::setsid().context("cannot start a session of its own")?;
    Ok(())
}
