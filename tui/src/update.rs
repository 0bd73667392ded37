//! [`update`]: what a message does to the app, and what the world is to do then.

use fractal_sweeps::control::Request;

use crate::app::{App, Loadable, Screen};
use crate::keymap::{Action, Code, Global, Key, List};
use crate::message::{Command, JournalNews, Message, Mouse, Target};
use crate::recording::Recording;
use crate::theme::Tone;
use crate::view::overlay::{self, Confirm, Overlay, Prompt, Purpose};
use crate::view::{self, compare, events, home, lints, live, scaling, sweep};

/// Takes one message in.
pub fn update(app: &mut App, message: Message) -> Vec<Command> {
    match message {
        Message::Tick(now_ms) => tick(app, now_ms),
        Message::Journal(number, news) => journal(app, number, news),
        message => {
            app.changed = true;
            match message {
                Message::Key(key) => pressed(app, key),
                Message::Paste(text) => {
                    text.chars().filter(|c| !c.is_control()).flat_map(|c| pressed(app, Key::char(c))).collect()
                }
                Message::Mouse(mouse, column, row) => clicked(app, mouse, column, row),
                Message::Resize(width, height) => {
                    app.size = (width, height);
                    Vec::new()
                }
                Message::Store(listing) => stored(app, listing),
                Message::Sweep(name, status) => swept(app, name, status),
                Message::Runs(name, runs) => {
                    compare::take_runs(app, &name, &runs);
                    scaling::take_beside(app, &name, &runs);
                    app.take_runs(name, runs);
                    Vec::new()
                }
                Message::SweepSteps(name, steps) => {
                    sweep::take_steps(app, &name, &steps);
                    Vec::new()
                }
                Message::Planned(plan) => {
                    sweep::planned(app, plan);
                    Vec::new()
                }
                Message::Trace(side, trace) => {
                    compare::take_trace(app, side, trace);
                    Vec::new()
                }
                Message::Said(Ok(text)) => said(app, Tone::Good, text),
                Message::Said(Err(text)) => said(app, Tone::Bad, text),
                Message::SweepStarted(name, Ok(text)) => {
                    app.starting = None;
                    app.say(Tone::Good, text);
                    // It may have been opened before it existed.
                    app.sweep = None;
                    app.open_sweep(&name, true)
                }
                Message::SweepStarted(_, Err(text)) => {
                    app.starting = None;
                    said(app, Tone::Bad, text)
                }
                Message::Text(title, text) => {
                    overlay::show_text(app, title, text);
                    Vec::new()
                }
                Message::Edited(path, text) => sweep::edited(app, path, text),
                Message::Tick(_) | Message::Journal(..) => unreachable!("handled above"),
            }
        }
    }
}

fn said(app: &mut App, tone: Tone, text: String) -> Vec<Command> {
    app.say(tone, text);
    Vec::new()
}

fn tick(app: &mut App, now_ms: u64) -> Vec<Command> {
    // A clock that steps back lets no time pass.
    let passed = now_ms.saturating_sub(app.now_ms).min(1_000);
    app.now_ms = now_ms;
    if app.notice.as_ref().is_some_and(|notice| notice.until_ms <= now_ms) {
        app.notice = None;
        app.changed = true;
    }
    if let Some(run) = &mut app.run {
        run.play(passed);
    }
    app.changed |= app.is_animated();
    events::advance(app);
    Vec::new()
}

fn journal(app: &mut App, number: u64, news: JournalNews) -> Vec<Command> {
    if number != app.run_number {
        return Vec::new();
    }
    let Some(run) = &mut app.run else { return Vec::new() };
    app.changed = true;
    let was_finished = run.recording.finished;
    let was_loading = run.loading;
    match news {
        JournalNews::Events { events, skipped, more } => {
            if !events.is_empty() {
                run.last_news_ms = app.now_ms;
            }
            // The state at the head is kept as it was: a replay does not jump because the run goes on.
            run.recording.extend(events);
            run.recording.skipped = skipped;
            run.loading &= more;
        }
        JournalNews::Found { journal, title } => {
            run.path = Some(journal);
            run.title = title;
        }
        JournalNews::Reading(share) => run.read_share = Some(share),
        JournalNews::Indexed(index) => {
            run.recording = Recording::on(index);
            run.loading = false;
        }
        JournalNews::Failed(reason) => {
            run.loading = false;
            run.error = Some(reason);
        }
    }
    let ended = run.recording.finished && !was_finished;
    let loaded = was_loading && !run.loading;
    if loaded {
        // `--at` and such ask for a moment before the run is there.
        live::arrived(app);
    }
    if loaded || ended {
        app.measure_open_run();
    }
    Vec::new()
}

fn stored(app: &mut App, listing: Result<Vec<crate::message::StoreName>, String>) -> Vec<Command> {
    app.store = match listing {
        Ok(names) => Loadable::Ready(names),
        Err(reason) => Loadable::Failed(reason),
    };
    home::listed(app)
}

fn swept(app: &mut App, name: String, status: Result<Box<fractal_sweeps::sweep::SweepStatus>, String>) -> Vec<Command> {
    let Some(sweep) = &mut app.sweep else { return Vec::new() };
    if sweep.name != name {
        return Vec::new();
    }
    let done = |status: &Loadable<Box<fractal_sweeps::sweep::SweepStatus>>| {
        status.ready().map(|status| status.cells.iter().map(|cell| cell.done).sum::<u32>())
    };
    let before = done(&sweep.status);
    sweep.status = match status {
        Ok(status) => Loadable::Ready(status),
        Err(reason) => Loadable::Failed(reason),
    };
    let after = done(&sweep.status);
    sweep::refresh(app);
    let Some(sweep) = &app.sweep else { return Vec::new() };
    let mut commands = Vec::new();
    let current = sweep.status.ready().and_then(|status| status.current.as_ref()).map(|run| run.run_id.clone());
    if let Some(id) = current
        && sweep.follow
        && app.run.as_ref().is_none_or(|run| {
            let shown = run.stored.as_ref().is_some_and(|(sweep, shown)| *sweep == name && *shown == id);
            !shown && run.head == crate::run::Head::Live
        })
    {
        let journal = app.store_root.join(&name).join(&id).join(fractal_logs::store::JOURNAL_FILE);
        commands
            .extend(app.open_run(Target::Journal(journal, Some((name.clone(), id.clone()))), format!("{name}/{id}")));
    }
    if before.is_some() && before != after {
        commands.extend(app.load_runs(&name));
    }
    commands
}

fn pressed(app: &mut App, key: Key) -> Vec<Command> {
    if key == Key::ctrl('c') {
        return vec![Command::Quit { keep: false }];
    }
    if !app.overlays.is_empty() {
        return overlay::pressed(app, key);
    }
    if app.screen == Screen::Sweep && sweep::takes_keys(app) {
        return sweep::typed(app, key);
    }
    let Some(binding) = app.keymap.find(app.screen, key) else {
        if key.code != Code::Esc {
            let hint = app.keymap.key_of(Action::Global(Global::Help), true);
            app.say(Tone::Dim, format!("{key} does nothing here; {hint} shows what the keys do"));
        }
        return Vec::new();
    };
    app.notice = None;
    if binding.acts && app.is_read_only() {
        app.say(Tone::Warn, format!("'{}' is off: this viewer is read-only", binding.help));
        return Vec::new();
    }
    act(app, binding.action)
}

/// Does what a key or a command means.
pub(crate) fn act(app: &mut App, action: Action) -> Vec<Command> {
    match action {
        Action::Global(global) => everywhere(app, global),
        action => on_screen(app, action),
    }
}

fn on_screen(app: &mut App, action: Action) -> Vec<Command> {
    match app.screen {
        Screen::Home => home::update(app, action),
        Screen::Sweep => sweep::update(app, action),
        Screen::Live => live::update(app, action),
        Screen::Scaling => scaling::update(app, action),
        Screen::Compare => compare::update(app, action),
        Screen::Events => events::update(app, action),
        Screen::Lints => lints::update(app, action),
    }
}

fn everywhere(app: &mut App, action: Global) -> Vec<Command> {
    match action {
        Global::Help => app.overlays.push(Overlay::Help { filter: String::new(), scroll: 0 }),
        Global::Quit => return vec![Command::Quit { keep: false }],
        Global::QuitKeep => return vec![Command::Quit { keep: true }],
        Global::Go(screen) => app.go(screen),
        Global::Command => app.overlays.push(Overlay::Prompt(Prompt::new(Purpose::Command, ""))),
        Global::Filter => {
            let text = view::filter_of(app).to_string();
            app.overlays.push(Overlay::Prompt(Prompt::new(Purpose::Filter, &text)));
        }
        Global::Export => app.overlays.push(Overlay::Export { selected: 0 }),
        Global::Settings => app.overlays.push(Overlay::Settings { selected: 0 }),
        Global::Theme => {
            let save = app.set(|config| config.theme = config.theme.next());
            let note = if app.colourless { " (NO_COLOR is set: no colours are shown)" } else { "" };
            app.say(Tone::Plain, format!("theme: {}{note}", app.config.theme.name()));
            return vec![save];
        }
        Global::Mouse => {
            app.mouse = !app.mouse;
            let text = if app.mouse { "mouse on: click tabs, panes and the scrub bar" } else { "mouse off" };
            app.say(Tone::Plain, text);
            return vec![Command::Mouse(app.mouse)];
        }
        Global::Redraw => return vec![Command::Redraw],
        Global::Suspend => return vec![Command::Suspend],
        Global::Back => {
            // The screen may have something of its own to back out of.
            let commands = on_screen(app, Action::Global(Global::Back));
            return commands;
        }
        Global::NextPane
        | Global::PreviousPane
        | Global::Expand
        | Global::ZoomIn
        | Global::ZoomOut
        | Global::NextMatch
        | Global::PreviousMatch
        | Global::Copy => return on_screen(app, Action::Global(action)),
    }
    Vec::new()
}

/// Goes back a screen: what Esc does where a screen has nothing of its own to back out of.
pub(crate) fn go_back(app: &mut App) -> Vec<Command> {
    match app.trail.pop() {
        Some(screen) => app.screen = screen,
        None if app.screen != Screen::Home => app.screen = Screen::Home,
        None => {
            let quit = app.keymap.key_of(Action::Global(Global::Quit), true);
            app.say(Tone::Dim, format!("nothing to go back to; {quit} quits"));
        }
    }
    Vec::new()
}

fn clicked(app: &mut App, mouse: Mouse, column: u16, row: u16) -> Vec<Command> {
    match mouse {
        Mouse::WheelUp => act(app, Action::List(List::Up)),
        Mouse::WheelDown => act(app, Action::List(List::Down)),
        Mouse::Click | Mouse::Drag => {
            if !app.overlays.is_empty() {
                return Vec::new();
            }
            if row == 0 {
                if let Some(screen) = view::tab_at(app, column) {
                    app.go(screen);
                }
                return Vec::new();
            }
            if app.screen == Screen::Live {
                live::clicked(app, column, row);
            }
            Vec::new()
        }
    }
}

/// Asks before something is destroyed.
pub(crate) fn confirm(app: &mut App, question: impl Into<String>, typed: Option<String>, then: Vec<Command>) {
    app.overlays.push(Overlay::Confirm(Confirm { question: question.into(), typed, entered: String::new(), then }));
}

/// Asks the runner of the open sweep, or says that there is none.
pub(crate) fn ask(app: &mut App, request: Request) -> Vec<Command> {
    match &app.sweep {
        Some(sweep) => vec![Command::Ask(sweep.name.clone(), request)],
        None => {
            app.say(Tone::Warn, "no sweep is open: choose one in the store (0)");
            Vec::new()
        }
    }
}

/// Runs messages through [`update`], as a terminal would, and gathers the commands: for tests and snapshots.
pub fn step(app: &mut App, messages: impl IntoIterator<Item = Message>) -> Vec<Command> {
    let mut commands = Vec::new();
    for message in messages {
        commands.extend(update(app, message));
        if commands.iter().any(|command| matches!(command, Command::Quit { .. })) {
            break;
        }
    }
    commands
}

/// Shared by screens that walk over a list: the index that a move leads to.
pub(crate) fn moved(list: List, index: usize, length: usize, page: usize) -> usize {
    let last = length.saturating_sub(1);
    match list {
        List::Up => index.saturating_sub(1),
        List::Down => (index + 1).min(last),
        List::PageUp => index.saturating_sub(page.max(1)),
        List::PageDown => (index + page.max(1)).min(last),
        List::Top => 0,
        List::Bottom => last,
        _ => index,
    }
    .min(last)
}
