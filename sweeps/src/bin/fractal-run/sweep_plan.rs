//! The dry run on paper: every cell, what would happen to it, why, how long, and whether it fits.

use std::io::Write;
use std::process::ExitCode;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use fractal_sweeps::predict::{Basis, MemoryVerdict};
use fractal_sweeps::sweep::{Decision, Plan, PlannedCell, Wish};

use crate::matrix::duration;

/// Prints the plan on stdout.
pub(crate) fn print(plan: &Plan, wish: &Wish, json: bool) -> anyhow::Result<ExitCode> {
    let out = &mut std::io::stdout().lock();
    if json {
        for planned in &plan.cells {
            writeln!(out, "{}", to_json(planned))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["cell", "", "does", "time", "memory", "why"]);
    for planned in &plan.cells {
        table.add_row([
            Cell::new(&planned.cell.id),
            Cell::new(&planned.cell.label),
            Cell::new(does(&planned.decision)),
            Cell::new(time(planned)).set_alignment(CellAlignment::Right),
            Cell::new(memory(planned)),
            Cell::new(planned.decision.reason()),
        ]);
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    writeln!(out, "{}", to_do(plan))?;
    if plan.queue.len() > 1 {
        writeln!(out, "{}", order_line(plan, wish))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `12 of 16 cells to run, 24 measured runs`.
pub(crate) fn to_do(plan: &Plan) -> String {
    let (cells, runs) = (plan.cells.len(), plan.queue.len());
    format!("{} of {cells} cell{} to run, {runs} measured run{}", plan.to_run(), plural(cells), plural(runs))
}

/// `order balanced: 3 topology changes, 6 workers moved (as written 15, 87); confounding 0.00 (as written 0.98)`.
pub(crate) fn order_line(plan: &Plan, wish: &Wish) -> String {
    let (order, written) = (&plan.order, &plan.as_written);
    let mut line = format!(
        "order {}: {} topology change{}, {} worker{} moved (as written {}, {}); confounding {:.2} (as written {:.2})",
        wish.settings.order.name(),
        order.topology_changes,
        plural(order.topology_changes),
        order.workers_moved,
        plural(order.workers_moved as usize),
        written.topology_changes,
        written.workers_moved,
        order.worst(),
        written.worst(),
    );
    if let Some((axis, rho)) = order.confounding.iter().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|worst| worst.1 > 0.5)
    {
        line.push_str(&format!(
            "\ncaution: {axis} goes with time (|ρ| {rho:.2}): a drift of the machine would look like an effect of it; \
             an even number of --repeats, or --order random, tells them apart"
        ));
    }
    line
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn does(decision: &Decision) -> String {
    match decision {
        Decision::Run { repeats, .. } if repeats.len() > 1 => format!("run ×{}", repeats.len()),
        other => other.word().to_string(),
    }
}

fn time(planned: &PlannedCell) -> String {
    match planned.seconds {
        Some(band) => {
            let rough = if band.basis == Basis::Nearest { "~" } else { "" };
            format!("{rough}{} (P90 {})", duration(band.p50), duration(band.p90))
        }
        None => "not known".to_string(),
    }
}

fn memory(planned: &PlannedCell) -> String {
    let Some(memory) = planned.memory else { return "no limit".to_string() };
    let verdict = match memory.verdict {
        MemoryVerdict::NoLimit => "no limit",
        MemoryVerdict::Fits => "fits",
        MemoryVerdict::Tight => "tight",
        MemoryVerdict::Exceeds => "too large",
    };
    let at_least = if memory.rows == 0 { "≥ " } else { "" };
    format!("{at_least}{:.2} GiB {verdict}", memory.bytes as f64 / (1u64 << 30) as f64)
}

fn to_json(planned: &PlannedCell) -> serde_json::Value {
    serde_json::json!({
        "cell": planned.cell.id,
        "label": planned.cell.label,
        "does": planned.decision.word(),
        "repeats": match &planned.decision { Decision::Run { repeats, .. } => repeats.clone(), _ => Vec::new() },
        "reason": planned.decision.reason(),
        "predicted_seconds": planned.seconds,
        "predicted_memory": planned.memory,
        "spec": planned.cell.spec,
    })
}
