//! `fractal-run`, found and started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `fractal-run`: beside this program, else on the `PATH`.
pub fn find_runner() -> Option<PathBuf> {
    let name = "fractal-run";
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside.into_iter().chain(std::env::split_paths(&path).map(|folder| folder.join(name))).find(|file| file.is_file())
}

fn command(store: &Path) -> Result<Command, String> {
    let runner = find_runner()
        .ok_or("fractal-run is neither beside this program nor on the PATH: cargo build --bin fractal-run makes it")?;
    let mut command = Command::new(runner);
    // Beside the variable also the flag would do, but subcommands have it in different places.
    command.env("FRACTAL_STORE", store).stdin(Stdio::null());
    Ok(command)
}

/// Starts a sweep in a session of its own, which outlives this program.
pub(super) fn start_sweep(store: &Path, arguments: &[String]) -> Result<String, String> {
    let output = command(store)?
        .arg("sweep")
        .args(arguments)
        .arg("--detach")
        .output()
        .map_err(|error| format!("fractal-run cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => Ok(format!("the sweep runs by itself now; {}", last_line(&said))),
        false => Err(last_line(&said)),
    }
}

/// What a sweep would do: a cell a line as JSON; and what it costs in all, as a person reads it.
pub(super) fn plan(store: &Path, arguments: &[String]) -> Result<(Vec<String>, Vec<String>), String> {
    let output = command(store)?
        .arg("sweep")
        .args(arguments)
        .args(["--dry-run", "--json"])
        .output()
        .map_err(|error| format!("fractal-run cannot be started: {error}"))?;
    let lines = |bytes: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(bytes).lines().map(str::to_string).filter(|line| !line.trim().is_empty()).collect()
    };
    match output.status.success() {
        true => Ok((lines(&output.stdout), lines(&output.stderr))),
        false => Err(last_line(&String::from_utf8_lossy(&output.stderr))),
    }
}

/// Runs another subcommand to its end.
pub(super) fn run_tool(store: &Path, arguments: &[String]) -> Result<String, String> {
    let output =
        command(store)?.args(arguments).output().map_err(|error| format!("fractal-run cannot be started: {error}"))?;
    match output.status.success() {
        true => Ok(last_line(&String::from_utf8_lossy(&output.stdout))),
        false => Err(last_line(&String::from_utf8_lossy(&output.stderr))),
    }
}

fn last_line(text: &str) -> String {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").to_string()
}
