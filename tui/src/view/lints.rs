//! What is wrong, wasteful or doubtful, worst first: each finding with its evidence, its formula, and what to do.

use fractal_sweeps::analysis::lint::find;
use fractal_sweeps::analysis::{Finding, Origin, Severity};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use crate::app::{App, Screen};
use crate::keymap::{self, Binding, Global, List, bindings};
use crate::message::{Command, Target};
use crate::theme::Tone;
use crate::units;
use crate::update::{go_back, moved};
use crate::view::overlay::Overlay;
use crate::view::table::{Cell, Column, table};
use crate::view::{self, sweep};

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Page,
    Act,
    Run,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = bindings! {
    "lints.page" ["enter"] Lints(Action::Page), "explain", "the page of this lint";
    "lints.act" ["a"] Lints(Action::Act), "act on it", "go where the advice is carried out: the cell, the curve or the run";
    "lints.run" ["o"] Lints(Action::Run), "open run", "open the first run it is about";
};

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Selected finding, among those that pass the filter.
    pub selected: usize,
    /// Only findings with this in them.
    pub filter: String,
    order: Order,
    reversed: bool,
    expanded: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Severity,
    Lint,
    About,
}

/// The word of a severity, which its glyph and tone go by.
pub(super) fn severity_word(severity: Severity) -> &'static str {
    severity.name()
}

/// The tone of a severity.
pub(super) fn tone_of(severity: Severity) -> Tone {
    match severity {
        Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Warn,
        Severity::Note => Tone::Dim,
    }
}

/// The findings shown, in order.
fn shown(app: &App) -> Vec<&Finding> {
    let state = &app.lints_state;
    let filter = state.filter.to_lowercase();
    let name = |finding: &Finding| find(finding.id).map_or("", |lint| lint.name);
    let fits = |finding: &&Finding| {
        let text = format!(
            "{} {} {} {} {} {}",
            finding.id,
            name(finding),
            finding.severity.name(),
            finding.subject,
            finding.evidence,
            finding.advice
        )
        .to_lowercase();
        filter.split_whitespace().all(|word| text.contains(word))
    };
    let mut found: Vec<&Finding> = app.measurements.findings.iter().filter(fits).collect();
    match state.order {
        // They come worst first.
        Order::Severity => {}
        Order::Lint => found.sort_by_key(|finding| finding.id),
        Order::About => found.sort_by(|a, b| a.subject.cmp(&b.subject)),
    }
    if state.reversed {
        found.reverse();
    }
    found
}

fn selected(app: &App) -> Option<&Finding> {
    let found = shown(app);
    found.get(app.lints_state.selected.min(found.len().saturating_sub(1))).copied()
}

/// Where the advice of a lint is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The cell in the sweep: run it again, add repeats or cells.
    Cell,
    /// The curve.
    Curve,
    /// The run, to look at its workers and partitions.
    Run,
}

fn place(finding: &Finding) -> Place {
    match finding.id {
        "B1" | "C1" | "N1" | "A1" | "O1" | "R1" | "K1" | "D1" | "Y1" | "M1" => Place::Cell,
        "I1" | "U1" | "T1" | "G1" => Place::Curve,
        _ => Place::Run,
    }
}

fn place_text(finding: &Finding) -> &'static str {
    match (place(finding), finding.id) {
        (Place::Cell, "A1") => "go to the sweep, where missing cells are started (1)",
        (Place::Cell, "O1" | "R1") => "go to the sweep: a balanced order is its default (1)",
        (Place::Cell, _) => "go to the cell, where r runs it again (1)",
        (Place::Curve, _) => "go to its curve and waterfall (3)",
        (Place::Run, _) => "look at the run's workers and partitions (2)",
    }
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    let length = shown(app).len();
    match action {
        keymap::Action::Lints(Action::Page) | keymap::Action::List(List::Open) => {
            if let Some(lint) = selected(app).and_then(|finding| find(finding.id)) {
                let lines = lint.page.lines().map(String::from).collect();
                app.overlays.push(Overlay::Text { title: format!("{} {}", lint.id, lint.name), lines, scroll: 0 });
            }
        }
        keymap::Action::Lints(Action::Run) => return open_run(app),
        keymap::Action::Lints(Action::Act) => {
            let Some(finding) = selected(app).cloned() else { return Vec::new() };
            match place(&finding) {
                Place::Run => return open_run(app),
                Place::Curve => app.go(Screen::Scaling),
                Place::Cell => {
                    let name = app.measurements.name.clone();
                    let commands = app.open_sweep(&name, false);
                    sweep::select_run(app, &finding.runs);
                    app.go(Screen::Sweep);
                    return commands;
                }
            }
        }
        keymap::Action::List(List::Sort) => {
            app.lints_state.order = match app.lints_state.order {
                Order::Severity => Order::Lint,
                Order::Lint => Order::About,
                Order::About => Order::Severity,
            };
        }
        keymap::Action::List(List::Reverse) => app.lints_state.reversed = !app.lints_state.reversed,
        keymap::Action::List(list) => {
            let page = app.size.1 as usize / 3;
            app.lints_state.selected = moved(list, app.lints_state.selected, length, page);
        }
        keymap::Action::Global(Global::NextMatch) => {
            app.lints_state.selected = moved(List::Down, app.lints_state.selected, length, 1);
        }
        keymap::Action::Global(Global::PreviousMatch) => {
            app.lints_state.selected = moved(List::Up, app.lints_state.selected, length, 1);
        }
        keymap::Action::Global(Global::Expand) => app.lints_state.expanded = !app.lints_state.expanded,
        keymap::Action::Global(Global::Copy) => {
            let Some(finding) = selected(app) else { return Vec::new() };
            let text = format!("{} {}: {}. {}", finding.id, finding.subject, finding.evidence, finding.advice);
            app.say(Tone::Good, "the finding is on the clipboard");
            return vec![Command::Copy(text)];
        }
        keymap::Action::Global(Global::Back) => {
            let state = &mut app.lints_state;
            if state.expanded {
                state.expanded = false;
            } else if !state.filter.is_empty() {
                state.filter.clear();
            } else {
                return go_back(app);
            }
        }
        _ => {}
    }
    Vec::new()
}

fn open_run(app: &mut App) -> Vec<Command> {
    let run = selected(app)
        .and_then(|finding| finding.runs.first())
        .and_then(|id| app.measured().iter().find(|run| run.run == *id))
        .map(|run| (run.run.clone(), run.sweep.clone(), run.origin));
    let Some((id, name, origin)) = run else {
        app.say(Tone::Warn, "this finding is about the whole sweep, not about one run");
        return Vec::new();
    };
    if origin != Origin::Fractal {
        app.say(Tone::Warn, "an imported result has no journal to replay; Scaling (3) shows its curve");
        return Vec::new();
    }
    let name = name.unwrap_or_else(|| app.measurements.name.clone());
    let journal = app.store_root.join(&name).join(&id).join(fractal_logs::store::JOURNAL_FILE);
    let commands = app.open_run(Target::Journal(journal, Some((name.clone(), id.clone()))), format!("{name}/{id}"));
    app.go(Screen::Live);
    commands
}

/// Sets the filter.
pub(crate) fn set_filter(app: &mut App, text: String) {
    app.lints_state.filter = text;
    app.lints_state.selected = 0;
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    let Some(finding) = selected(app) else { return false };
    match action {
        Action::Page => true,
        Action::Act => place(finding) != Place::Run || !finding.runs.is_empty(),
        Action::Run => !finding.runs.is_empty(),
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    let theme = app.theme;
    let mut spans = vec![Span::styled(format!(" {}  ", app.measurements.name), theme.strong())];
    if app.measurements.runs.ready().is_none() {
        return Line::from(spans);
    }
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let count = app.measurements.findings.iter().filter(|f| f.severity == severity).count();
        let word = severity_word(severity);
        let style = if count > 0 { theme.tone(tone_of(severity)) } else { theme.dim() };
        let plural = if count == 1 { "" } else { "s" };
        spans.push(Span::styled(format!("{} {count} {word}{plural}  ", theme.glyph(word)), style));
    }
    spans.push(Span::styled(format!("over {} runs  ", app.measured().len()), theme.dim()));
    let order = match app.lints_state.order {
        Order::Severity => "severity",
        Order::Lint => "lint",
        Order::About => "subject",
    };
    spans.push(Span::styled(format!("by {order} (s)  "), theme.dim()));
    if !app.lints_state.filter.is_empty() {
        spans.push(Span::styled(format!("/{}  ", app.lints_state.filter), theme.accent()));
        spans.push(Span::styled(format!("{} shown", shown(app).len()), theme.dim()));
    }
    Line::from(spans)
}

const COLUMNS: [Column; 5] = [
    Column::left("lint", 4, 0),
    Column::left("severity", 9, 0),
    Column::left("what", 26, 3),
    Column::left("about", 16, 1),
    Column::left("seen", 30, 0).growing(),
];

/// Draws it.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let unasked = [
        ("No runs are looked at yet.", true),
        ("0  lists sweeps and runs; Enter opens one", false),
        ("   its lints are here as soon as its runs are read", false),
    ];
    let found = shown(app);
    let wide = area.width >= 110;
    let want = if wide { 13 } else { 11 };
    let detail =
        if app.measurements.runs.ready().is_none() || found.is_empty() { 0 } else { want.min(area.height / 2 + 1) };
    let detail = if app.lints_state.expanded && detail > 0 { area.height } else { detail };
    let [list, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(detail)]).areas(area);
    if list.height > 0 {
        let inner = view::pane(frame, list, app, "Lints", "", !app.lints_state.expanded);
        if !view::there(frame, inner, app, &app.measurements.runs, "the runs", &unasked) {
            return;
        }
        if found.is_empty() {
            let filtered = !app.lints_state.filter.is_empty() && !app.measurements.findings.is_empty();
            let lines = match filtered {
                true => [("No finding has these words in it.", true), ("Esc clears the filter", false)],
                false => [
                    ("Nothing found: these runs look sound.", true),
                    ("fractal-run lint says which lints there are; docs/lints/ has a page for each", false),
                ],
            };
            view::empty(frame, inner, app, &lines);
            return;
        }
        let theme = app.theme;
        let selected = app.lints_state.selected.min(found.len() - 1);
        table(frame, inner, app, &COLUMNS, found.len(), Some(selected), |index| {
            let finding = found[index];
            let word = severity_word(finding.severity);
            vec![
                Cell::new(finding.id, theme.strong()),
                Cell::new(format!("{} {word}", theme.glyph(word)), theme.tone(tone_of(finding.severity))),
                Cell::new(find(finding.id).map_or("", |lint| lint.name), theme.text()),
                finding.subject.clone().into(),
                finding.evidence.clone().into(),
            ]
        });
    }
    if let Some(finding) = selected(app) {
        details(frame, below, app, finding);
    }
}

fn details(frame: &mut Frame<'_>, area: Rect, app: &App, finding: &Finding) {
    let theme = app.theme;
    let lint = find(finding.id);
    let title = format!("{} {}: {}", finding.id, lint.map_or("", |lint| lint.name), finding.subject);
    let inner = view::pane(frame, area, app, &title, "Enter explain", app.lints_state.expanded);
    let label = |text: &str| Span::styled(format!("{text:<9}"), theme.dim());
    let key = |action: Action| app.keymap.key_of(keymap::Action::Lints(action), theme.ascii);
    let mut lines = vec![
        Line::from(vec![label("seen"), Span::styled(finding.evidence.clone(), theme.strong())]),
        Line::from(vec![label("advice"), Span::styled(finding.advice.clone(), theme.accent())]),
        Line::from(vec![label("formula"), Span::raw(lint.map_or("", |lint| lint.formula))]),
    ];
    if !finding.numbers.is_empty() {
        let numbers: Vec<String> =
            finding.numbers.iter().map(|(name, value)| format!("{name} {}", figure(*value))).collect();
        lines.push(Line::from(vec![label("numbers"), Span::raw(numbers.join("   "))]));
    }
    let act = if is_possible(app, Action::Act) {
        format!("{}  {}", key(Action::Act), place_text(finding))
    } else {
        String::new()
    };
    if !act.is_empty() {
        lines.push(Line::from(vec![label("do"), Span::styled(act, theme.text())]));
    }
    if !finding.runs.is_empty() {
        let more = if finding.runs.len() > 4 { format!(" and {} more", finding.runs.len() - 4) } else { String::new() };
        let runs: Vec<&str> = finding.runs.iter().take(4).map(String::as_str).collect();
        let word = if finding.runs.len() == 1 { "run" } else { "runs" };
        lines.push(Line::from(vec![label(word), Span::styled(format!("{}{more}", runs.join("  ")), theme.dim())]));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), inner);
}

/// A figure whose unit its name tells.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e6 {
        return format!("{value:.0}");
    }
    if value.abs() >= 1e4 { units::short(value) } else { format!("{value:.3}") }
}
