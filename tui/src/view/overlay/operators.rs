//! What the operators of the dataflow cost, and what passed between them: timely's own counts, by phase.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use fractal_logs::{Phase, RunState};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::keymap::{Code, Key};
use crate::theme::Tone;
use crate::units;
use crate::view;
use crate::view::overlay::{Overlay, scrolled, window};
use crate::view::table::{Cell, Column, table};

/// What the overlay shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// Order of the lines.
    pub order: Order,
    /// The other way round.
    pub reversed: bool,
    /// Channels instead of operators.
    pub channels: bool,
    /// Selected line.
    pub selected: usize,
}

/// Order of the operators; channels go by records, or by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Most time first.
    #[default]
    Time,
    /// Most activations first.
    Activations,
    /// Longest activation first.
    Longest,
    /// As the run went.
    Phase,
}

impl Order {
    const ALL: [Order; 4] = [Order::Time, Order::Activations, Order::Longest, Order::Phase];

    fn next(self) -> Order {
        let place = Order::ALL.iter().position(|other| *other == self).unwrap_or(0);
        Order::ALL[(place + 1) % Order::ALL.len()]
    }

    fn word(self, channels: bool) -> &'static str {
        match self {
            Order::Phase => "phase",
            _ if channels => "records",
            Order::Time => "time",
            Order::Activations => "activations",
            Order::Longest => "longest",
        }
    }
}

/// An operator in a phase, over all threads.
struct Operator {
    phase: Phase,
    name: String,
    busy_us: u64,
    activations: u64,
    longest_us: u64,
    /// Time at the thread where it took most, and that thread.
    most: (u64, (u32, u32)),
}

/// A channel in a phase, over all threads.
struct Channel {
    phase: Phase,
    from: String,
    to: String,
    messages: u64,
    records: u64,
    /// Records at the thread that received most, and that thread.
    most: (u64, (u32, u32)),
}

fn operators(state: &RunState) -> Vec<Operator> {
    let mut all: BTreeMap<(Phase, &str), Operator> = BTreeMap::new();
    for (&phase, threads) in &state.dataflow {
        for (&thread, measured) in threads {
            for cost in &measured.operators {
                let name = cost.name.as_str();
                let new = || Operator {
                    phase,
                    name: name.into(),
                    busy_us: 0,
                    activations: 0,
                    longest_us: 0,
                    most: (0, thread),
                };
                let operator = all.entry((phase, name)).or_insert_with(new);
                operator.busy_us = operator.busy_us.saturating_add(cost.busy_us);
                operator.activations = operator.activations.saturating_add(cost.activations);
                operator.longest_us = operator.longest_us.max(cost.longest_us);
                if cost.busy_us > operator.most.0 {
                    operator.most = (cost.busy_us, thread);
                }
            }
        }
    }
    all.into_values().collect()
}

fn channels(state: &RunState) -> Vec<Channel> {
    let mut all: BTreeMap<(Phase, &str, &str), Channel> = BTreeMap::new();
    for (&phase, threads) in &state.dataflow {
        for (&thread, measured) in threads {
            for traffic in &measured.channels {
                let (from, to) = (traffic.from.as_str(), traffic.to.as_str());
                let new =
                    || Channel { phase, from: from.into(), to: to.into(), messages: 0, records: 0, most: (0, thread) };
                let channel = all.entry((phase, from, to)).or_insert_with(new);
                channel.messages = channel.messages.saturating_add(traffic.sent_messages);
                channel.records = channel.records.saturating_add(traffic.sent_records);
                if traffic.received_records > channel.most.0 {
                    channel.most = (traffic.received_records, thread);
                }
            }
        }
    }
    all.into_values().collect()
}

/// Sorts, scrolls, or changes between operators and channels.
pub(super) fn pressed(app: &mut App, key: Key) {
    let state = app.run.as_ref().map(|run| run.state());
    let (operators, channels) = state.map_or((0, 0), |state| (operators(state).len(), channels(state).len()));
    let Some(Overlay::Operators(shown)) = app.overlays.last_mut() else { return };
    let length = if shown.channels { channels } else { operators };
    match key.code {
        Code::Tab => (shown.channels, shown.selected) = (!shown.channels, 0),
        Code::Char('s') => shown.order = shown.order.next(),
        Code::Char('S') => shown.reversed = !shown.reversed,
        Code::Char('q' | 'o') => {
            app.overlays.pop();
        }
        _ => {
            if let Some(place) = scrolled(key, shown.selected, length.saturating_sub(1)) {
                shown.selected = place;
            }
        }
    }
}

const OPERATORS: [Column; 7] = [
    Column::left("operator", 22, 0).growing(),
    Column::left("phase", 8, 0),
    Column::right("time", 9, 0),
    Column::right("share", 6, 1),
    Column::right("activations", 11, 0),
    Column::right("longest", 9, 2),
    Column::right("most at", 16, 3),
];

const CHANNELS: [Column; 6] = [
    Column::left("from", 20, 0).growing(),
    Column::left("to", 20, 0),
    Column::left("phase", 8, 0),
    Column::right("records", 9, 0),
    Column::right("messages", 9, 1),
    Column::right("most received at", 18, 2),
];

/// Why there is nothing to show, and what to do about it.
fn missing(state: &RunState) -> [&'static str; 2] {
    let solo = state.started.as_ref().is_some_and(|started| started.spec.topology.single_thread_baseline);
    match (solo, &state.finished) {
        (true, _) => ["This run uses no timely: a single-thread baseline.", "It folds and splits without a dataflow."],
        (false, None) => ["No phase has ended yet at this moment.", "Each thread tells its counts when one does."],
        (false, Some(_)) => [
            "This journal has no counts of the dataflow.",
            "Runs that were recorded by this version, and got as far as their first phase, have them.",
        ],
    }
}

/// Draws it.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, shown: Operators) {
    let Some(run) = &app.run else { return };
    let state = run.state();
    let theme = app.theme;
    let what = if shown.channels { "Dataflow channels" } else { "Dataflow operators" };
    let turned = if shown.reversed { ", reversed" } else { "" };
    let title = format!("{what} · by {}{turned}", shown.order.word(shown.channels));
    let other = if shown.channels { "operators" } else { "channels" };
    let hint = format!("Tab {other} · s sort · S reverse · j k move · Esc close");
    let inner = window(frame, area, app, (110, 40), &title, &hint);
    if state.dataflow.is_empty() {
        let [first, second] = missing(state);
        view::empty(frame, inner, app, &[(first, true), (second, false)]);
        return;
    }
    let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(inner);
    frame.render_widget(asleep(app, state), head);
    let thread = |(amount, (worker, thread)): (String, (u32, u32))| format!("w{worker}t{thread} {amount}");
    if shown.channels {
        let mut lines = channels(state);
        if shown.order != Order::Phase {
            lines.sort_by_key(|channel| Reverse(channel.records));
        }
        if shown.reversed {
            lines.reverse();
        }
        table(frame, rest, app, &CHANNELS, lines.len(), selected(shown, lines.len()), |index| {
            let channel = &lines[index];
            vec![
                channel.from.as_str().into(),
                channel.to.as_str().into(),
                Cell::new(channel.phase.name(), theme.phase(channel.phase)),
                units::short(channel.records as f64).into(),
                units::short(channel.messages as f64).into(),
                Cell::new(thread((units::short(channel.most.0 as f64), channel.most.1)), theme.dim()),
            ]
        });
        return;
    }
    let mut lines = operators(state);
    match shown.order {
        Order::Time => lines.sort_by_key(|operator| Reverse(operator.busy_us)),
        Order::Activations => lines.sort_by_key(|operator| Reverse(operator.activations)),
        Order::Longest => lines.sort_by_key(|operator| Reverse(operator.longest_us)),
        Order::Phase => {}
    }
    if shown.reversed {
        lines.reverse();
    }
    let all: u64 = lines.iter().fold(0, |sum, operator| sum.saturating_add(operator.busy_us));
    table(frame, rest, app, &OPERATORS, lines.len(), selected(shown, lines.len()), |index| {
        let operator = &lines[index];
        let share = operator.busy_us as f64 / all.max(1) as f64;
        vec![
            operator.name.as_str().into(),
            Cell::new(operator.phase.name(), theme.phase(operator.phase)),
            units::duration(operator.busy_us).into(),
            format!("{:.0}%", share * 100.0).into(),
            units::count(operator.activations).into(),
            units::duration(operator.longest_us).into(),
            Cell::new(thread((units::duration(operator.most.0), operator.most.1)), theme.dim()),
        ]
    });
}

fn selected(shown: Operators, length: usize) -> Option<usize> {
    length.checked_sub(1).map(|last| shown.selected.min(last))
}

/// How the threads' time went, by phase: `busy` in operators, `asleep` for want of work; the rest is the phase's own code.
fn asleep(app: &App, state: &RunState) -> Line<'static> {
    let threads = state.dataflow.values().map(BTreeMap::len).max().unwrap_or(0);
    let mut spans = vec![Span::styled(format!(" {threads} threads asleep for want of work: "), app.theme.dim())];
    for (&phase, measured) in &state.dataflow {
        // A thread's own stretch of the phase; until it ends, what has passed of it.
        let stretch = |thread: &(u32, u32)| {
            let source = fractal_logs::Source::Thread { worker: thread.0, thread: thread.1 };
            let phase = state.phases.get(&phase)?;
            let ended = phase.sources.get(&source).and_then(|s| s.finished_us.map(|_| s.wall_us));
            ended.or_else(|| Some(state.elapsed_us.saturating_sub(phase.span()?.0)))
        };
        let wall: u64 = measured.keys().filter_map(stretch).fold(0, u64::saturating_add);
        let parked = measured.values().fold(0u64, |sum, thread| sum.saturating_add(thread.parked_us));
        if wall == 0 {
            continue;
        }
        let share = parked as f64 / wall as f64;
        let tone = if share > 0.3 { Tone::Warn } else { Tone::Plain };
        spans.push(Span::styled(phase.name(), app.theme.phase(phase)));
        spans.push(Span::styled(format!(" {:.0}%  ", share.min(1.0) * 100.0), app.theme.tone(tone)));
    }
    Line::from(spans)
}
