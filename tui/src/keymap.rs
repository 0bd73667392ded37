//! Keys and what they do: one table, from which `update`, the footer, the help overlay and `fractal-tui keys` read.
//!
//! Each screen keeps its own section beside its code; the sections that hold everywhere are here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::app::Screen;
use crate::view::{compare, events, home, lints, live, scaling, sweep};

/// A key as a person names it: `q`, `?`, `ctrl-c`, `shift-left`, `enter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which.
    pub code: Code,
    /// With Control.
    pub ctrl: bool,
    /// With Shift; never set for characters, whose case says it.
    pub shift: bool,
    /// With Alt.
    pub alt: bool,
}

/// A key without its modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the names on the keys
pub enum Code {
    Char(char),
    Enter,
    Esc,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    PageUp,
    PageDown,
}

const NAMED: [(Code, &str); 14] = [
    (Code::Enter, "enter"),
    (Code::Esc, "esc"),
    (Code::Tab, "tab"),
    (Code::Backspace, "backspace"),
    (Code::Delete, "delete"),
    (Code::Left, "left"),
    (Code::Right, "right"),
    (Code::Up, "up"),
    (Code::Down, "down"),
    (Code::Home, "home"),
    (Code::End, "end"),
    (Code::PageUp, "pgup"),
    (Code::PageDown, "pgdn"),
    (Code::Char(' '), "space"),
];

impl Key {
    /// A key without modifiers.
    pub const fn plain(code: Code) -> Key {
        Key { code, ctrl: false, shift: false, alt: false }
    }

    /// A character.
    pub const fn char(c: char) -> Key {
        Key::plain(Code::Char(c))
    }

    /// With Control.
    pub const fn ctrl(c: char) -> Key {
        Key { ctrl: true, ..Key::char(c) }
    }

    /// As the footer and the help show it: `←` for `left`, `^C` for `ctrl-c`.
    pub fn label(self, ascii: bool) -> String {
        let arrow = match self.code {
            Code::Left => Some("←"),
            Code::Right => Some("→"),
            Code::Up => Some("↑"),
            Code::Down => Some("↓"),
            _ => None,
        };
        let base = match self.code {
            _ if arrow.is_some() && !ascii => arrow.unwrap_or_default().to_string(),
            Code::Char(' ') => "Space".into(),
            Code::Char(c) if self.ctrl => return format!("^{}", c.to_ascii_uppercase()),
            Code::Char(c) => c.to_string(),
            code => {
                let name = NAMED.iter().find(|(other, _)| *other == code).map_or("", |(_, name)| name);
                let mut letters = name.chars();
                letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
            }
        };
        let shift = if self.shift { if ascii { "Shift-" } else { "⇧" } } else { "" };
        let alt = if self.alt { "Alt-" } else { "" };
        format!("{alt}{shift}{base}")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (set, word) in [(self.ctrl, "ctrl-"), (self.alt, "alt-"), (self.shift, "shift-")] {
            if set {
                f.write_str(word)?;
            }
        }
        match (self.code, NAMED.iter().find(|(code, _)| *code == self.code)) {
            (_, Some((_, name))) => f.write_str(name),
            (Code::Char(c), None) => write!(f, "{c}"),
            (code, None) => write!(f, "{code:?}"),
        }
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let mut key = Key::char(' ');
        let mut rest = text;
        loop {
            let (flag, after) = match rest.split_once('-') {
                Some(("ctrl", after)) if !after.is_empty() => (&mut key.ctrl, after),
                Some(("shift", after)) if !after.is_empty() => (&mut key.shift, after),
                Some(("alt", after)) if !after.is_empty() => (&mut key.alt, after),
                _ => break,
            };
            *flag = true;
            rest = after;
        }
        let mut letters = rest.chars();
        key.code = match (NAMED.iter().find(|(_, name)| *name == rest), letters.next(), letters.next()) {
            (Some((code, _)), _, _) => *code,
            (None, Some(c), None) => Code::Char(c),
            _ => {
                let names: Vec<&str> = NAMED.iter().map(|(_, name)| *name).collect();
                return Err(format!("'{text}' is no key: one character, or {}", names.join(", ")));
            }
        };
        Ok(key)
    }
}

/// Where a binding holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the screens
pub enum Scope {
    Everywhere,
    Lists,
    Home,
    Sweep,
    Live,
    Scaling,
    Compare,
    Events,
    Lints,
}

impl Scope {
    /// Its heading in the help.
    pub fn title(self) -> &'static str {
        match self {
            Scope::Everywhere => "Everywhere",
            Scope::Lists => "Lists and tables",
            Scope::Home => "Store",
            Scope::Sweep => "Sweep",
            Scope::Live => "Live and replay",
            Scope::Scaling => "Scaling",
            Scope::Compare => "Compare",
            Scope::Events => "Events",
            Scope::Lints => "Lints",
        }
    }

    /// The section of a screen.
    pub fn of(screen: Screen) -> Scope {
        match screen {
            Screen::Home => Scope::Home,
            Screen::Sweep => Scope::Sweep,
            Screen::Live => Scope::Live,
            Screen::Scaling => Scope::Scaling,
            Screen::Compare => Scope::Compare,
            Screen::Events => Scope::Events,
            Screen::Lints => Scope::Lints,
        }
    }
}

/// What a key does. Each screen has actions of its own; the others hold wherever they make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the screens' actions
pub enum Action {
    Global(Global),
    List(List),
    Home(home::Action),
    Sweep(sweep::Action),
    Live(live::Action),
    Scaling(scaling::Action),
    Compare(compare::Action),
    Events(events::Action),
    Lints(lints::Action),
}

/// Actions that hold everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Global {
    Help,
    Quit,
    QuitKeep,
    Go(Screen),
    NextPane,
    PreviousPane,
    Expand,
    ZoomIn,
    ZoomOut,
    Filter,
    NextMatch,
    PreviousMatch,
    Command,
    Back,
    Export,
    Copy,
    Theme,
    Settings,
    Mouse,
    Redraw,
    Suspend,
}

/// Moving in a list, a table or a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum List {
    Up,
    Down,
    Left,
    Right,
    Top,
    Bottom,
    PageUp,
    PageDown,
    Open,
    Mark,
    Sort,
    Reverse,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Its name in the config file: `live.play`.
    pub name: &'static str,
    /// Keys, as [`Key`] reads them.
    pub keys: &'static [&'static str],
    /// What they do.
    pub action: Action,
    /// A word for the footer; empty: not shown there.
    pub short: &'static str,
    /// One line for the help.
    pub help: &'static str,
    /// It acts on a run or sweep: confirmed where it destroys, refused with `--read-only`.
    pub acts: bool,
}

impl Binding {
    /// A binding that only looks.
    pub const fn new(
        name: &'static str,
        keys: &'static [&'static str],
        action: Action,
        short: &'static str,
        help: &'static str,
    ) -> Binding {
        Binding { name, keys, action, short, help, acts: false }
    }

    /// The same, acting on a run or sweep.
    pub const fn acting(self) -> Binding {
        Binding { acts: true, ..self }
    }
}

/// A section of the table, one binding a line: its name, its keys, what they do, a word for the footer, the line of the
/// help, and `acting` if it acts on a run or sweep.
macro_rules! bindings {
    ($($name:literal $keys:tt $scope:ident($action:expr), $short:literal, $help:literal $(, $acting:ident)?;)*) => {
        &[$(
            $crate::keymap::Binding::new($name, &$keys, $crate::keymap::Action::$scope($action), $short, $help)
                $(.$acting())?
        ),*]
    };
}
pub(crate) use bindings;

const EVERYWHERE: &[Binding] = bindings! {
    "help" ["?"] Global(Global::Help), "help", "this help; type to search it";
    "quit" ["q"] Global(Global::Quit), "quit", "quit; runs go on without a viewer";
    "quit-keep" ["Q"] Global(Global::QuitKeep), "", "quit and leave the last frame on the terminal";
    "go.store" ["0"] Global(Global::Go(Screen::Home)), "", "all sweeps and runs of the store";
    "go.sweep" ["1"] Global(Global::Go(Screen::Sweep)), "", "the sweep: its grid, queue and cells";
    "go.live" ["2"] Global(Global::Go(Screen::Live)), "", "the run: live, or its replay";
    "go.scaling" ["3"] Global(Global::Go(Screen::Scaling)), "", "how it scales, and what limits it";
    "go.compare" ["4"] Global(Global::Go(Screen::Compare)), "", "two runs side by side";
    "go.events" ["5"] Global(Global::Go(Screen::Events)), "", "every event of the run";
    "go.lints" ["6"] Global(Global::Go(Screen::Lints)), "", "what is wrong, wasteful or doubtful";
    "pane.next" ["tab"] Global(Global::NextPane), "pane", "next pane";
    "pane.previous" ["shift-tab"] Global(Global::PreviousPane), "", "previous pane";
    "pane.expand" ["e"] Global(Global::Expand), "expand", "the pane on the whole screen, and back";
    "zoom.in" ["+", "="] Global(Global::ZoomIn), "", "a narrower stretch of time";
    "zoom.out" ["-"] Global(Global::ZoomOut), "", "a wider stretch of time";
    "filter" ["/"] Global(Global::Filter), "filter", "filter or search";
    "filter.next" ["n"] Global(Global::NextMatch), "", "next match";
    "filter.previous" ["N"] Global(Global::PreviousMatch), "", "previous match";
    "command" [":"] Global(Global::Command), "command", "a command by its name (:help lists them)";
    "back" ["esc", "backspace"] Global(Global::Back), "", "back out: overlay, filter, replay, screen; never quits";
    "export" ["x"] Global(Global::Export), "export", "write what is shown to a file";
    "copy" ["y"] Global(Global::Copy), "", "copy the selection to the clipboard (OSC 52)";
    "theme" ["t"] Global(Global::Theme), "", "next theme: dark, light, high contrast, no colour";
    "settings" [","] Global(Global::Settings), "", "settings: theme, units, symbols, mouse";
    "mouse" ["M"] Global(Global::Mouse), "", "mouse on or off (off leaves text selection to the terminal)";
    "redraw" ["ctrl-l"] Global(Global::Redraw), "", "draw everything anew";
    "suspend" ["ctrl-z"] Global(Global::Suspend), "", "suspend; fg brings it back";
    "quit-now" ["ctrl-c"] Global(Global::Quit), "", "quit";
};

const LISTS: &[Binding] = bindings! {
    "up" ["up", "k"] List(List::Up), "", "up";
    "down" ["down", "j"] List(List::Down), "", "down";
    "left" ["left", "h"] List(List::Left), "", "left; in a tree: close";
    "right" ["right", "l"] List(List::Right), "", "right; in a tree: open";
    "top" ["g", "home"] List(List::Top), "", "first (gg works too)";
    "bottom" ["G", "end"] List(List::Bottom), "", "last";
    "page-up" ["pgup", "ctrl-u"] List(List::PageUp), "", "a page up";
    "page-down" ["pgdn", "ctrl-d"] List(List::PageDown), "", "a page down";
    "open" ["enter"] List(List::Open), "", "open, or show more of it";
    "mark" ["space"] List(List::Mark), "", "mark as A, then B, to compare";
    "sort" ["s"] List(List::Sort), "", "sort by the next column";
    "reverse" ["S"] List(List::Reverse), "", "sort the other way round";
};

/// The table, section by section, in the order of the help.
pub const SECTIONS: [(Scope, &[Binding]); 9] = [
    (Scope::Everywhere, EVERYWHERE),
    (Scope::Lists, LISTS),
    (Scope::Home, home::KEYS),
    (Scope::Sweep, sweep::KEYS),
    (Scope::Live, live::KEYS),
    (Scope::Scaling, scaling::KEYS),
    (Scope::Compare, compare::KEYS),
    (Scope::Events, events::KEYS),
    (Scope::Lints, lints::KEYS),
];

/// The table with its keys read, and changed as the config asks.
#[derive(Clone, Debug)]
pub struct Keymap {
    lines: Vec<(Scope, Vec<Key>, &'static Binding)>,
}

impl Keymap {
    /// The table, with the keys of some bindings (by name) replaced.
    ///
    /// # Errors
    /// A name that no binding has, a text that is no key, or a key twice in one section.
    pub fn new(changes: &BTreeMap<String, Vec<String>>) -> Result<Keymap, String> {
        let known = |name: &String| SECTIONS.iter().flat_map(|(_, lines)| *lines).any(|line| line.name == name);
        if let Some(name) = changes.keys().find(|name| !known(name)) {
            return Err(format!("[keys] names '{name}', which is no action: `fractal-tui keys` lists them"));
        }
        let mut lines = Vec::new();
        for (scope, bindings) in SECTIONS {
            let mut seen: BTreeMap<Key, &str> = BTreeMap::new();
            for binding in bindings {
                let keys: Vec<Key> = match changes.get(binding.name) {
                    Some(texts) => texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
                    None => binding.keys.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
                };
                for key in &keys {
                    if let Some(other) = seen.insert(*key, binding.name) {
                        return Err(format!("the key {key} means both '{other}' and '{}'", binding.name));
                    }
                }
                lines.push((scope, keys, binding));
            }
        }
        Ok(Keymap { lines })
    }

    /// What `key` does on `screen`: the screen's own section first, then lists, then everywhere.
    pub fn find(&self, screen: Screen, key: Key) -> Option<&'static Binding> {
        [Scope::of(screen), Scope::Lists, Scope::Everywhere].into_iter().find_map(|scope| {
            let fits = |line: &&(Scope, Vec<Key>, &'static Binding)| line.0 == scope && line.1.contains(&key);
            self.lines.iter().find(fits).map(|line| line.2)
        })
    }

    /// The bindings of a section with their keys.
    pub fn section(&self, wanted: Scope) -> impl Iterator<Item = (&[Key], &'static Binding)> {
        self.lines.iter().filter(move |line| line.0 == wanted).map(|line| (line.1.as_slice(), line.2))
    }

    /// The first key of an action, as shown to people; empty if it has none.
    pub fn key_of(&self, action: Action, ascii: bool) -> String {
        let line = self.lines.iter().find(|line| line.2.action == action);
        line.and_then(|line| line.1.first()).map_or_else(String::new, |key| key.label(ascii))
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (scope, _) in SECTIONS {
            text += &format!("### {}\n\n| key | action | name |\n|---|---|---|\n", scope.title());
            for (keys, binding) in self.section(scope) {
                let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
                text += &format!("| {} | {} | {} |\n", keys.join(" ").replace('|', "\\|"), binding.help, binding.name);
            }
            text.push('\n');
        }
        text
    }
}

impl Default for Keymap {
    fn default() -> Self {
        Keymap::new(&BTreeMap::new()).expect("the table itself is sound: tests/keymap.rs")
    }
}
