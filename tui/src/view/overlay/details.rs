//! Details of one worker, and the slowest tasks.

use fractal_logs::stages::{self, Stage, Task};
use fractal_logs::{Limits, RunState};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::app::App;
use crate::keymap::{Code, Key};
use crate::message::Command;
use crate::theme::{Theme, Tone};
use crate::units;
use crate::view::overlay::{Overlay, scrolled, window};
use crate::view::table::{Cell, Column, table};

/// Under which title a worker's log is asked for.
pub(crate) fn log_title(worker: u32) -> String {
    format!("log of worker {worker}")
}

/// Opens a worker's details, and asks for its log.
pub(crate) fn open_worker(app: &mut App, worker: u32) -> Vec<Command> {
    let Some(run) = &app.run else { return Vec::new() };
    let beside = run.path.as_ref().and_then(|path| path.parent()).map(|dir| dir.join(format!("worker-{worker}.log")));
    app.overlays.push(Overlay::Worker { worker, log: None, scroll: 0 });
    match beside {
        Some(path) => vec![Command::ReadText(log_title(worker), path)],
        None => {
            if let Some(Overlay::Worker { log, .. }) = app.overlays.last_mut() {
                *log = Some(Err("a recording keeps no worker logs".into()));
            }
            Vec::new()
        }
    }
}

/// Scrolls, or goes to another worker.
pub(super) fn pressed(app: &mut App, key: Key) -> Vec<Command> {
    let tasks = match (app.overlays.last(), &app.run) {
        (Some(Overlay::Tasks { stage, .. }), Some(run)) => slowest(run.state(), *stage).1.len(),
        _ => 0,
    };
    let workers: Vec<u32> = app.run.as_ref().map_or_else(Vec::new, |run| run.state().workers.keys().copied().collect());
    match app.overlays.last_mut() {
        Some(Overlay::Tasks { selected, .. }) => {
            if let Some(place) = scrolled(key, *selected, tasks.saturating_sub(1)) {
                *selected = place;
            }
        }
        Some(Overlay::Worker { worker, log, scroll }) => {
            let last = log.as_ref().and_then(|log| log.as_ref().ok()).map_or(0, Vec::len);
            if let Some(place) = scrolled(key, *scroll, last.saturating_sub(1)) {
                *scroll = place;
                return Vec::new();
            }
            let place = workers.iter().position(|index| index == worker).unwrap_or(0);
            let next = match key.code {
                Code::Right | Code::Char('l') | Code::Tab => workers.get(place + 1),
                Code::Left | Code::Char('h') => place.checked_sub(1).and_then(|place| workers.get(place)),
                _ => None,
            };
            if let Some(&next) = next {
                app.overlays.pop();
                return open_worker(app, next);
            }
        }
        _ => {}
    }
    if key == Key::char('q') {
        app.overlays.pop();
    }
    Vec::new()
}

fn limits_text(app: &App, limits: Option<&Limits>) -> String {
    let Some(limits) = limits else { return "nobody read them back".into() };
    let cpus = limits.cpus.map_or("no CPU limit".into(), |cpus| format!("{cpus} CPUs"));
    let memory = limits.memory.map_or("no memory limit".into(), |m| units::bytes(m, app.config.decimal_bytes));
    format!("{cpus}, {memory}")
}

/// Draws a worker.
pub(super) fn render_worker(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    index: u32,
    log: Option<&Result<Vec<String>, String>>,
    scroll: usize,
) {
    let title = format!("Worker {index}");
    let inner = window(frame, area, app, (110, 40), &title, "h l other worker · j k scroll its log · Esc close");
    let Some(worker) = app.run.as_ref().and_then(|run| run.state().workers.get(&index)) else {
        frame.render_widget(Line::styled("nothing is known of it at this moment", app.theme.dim()), inner);
        return;
    };
    let theme = app.theme;
    let decimal = app.config.decimal_bytes;
    let mut facts: Vec<(&str, String)> = Vec::new();
    let host = worker.host_name().unwrap_or("–");
    let pid = worker.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
    facts.push(("host", format!("{host}{pid}")));
    if let Some(host) = &worker.host_facts {
        let facts_of = format!("{}, {} CPUs, {}", host.cpu_model, host.logical_cpus, host.kernel);
        facts.push(("machine", facts_of));
        facts.push((
            "memory there",
            format!(
                "{} in all, {} free before, load {:.2} before",
                units::bytes(host.memory_total, decimal),
                units::bytes(host.memory_available, decimal),
                host.load_before
            ),
        ));
    }
    facts.push(("asked", limits_text(app, worker.requested.as_ref())));
    let by = worker.enforced_by.as_deref().map_or_else(String::new, |by| format!(", enforced by {by}"));
    facts.push(("granted", format!("{}{by}", limits_text(app, worker.granted.as_ref()))));
    if !worker.pinned_cpus.is_empty() {
        facts.push(("pinned to", format!("{:?}", worker.pinned_cpus)));
    }
    let threads = worker.threads.map_or("–".into(), |n| n.to_string());
    let set = worker.instruction_set.as_deref().unwrap_or("–");
    facts.push(("threads", format!("{threads}, instruction set {set}")));
    let throttled = worker.throttled.map_or("not told".into(), |n| format!("{n} times"));
    facts.push((
        "used",
        format!(
            "CPU {}, peak {}, exchanged {}, throttled {throttled}",
            units::duration(worker.cpu_us),
            units::bytes(worker.peak_rss_bytes, decimal),
            units::bytes(worker.exchanged_bytes, decimal)
        ),
    ));
    if let Some(lost) = &worker.lost {
        facts.push(("lost", format!("after {}: {}", units::duration(lost.at_us), lost.cause)));
    }
    let [top, rest] = Layout::vertical([Constraint::Length(facts.len() as u16 + 1), Constraint::Min(0)]).areas(inner);
    let lines: Vec<Line<'_>> = facts
        .into_iter()
        .map(|(label, text)| {
            let style = if label == "lost" { theme.tone(Tone::Bad) } else { theme.text() };
            Line::from(vec![Span::styled(format!(" {label:>12}  "), theme.dim()), Span::styled(text, style)])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), top);
    let lines: Vec<Line<'_>> = match log {
        None => vec![Line::styled(format!(" {} reading its log", theme.spinner(app.now_ms)), theme.dim())],
        Some(Err(reason)) => vec![Line::styled(format!(" no log: {reason}"), theme.dim())],
        Some(Ok(lines)) if lines.is_empty() => {
            vec![Line::styled(" its log is empty: it had nothing to complain of", theme.dim())]
        }
        Some(Ok(lines)) => lines.iter().skip(scroll).map(|line| Line::raw(format!(" {line}"))).collect(),
    };
    frame.render_widget(Paragraph::new(lines), rest);
}

/// The stage's name and its tasks, slowest first; of all stages where none is chosen.
fn slowest(state: &RunState, stage: Option<usize>) -> (String, Vec<(String, Task)>) {
    let jobs = stages::jobs(state);
    let all: Vec<&Stage> = jobs.iter().flat_map(|job| &job.stages).collect();
    let chosen: Vec<&&Stage> = match stage {
        Some(index) => all.get(index).into_iter().collect(),
        // Phases of the runner alone have no tasks worth comparing.
        None => all
            .iter()
            .filter(|stage| stage.pass.is_some() || stage.tasks.iter().any(|t| t.partition.is_some()))
            .collect(),
    };
    let title = match (stage, chosen.first()) {
        (Some(_), Some(stage)) => format!("Tasks of {}", stage.name),
        _ => "Slowest tasks".into(),
    };
    let mut tasks: Vec<(String, Task)> =
        chosen.iter().flat_map(|stage| stage.tasks.iter().map(|task| (stage.name.clone(), task.clone()))).collect();
    tasks.sort_by_key(|(_, task)| std::cmp::Reverse(task.run_us));
    (title, tasks)
}

const COLUMNS: [Column; 9] = [
    Column::left("stage", 18, 1).growing(),
    Column::left("thread", 7, 0),
    Column::left("host", 10, 4),
    Column::right("partition", 9, 2),
    Column::right("began", 8, 3),
    Column::right("time", 9, 0),
    Column::right("× median", 8, 0),
    Column::right("CPU", 9, 3),
    Column::right("rows", 8, 1),
];

/// Draws the slowest tasks.
pub(super) fn render_tasks(frame: &mut Frame<'_>, area: Rect, app: &App, stage: Option<usize>, selected: usize) {
    let Some(run) = &app.run else { return };
    let state = run.state();
    let (title, tasks) = slowest(state, stage);
    let inner = window(frame, area, app, (110, 40), &title, "j k move · Esc close");
    if tasks.is_empty() {
        frame.render_widget(Line::styled(" no task has ended at this moment", app.theme.dim()), inner);
        return;
    }
    let mut times: Vec<u64> = tasks.iter().map(|(_, task)| task.run_us).collect();
    times.sort_unstable();
    let median = times[times.len() / 2].max(1);
    table(frame, inner, app, &COLUMNS, tasks.len(), Some(selected.min(tasks.len() - 1)), |index| {
        let (stage, task) = &tasks[index];
        let host = task.worker.and_then(|w| state.workers.get(&w)?.host_name()).unwrap_or("–");
        let ratio = task.run_us as f64 / median as f64;
        let style = if ratio > 2.0 { app.theme.tone(Tone::Warn) } else { app.theme.text() };
        let who = task.worker.map_or("runner".into(), |worker| format!("w{worker}t{}", task.thread));
        let mark = if task.failure.is_some() { app.theme.glyph("failed") } else { "" };
        vec![
            Cell::new(
                format!("{mark}{stage}"),
                app.theme.tone(if mark.is_empty() { Tone::Plain } else { Theme::state_tone("failed") }),
            ),
            who.into(),
            host.into(),
            task.partition.map_or(String::new(), |p| p.to_string()).into(),
            Cell::new(units::clock(task.start_us, run.total_us()), app.theme.dim()),
            units::duration(task.run_us).into(),
            Cell::new(format!("{ratio:.1}{}", if ratio > 2.0 { " !" } else { "" }), style),
            units::duration(task.cpu_us).into(),
            units::short(task.records as f64).into(),
        ]
    });
}
