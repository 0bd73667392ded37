//! Commands that a grid runs around its runs.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::runner::{CancelToken, Urgency};

/// Runs `command` in a shell with `variables` in its environment, and waits. An urgent stop ends it.
///
/// # Errors
/// How it ended, if not well: `'…' ended with status 1`.
pub(super) fn run(command: &str, variables: &[(&str, String)], cancel: &CancelToken) -> Result<(), String> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        // stdout belongs to --json.
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .spawn()
        .map_err(|error| format!("'{command}' cannot be started: {error}"))?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                return Err(match status.code() {
                    Some(code) => format!("'{command}' ended with status {code}"),
                    None => format!("'{command}' was ended by a signal"),
                });
            }
            Ok(None) if cancel.stop().is_some_and(|stop| stop.urgency == Urgency::Now) => {
                // It may have ended by itself in between.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("'{command}' was stopped"));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(format!("'{command}' cannot be waited for: {error}")),
        }
    }
}
