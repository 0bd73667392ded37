//! The store: sweeps and runs, newest first.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{App, Loadable, Screen};
use crate::keymap::{self, Binding, Global, List, bindings};
use crate::message::{Command, RunLine, StoreName, Target};
use crate::theme::{Theme, Tone};
use crate::units;
use crate::update::{go_back, moved};
use crate::view::table::{Cell, Column, table};
use crate::view::{self, labelled};

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the smoke sweep.
    Smoke,
    /// Replay the recorded run.
    Sample,
    /// A new sweep.
    New,
    /// Compare the marked ones.
    Compare,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = bindings! {
    "store.open" ["enter"] List(List::Open), "open", "open the run or sweep";
    "store.smoke" ["s"] Home(Action::Smoke), "smoke sweep", "start the smoke sweep: eight small runs on generated data", acting;
    "store.sample" ["d"] Home(Action::Sample), "demo replay", "replay a recorded run that comes with the program";
    "store.new" ["a"] Home(Action::New), "new sweep", "a new sweep: fill in its form", acting;
    "store.mark" ["space"] List(List::Mark), "mark", "mark as A, then B";
    "store.compare" ["D"] Home(Action::Compare), "compare", "compare the two marked ones";
};

/// The list's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Selected line.
    pub selected: usize,
    /// Names whose runs are hidden.
    pub closed: std::collections::BTreeSet<String>,
    /// Names whose runs are shown though there are many.
    pub opened: std::collections::BTreeSet<String>,
    /// Only lines with this in them.
    pub filter: String,
    /// Marked runs (`name/id`): A, then B.
    pub marked: Vec<String>,
    /// What to open as soon as the listing is there.
    pub wanted: Option<String>,
}

/// A line of the list.
#[derive(Clone, Copy, Debug)]
enum Entry<'a> {
    Name(&'a StoreName),
    Run(&'a StoreName, &'a RunLine),
    /// So many runs of a name are not shown.
    More(&'a StoreName, usize),
}

/// Runs of a name that are shown without asking.
const SHOWN_RUNS: usize = 8;

fn entries(app: &App) -> Vec<Entry<'_>> {
    let state = &app.home_state;
    let mut entries = Vec::new();
    let filter = state.filter.to_lowercase();
    for name in app.store.ready().map_or(&[][..], Vec::as_slice) {
        let fits = |run: &&RunLine| {
            let text = format!("{} {} {} {}", name.name, run.id, run.label, run.state).to_lowercase();
            filter.split_whitespace().all(|word| text.contains(word))
        };
        let runs: Vec<&RunLine> = name.runs.iter().filter(fits).collect();
        if !filter.is_empty() && runs.is_empty() && !name.name.to_lowercase().contains(&filter) {
            continue;
        }
        entries.push(Entry::Name(name));
        if state.closed.contains(&name.name) {
            continue;
        }
        let most = if state.opened.contains(&name.name) || !filter.is_empty() { usize::MAX } else { SHOWN_RUNS };
        let hidden = runs.len().saturating_sub(most);
        entries.extend(runs.into_iter().take(most).map(|run| Entry::Run(name, run)));
        if hidden > 0 {
            entries.push(Entry::More(name, hidden));
        }
    }
    entries
}

/// Opens what was asked for on the command line, once it is listed.
pub(crate) fn listed(app: &mut App) -> Vec<Command> {
    let last = entries(app).len().saturating_sub(1);
    app.home_state.selected = app.home_state.selected.min(last);
    Vec::new()
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    match action {
        keymap::Action::Home(Action::Smoke) => start_smoke(app),
        keymap::Action::Home(Action::Sample) => {
            let commands = app.open_run(Target::Sample, "recorded sample");
            view::live::play_from_start(app);
            app.go(Screen::Live);
            commands
        }
        keymap::Action::Home(Action::New) => view::sweep::new_form(app),
        keymap::Action::Home(Action::Compare) => compare_marked(app),
        keymap::Action::List(List::Open) => open(app),
        keymap::Action::List(List::Mark) => {
            mark(app);
            Vec::new()
        }
        keymap::Action::List(List::Left | List::Right) => {
            let close = action == keymap::Action::List(List::Left);
            if let Some(name) = selected_name(app) {
                if close {
                    app.home_state.opened.remove(&name);
                    app.home_state.closed.insert(name.clone());
                    let place = entries(app).iter().position(|entry| matches!(entry, Entry::Name(n) if n.name == name));
                    app.home_state.selected = place.unwrap_or(0);
                } else if !app.home_state.closed.remove(&name) {
                    app.home_state.opened.insert(name);
                }
            }
            Vec::new()
        }
        keymap::Action::List(list) => {
            let length = entries(app).len();
            app.home_state.selected = moved(list, app.home_state.selected, length, app.size.1 as usize / 2);
            Vec::new()
        }
        keymap::Action::Global(Global::Back) => {
            if !app.home_state.filter.is_empty() {
                app.home_state.filter.clear();
                return Vec::new();
            }
            if !app.home_state.marked.is_empty() {
                app.home_state.marked.clear();
                return Vec::new();
            }
            go_back(app)
        }
        keymap::Action::Global(Global::Copy) => match entries(app).get(app.home_state.selected) {
            Some(Entry::Run(_, run)) => vec![Command::Copy(run.journal.display().to_string())],
            Some(Entry::Name(name) | Entry::More(name, _)) => vec![Command::Copy(name.name.clone())],
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Starts the smoke sweep, and shows its runs as they come.
pub(crate) fn start_smoke(app: &mut App) -> Vec<Command> {
    if app.starting.is_some() {
        app.say(Tone::Warn, "a sweep is being started already");
        return Vec::new();
    }
    app.starting = Some(("smoke".into(), app.now_ms));
    app.say(Tone::Busy, "starting the smoke sweep; it goes on when you quit");
    app.go(Screen::Live);
    vec![Command::StartSweep("smoke".into(), vec!["smoke".into()])]
}

fn selected_name(app: &App) -> Option<String> {
    match entries(app).get(app.home_state.selected)? {
        Entry::Name(name) | Entry::Run(name, _) | Entry::More(name, _) => Some(name.name.clone()),
    }
}

fn open(app: &mut App) -> Vec<Command> {
    let (name, run) = match entries(app).get(app.home_state.selected) {
        None if matches!(&app.store, Loadable::Ready(names) if names.is_empty()) => {
            if app.is_read_only() {
                app.say(Tone::Warn, "this viewer is read-only: it starts nothing");
                return Vec::new();
            }
            return start_smoke(app);
        }
        None => return Vec::new(),
        Some(Entry::More(name, _)) => {
            let name = name.name.clone();
            app.home_state.opened.insert(name);
            return Vec::new();
        }
        Some(Entry::Name(name)) => (name.name.clone(), None),
        Some(Entry::Run(name, run)) => (name.name.clone(), Some((*run).clone())),
    };
    match run {
        Some(run) => open_run(app, &name, &run),
        None => {
            let is_sweep = app
                .store
                .ready()
                .and_then(|names| names.iter().find(|n| n.name == name))
                .is_some_and(|n| n.sweep.is_some());
            if !is_sweep {
                let first =
                    app.store.ready().and_then(|names| names.iter().find(|n| n.name == name)?.runs.first().cloned());
                return first.map_or_else(Vec::new, |run| open_run(app, &name, &run));
            }
            let commands = app.open_sweep(&name, true);
            app.go(Screen::Sweep);
            commands
        }
    }
}

/// Opens a run of the store, and its siblings with it.
pub(crate) fn open_run(app: &mut App, name: &str, run: &RunLine) -> Vec<Command> {
    if run.state == "imported" {
        app.say(Tone::Warn, "an imported result has no journal to replay; Scaling (3) and Lints (6) show it");
        let commands = app.load_runs(name);
        app.go(Screen::Scaling);
        return commands;
    }
    let stored = Some((name.to_string(), run.id.clone()));
    let mut commands = app.open_run(Target::Journal(run.journal.clone(), stored), format!("{name}/{}", run.id));
    let is_sweep =
        app.store.ready().and_then(|names| names.iter().find(|n| n.name == name)).is_some_and(|n| n.sweep.is_some());
    if is_sweep {
        commands.extend(app.open_sweep(name, false));
    } else if app.measurements.name != name {
        commands.extend(app.load_runs(name));
    }
    app.go(Screen::Live);
    commands
}

fn mark(app: &mut App) {
    let Some(Entry::Run(name, run)) = entries(app).get(app.home_state.selected).copied() else {
        app.say(Tone::Dim, "mark runs, not names");
        return;
    };
    let key = format!("{}/{}", name.name, run.id);
    let marked = &mut app.home_state.marked;
    match marked.iter().position(|other| *other == key) {
        Some(place) => {
            marked.remove(place);
        }
        None => {
            marked.truncate(1);
            marked.push(key);
        }
    }
    if app.home_state.marked.len() == 2 {
        app.say(Tone::Plain, "two runs are marked: D compares them");
    }
}

fn compare_marked(app: &mut App) -> Vec<Command> {
    let [a, b] = app.home_state.marked.as_slice() else {
        app.say(Tone::Warn, "mark two runs first (Space)");
        return Vec::new();
    };
    let (a, b) = (a.clone(), b.clone());
    view::compare::open(app, &a, &b)
}

/// Sets the filter.
pub(crate) fn set_filter(app: &mut App, text: String) {
    app.home_state.filter = text;
    app.home_state.selected = 0;
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    match action {
        Action::Compare => app.home_state.marked.len() == 2,
        Action::Smoke | Action::New => app.starting.is_none(),
        Action::Sample => true,
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    spans.extend(labelled(app, "store", app.store_root.display().to_string()));
    if let Some(names) = app.store.ready() {
        let runs: usize = names.iter().map(|name| name.runs.len()).sum();
        let running = names.iter().flat_map(|n| &n.runs).filter(|run| run.state == "running").count();
        let bytes: u64 = names.iter().flat_map(|n| &n.runs).map(|run| run.bytes).sum();
        spans.extend(labelled(app, "names", names.len().to_string()));
        spans.extend(labelled(app, "runs", runs.to_string()));
        spans.extend(labelled(app, "size", units::bytes(bytes, app.config.decimal_bytes)));
        if running > 0 {
            let text = format!("{} {running} running", app.theme.spinner(app.now_ms));
            spans.push(Span::styled(text, app.theme.tone(Tone::Busy)));
        }
    }
    if !app.home_state.filter.is_empty() {
        spans.push(Span::styled(format!("  /{}", app.home_state.filter), app.theme.accent()));
    }
    Line::from(spans)
}

const COLUMNS: [Column; 9] = [
    Column::left("", 1, 0),
    Column::left("run", 22, 0).growing(),
    Column::left("state", 13, 0),
    Column::left("cell", 16, 2),
    Column::right("rows", 10, 4),
    Column::right("time", 9, 1),
    Column::right("val", 6, 3),
    Column::right("started", 12, 1),
    Column::right("size", 10, 5),
];

/// Draws the list.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let inner = view::pane(frame, area, app, "Sweeps and runs", "", true);
    if !view::there(frame, inner, app, &app.store, "the store", &[("The store is not read yet.", false)]) {
        return;
    }
    let entries = entries(app);
    if entries.is_empty() {
        if app.home_state.filter.is_empty() {
            first_steps(frame, inner, app);
        } else {
            let line = format!("nothing fits /{}", app.home_state.filter);
            view::empty(frame, inner, app, &[(&line, true), ("Esc shows everything again", false)]);
        }
        return;
    }
    let theme = app.theme;
    let selected = app.home_state.selected.min(entries.len() - 1);
    table(frame, inner, app, &COLUMNS, entries.len(), Some(selected), |index| match entries[index] {
        Entry::Name(name) => name_row(app, name),
        Entry::Run(name, run) => run_row(app, theme, name, run),
        Entry::More(_, hidden) => {
            vec!["".into(), Cell::new(format!("  {} {hidden} more: Enter", theme.either("…", "...")), theme.dim())]
        }
    });
}

fn first_steps(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let starting;
    let lines: Vec<(&str, bool)> = if let Some((name, since)) = &app.starting {
        let waited = units::duration(app.now_ms.saturating_sub(*since) * 1000);
        starting = format!("{} starting {name}, {waited}", app.theme.spinner(app.now_ms));
        vec![(&starting, true), ("its first run opens by itself", false)]
    } else if app.is_read_only() {
        vec![("Nothing has been run here yet.", true), ("", false), ("d  replays a recorded run", false)]
    } else {
        vec![
            ("Nothing has been run here yet.", true),
            ("", false),
            ("Enter  runs the smoke sweep: eight small runs on generated data", false),
            ("    d  replays a recorded run that comes with the program", false),
            ("    a  plans a sweep of your own", false),
            ("    ?  shows what every key does", false),
            ("", false),
            ("What you start here goes on when you quit.", false),
        ]
    };
    view::empty(frame, area, app, &lines);
}

fn name_row(app: &App, name: &StoreName) -> Vec<Cell> {
    let theme = app.theme;
    let closed = app.home_state.closed.contains(&name.name);
    let sign = if closed { theme.either("▸", ">") } else { theme.either("▾", "v") };
    let (state, tone) = match &name.sweep {
        Some(status) if status.running && status.paused => ("paused".to_string(), Tone::Warn),
        Some(status) if status.running => ("running".to_string(), Tone::Busy),
        Some(status) if status.counts.failed > 0 => ("failed".to_string(), Tone::Bad),
        Some(status) if status.counts.planned > 0 => ("unfinished".to_string(), Tone::Warn),
        Some(_) => ("done".to_string(), Tone::Good),
        None => (String::new(), Tone::Dim),
    };
    let what = match &name.sweep {
        Some(status) => {
            let counts = status.counts;
            let all = counts.planned + counts.running + counts.done + counts.failed + counts.skipped;
            format!("{}/{all} cells", counts.done)
        }
        None => format!("{} runs", name.runs.len()),
    };
    let glyph = if state.is_empty() { String::new() } else { format!("{} {state}", theme.glyph(&state)) };
    let newest = name.runs.first().and_then(|run| run.started_ms);
    vec![
        Cell::new(sign, theme.dim()),
        Cell::new(name.name.clone(), theme.strong()),
        Cell::new(glyph, theme.tone(tone)),
        Cell::new(what, theme.text()),
        "".into(),
        "".into(),
        "".into(),
        Cell::new(newest.map_or_else(String::new, |ms| units::ago(app.now_ms.saturating_sub(ms))), theme.dim()),
        Cell::new(units::bytes(name.runs.iter().map(|run| run.bytes).sum(), app.config.decimal_bytes), theme.dim()),
    ]
}

fn run_row(app: &App, theme: Theme, name: &StoreName, run: &RunLine) -> Vec<Cell> {
    let key = format!("{}/{}", name.name, run.id);
    let mark = match app.home_state.marked.iter().position(|other| *other == key) {
        Some(0) => "A",
        Some(_) => "B",
        None => "",
    };
    let time = run.total_s.map_or_else(String::new, units::seconds);
    let started = run.started_ms.map_or_else(String::new, |ms| units::ago(app.now_ms.saturating_sub(ms)));
    let label = match &run.reason {
        Some(reason) => reason.clone(),
        None => run.label.clone(),
    };
    let sign = match run.state.as_str() {
        "running" => theme.spinner(app.now_ms),
        state => theme.glyph(state),
    };
    vec![
        Cell::new(mark, theme.accent()),
        Cell::new(format!("  {}", run.id), theme.text()),
        Cell::new(format!("{sign} {}", run.state), theme.tone(Theme::state_tone(&run.state))),
        Cell::new(label, theme.text()),
        Cell::new(run.rows.map_or_else(String::new, |rows| units::short(rows as f64)), theme.text()),
        Cell::new(time, theme.text()),
        Cell::new(run.accuracy.filter(|a| a.is_finite()).map_or_else(String::new, |a| format!("{a:.4}")), theme.text()),
        Cell::new(started, theme.dim()),
        Cell::new(units::bytes(run.bytes, app.config.decimal_bytes), theme.dim()),
    ]
}
