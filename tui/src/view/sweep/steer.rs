//! The commands that steer a sweep. Its runner does them, asked over its control socket; where no runner is, one is
//! started with the command line of the last sitting.

use std::path::PathBuf;

use fractal_sweeps::control::Request;
use fractal_sweeps::sweep::{SweepEventKind, SweepStatus};

use super::panes::short;
use super::{Action, Pane, State};
use crate::app::App;
use crate::message::Command;
use crate::theme::Tone;
use crate::update::{ask, confirm};

/// Takes an action in.
pub(super) fn act(app: &mut App, action: Action) -> Vec<Command> {
    let Some((name, status)) =
        app.sweep.as_ref().and_then(|sweep| Some((sweep.name.clone(), (**sweep.status.ready()?).clone())))
    else {
        app.say(Tone::Warn, "no sweep is open: 0 lists them, A makes a new one");
        return Vec::new();
    };
    if status.cells.is_empty() {
        app.say(Tone::Warn, "these runs were not made by a sweep of ours: A makes one over the same axes");
        return Vec::new();
    }
    let cell = app.sweep_state.cell().map(|cell| (cell.id.clone(), short(&cell.label), cell.done));
    match action {
        Action::Pause if !status.running => go_on(app, &name, &[]),
        Action::Pause => ask(app, if status.paused { Request::Resume } else { Request::Pause }),
        Action::Plan => match last_command(&app.sweep_state) {
            Some(arguments) => super::form::show_plan(app, &name, arguments),
            None => no_command(app),
        },
        Action::Cancel if status.running => {
            let then = vec![Command::Ask(name.clone(), Request::Cancel { now: false })];
            let question =
                format!("End the sweep {name}? Its current run ends too; the next start goes on from there.");
            confirm(app, question, Some(name), then);
            Vec::new()
        }
        Action::CancelRun => {
            let Some(current) = &status.current else {
                app.say(Tone::Warn, "nothing runs at the moment");
                return Vec::new();
            };
            let question =
                format!("End the run of {} and take the cell out? r runs it again later.", short(&current.label));
            confirm(app, question, None, vec![Command::Ask(name, Request::Skip { cell: current.cell.clone() })]);
            Vec::new()
        }
        Action::Skip if status.running => {
            let Some((id, label, _)) = cell else { return Vec::new() };
            let question = format!("Take the cell {label} out of the sweep? r runs it again later.");
            confirm(app, question, None, vec![Command::Ask(name, Request::Skip { cell: id })]);
            Vec::new()
        }
        Action::Rerun => {
            let Some((id, label, done)) = cell.filter(|(id, ..)| !id.is_empty()) else { return Vec::new() };
            let loses = if done > 0 {
                format!(" Its {done} finished runs stay on the disk and do not count any more.")
            } else {
                String::new()
            };
            let question = format!("Run {label} again from scratch?{loses}");
            let then = match status.running {
                true => vec![Command::Ask(name, Request::Rerun { cell: id })],
                false => match restart(app, &name, &["--rerun", &id]) {
                    Some(command) => vec![command],
                    None => return no_command(app),
                },
            };
            confirm(app, question, None, then);
            Vec::new()
        }
        Action::RetryFailed => {
            let failed: Vec<String> =
                status.cells.iter().filter(|cell| cell.state == "failed").map(|cell| cell.cell.clone()).collect();
            if failed.is_empty() {
                app.say(Tone::Good, "no cell has failed");
                return Vec::new();
            }
            let then = match status.running {
                true => {
                    let requests = failed.iter().map(|id| Request::Rerun { cell: id.clone() }).collect();
                    vec![Command::AskInOrder(name.clone(), requests)]
                }
                false => match restart(app, &name, &["--rerun", "failed"]) {
                    Some(command) => vec![command],
                    None => return no_command(app),
                },
            };
            let plural = if failed.len() == 1 { "" } else { "s" };
            confirm(app, format!("Try {} failed cell{plural} again?", failed.len()), None, then);
            Vec::new()
        }
        Action::Sooner | Action::Later if status.running => shift(app, &name, &status, action == Action::Sooner),
        Action::EditQueue if status.running => {
            let path = queue_file(app, &name);
            vec![Command::Write(path.clone(), queue_text(&name, &status).into_bytes()), Command::Edit(path)]
        }
        _ => {
            app.say(Tone::Warn, "no runner is at this sweep: p goes on with it");
            Vec::new()
        }
    }
}

fn no_command(app: &mut App) -> Vec<Command> {
    app.say(Tone::Warn, "the sweep's record does not say how it was started: 'fractal-run sweep GRID' goes on with it");
    Vec::new()
}

fn go_on(app: &mut App, name: &str, more: &[&str]) -> Vec<Command> {
    match restart(app, name, more) {
        Some(command) => {
            app.starting = Some((name.to_string(), app.now_ms));
            vec![command]
        }
        None => no_command(app),
    }
}

fn restart(app: &App, name: &str, more: &[&str]) -> Option<Command> {
    let mut arguments = last_command(&app.sweep_state)?;
    arguments.extend(more.iter().map(|word| word.to_string()));
    if !arguments.iter().any(|word| word == "--name" || word == "-n" || word.starts_with("--name=")) {
        arguments.extend(["--name".to_string(), name.to_string()]);
    }
    Some(Command::StartSweep(name.to_string(), arguments))
}

/// The arguments of `fractal-run sweep` in the last sitting, without those that were for that time only.
fn last_command(state: &State) -> Option<Vec<String>> {
    let command = state.steps.iter().rev().find_map(|step| match &step.kind {
        SweepEventKind::SweepStarted { command, .. } => Some(command),
        _ => None,
    })?;
    let mut words = command.iter().skip_while(|word| *word != "sweep").skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--detach" | "--json" | "-q" | "--quiet" | "--dry-run" | "--resume" => {}
            "--rerun" | "--store" => {
                words.next();
            }
            word if word.starts_with("--rerun=") || word.starts_with("--store=") => {}
            word => kept.push(word.to_string()),
        }
    }
    Some(kept)
}

/// Moves the selected cell's runs by a place.
fn shift(app: &mut App, name: &str, status: &SweepStatus, sooner: bool) -> Vec<Command> {
    let Some(id) = app.sweep_state.cell().map(|cell| cell.id.clone()) else { return Vec::new() };
    let Some(place) = status.queue.iter().position(|line| line.cell == id) else {
        app.say(Tone::Warn, "the selected cell has no run in the queue");
        return Vec::new();
    };
    // The place counts among the runs of the other cells.
    let position = if sooner { place.saturating_sub(1) } else { place + 1 };
    if app.sweep_state.focus == Pane::Queue {
        app.sweep_state.queued = position.min(status.queue.len().saturating_sub(1));
    }
    vec![Command::Ask(name.to_string(), Request::Move { cell: id, position })]
}

fn queue_file(app: &App, name: &str) -> PathBuf {
    app.store_root.join(name).join("queue.txt")
}

fn queue_text(name: &str, status: &SweepStatus) -> String {
    let mut text = format!(
        "# The queue of {name}: a cell a line, next first.\n# Move lines to change the order; delete a line to take its cell out of the sweep.\n"
    );
    let mut seen = Vec::new();
    for line in &status.queue {
        if !seen.contains(&&line.cell) {
            seen.push(&line.cell);
            text += &format!("{} {}\n", line.cell, line.label);
        }
    }
    text
}

/// The queue as the person left it.
pub(super) fn queue_edited(app: &mut App, text: &str) -> Vec<Command> {
    let Some((name, status)) =
        app.sweep.as_ref().and_then(|sweep| Some((sweep.name.clone(), (**sweep.status.ready()?).clone())))
    else {
        return Vec::new();
    };
    let mut before: Vec<&str> = Vec::new();
    for line in &status.queue {
        if !before.contains(&line.cell.as_str()) {
            before.push(&line.cell);
        }
    }
    let wanted: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|id| before.contains(id))
        .collect();
    let removed: Vec<&str> = before.iter().copied().filter(|id| !wanted.contains(id)).collect();
    let kept: Vec<&str> = before.iter().copied().filter(|id| wanted.contains(id)).collect();
    let mut requests: Vec<Request> = Vec::new();
    if kept != wanted {
        // Each to the front, the last one first: then they stand as written.
        requests.extend(wanted.iter().rev().map(|id| Request::Move { cell: id.to_string(), position: 0 }));
    }
    if requests.is_empty() && removed.is_empty() {
        app.say(Tone::Plain, "the queue stays as it is");
        return Vec::new();
    }
    requests.extend(removed.iter().map(|id| Request::Skip { cell: id.to_string() }));
    let then = vec![Command::AskInOrder(name.clone(), requests)];
    if removed.is_empty() {
        return then;
    }
    let plural = if removed.len() == 1 { "" } else { "s" };
    confirm(app, format!("Take {} cell{plural} out of the sweep {name}?", removed.len()), None, then);
    Vec::new()
}
