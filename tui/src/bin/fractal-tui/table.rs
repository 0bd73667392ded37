//! The store's status as a table, where there is no terminal to draw on.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use fractal_logs::store::Store;
use fractal_tui::{App, feed, units};

/// Prints it.
pub(crate) fn print(app: &App) -> Result<()> {
    let names = feed::list(&Store::new(&app.store_root), &mut BTreeMap::new()).map_err(anyhow::Error::msg)?;
    let mut text = String::new();
    if names.is_empty() {
        let _ = writeln!(text, "no runs in {}; 'fractal-run sweep smoke' makes some", app.store_root.display());
    }
    for name in &names {
        let what = match &name.sweep {
            Some(status) => {
                let state = if status.running { "running" } else { "no runner" };
                format!("sweep, {}/{} cells done, {state}", status.counts.done, status.cells.len())
            }
            None => format!("{} runs", name.runs.len()),
        };
        let _ = writeln!(text, "{}  {what}", name.name);
        for run in &name.runs {
            let time = run.total_s.map_or_else(|| "–".into(), units::seconds);
            let accuracy = run.accuracy.map_or_else(|| "–".into(), |accuracy| format!("{accuracy:.4}"));
            let reason = run.reason.as_deref().unwrap_or("");
            let line =
                format!("  {:<36} {:<12} {:<20} {time:>9} {accuracy:>7}  {reason}", run.id, run.state, run.label);
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    crate::print(&text)
}
