//! [`App`]: everything a screen knows.

use std::path::PathBuf;
use std::sync::Arc;

use fractal_sweeps::analysis::records::Selection;
use fractal_sweeps::analysis::{Finding, Measured, lint};
use fractal_sweeps::sweep::SweepStatus;

use crate::config::Config;
use crate::keymap::Keymap;
use crate::message::{Command, StoreName, Target};
use crate::run::OpenRun;
use crate::theme::{Theme, Tone};
use crate::view::overlay::Overlay;
use crate::view::{compare, events, home, lints, live, scaling, sweep};

/// A screen; each has a digit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Screen {
    /// All sweeps and runs.
    #[default]
    Home,
    /// One sweep.
    Sweep,
    /// One run.
    Live,
    /// How a sweep scales.
    Scaling,
    /// Two runs.
    Compare,
    /// The events of a run.
    Events,
    /// What is wrong.
    Lints,
}

impl Screen {
    /// All, by digit.
    pub const ALL: [Screen; 7] =
        [Screen::Home, Screen::Sweep, Screen::Live, Screen::Scaling, Screen::Compare, Screen::Events, Screen::Lints];

    /// Its digit.
    pub fn digit(self) -> usize {
        Screen::ALL.iter().position(|other| *other == self).unwrap_or(0)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Screen::Home => "Store",
            Screen::Sweep => "Sweep",
            Screen::Live => "Live",
            Screen::Scaling => "Scaling",
            Screen::Compare => "Compare",
            Screen::Events => "Events",
            Screen::Lints => "Lints",
        }
    }
}

/// Something that was asked for and may not be there yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Loadable<T> {
    /// Nobody asked.
    #[default]
    Unasked,
    /// Asked at this time, milliseconds since the Unix epoch.
    Loading(u64),
    /// There.
    Ready(T),
    /// Not to be had, and why.
    Failed(String),
}

impl<T> Loadable<T> {
    /// It, if it is there.
    pub fn ready(&self) -> Option<&T> {
        match self {
            Loadable::Ready(value) => Some(value),
            _ => None,
        }
    }
}

/// The sweep that is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSweep {
    /// Its name, its folder in the store.
    pub name: String,
    /// As its runner, or else its journal, has it; half a second old at most while it runs.
    pub status: Loadable<Box<SweepStatus>>,
    /// Its current run is opened in Live as soon as it begins, one after the other.
    pub follow: bool,
}

/// The runs that Scaling, Compare and Lints are about.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// The sweep's or run's name.
    pub name: String,
    /// Its runs.
    pub runs: Loadable<Arc<Selection>>,
    /// What the lints say of them, worst first.
    pub findings: Vec<Finding>,
}

/// A line to the person, instead of the footer for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Until when, milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// How good the news is.
    pub tone: Tone,
    /// The news.
    pub text: String,
}

/// How long a notice stays.
const NOTICE_MS: u64 = 6_000;

/// Everything a screen knows.
#[derive(Clone, Debug)]
pub struct App {
    /// Wall clock, milliseconds since the Unix epoch. It comes by message; nobody reads a clock here.
    pub now_ms: u64,
    /// Seconds by which clocks on the wall are ahead of UTC here.
    pub utc_offset_s: i32,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Settings in force.
    pub config: Config,
    /// Settings as they are kept: without what flags of this start say.
    pub kept: Config,
    /// Colours and symbols: the settings', or none if the environment forbids colours.
    pub theme: Theme,
    /// `NO_COLOR` (or a dumb terminal) forbids colours.
    pub colourless: bool,
    /// Keys.
    pub keymap: Keymap,
    /// The screen shown.
    pub screen: Screen,
    /// Screens to go back to.
    pub trail: Vec<Screen>,
    /// What lies over it, topmost last.
    pub overlays: Vec<Overlay>,
    /// A line to the person.
    pub notice: Option<Notice>,
    /// Folder of the store.
    pub store_root: PathBuf,
    /// What the store holds.
    pub store: Loadable<Vec<StoreName>>,
    /// The run that is looked at.
    pub run: Option<OpenRun>,
    /// Under which number its news come.
    pub run_number: u64,
    /// The sweep that is looked at.
    pub sweep: Option<OpenSweep>,
    /// A sweep that was told to start, and when, until its runner answers.
    pub starting: Option<(String, u64)>,
    /// The runs that are analysed.
    pub measurements: Measurements,
    /// Mouse events are on.
    pub mouse: bool,
    /// Something visible changed since the last frame.
    pub changed: bool,
    /// State of the store's list.
    pub home_state: home::State,
    /// State of the sweep's screen.
    pub sweep_state: sweep::State,
    /// State of the run's screen.
    pub live_state: live::State,
    /// State of the scaling screen.
    pub scaling_state: scaling::State,
    /// State of the comparison.
    pub compare_state: compare::State,
    /// State of the events' list.
    pub events_state: events::State,
    /// State of the lints' list.
    pub lints_state: lints::State,
}

impl App {
    /// An app over a store, on its first screen.
    pub fn new(config: Config, keymap: Keymap, store_root: PathBuf, now_ms: u64) -> App {
        App {
            now_ms,
            utc_offset_s: 0,
            size: (80, 24),
            theme: config.theme(),
            colourless: false,
            mouse: config.mouse,
            kept: config.clone(),
            config,
            keymap,
            screen: Screen::Home,
            trail: Vec::new(),
            overlays: Vec::new(),
            notice: None,
            store_root,
            store: Loadable::Unasked,
            run: None,
            run_number: 0,
            sweep: None,
            starting: None,
            measurements: Measurements::default(),
            changed: true,
            home_state: home::State::default(),
            sweep_state: sweep::State::default(),
            live_state: live::State::default(),
            scaling_state: scaling::State::default(),
            compare_state: compare::State::default(),
            events_state: events::State::default(),
            lints_state: lints::State::default(),
        }
    }

    /// Commands to give once, when the terminal is there.
    pub fn start(&mut self) -> Vec<Command> {
        self.store = Loadable::Loading(self.now_ms);
        let mut commands = vec![Command::WatchStore(true)];
        if self.mouse {
            commands.push(Command::Mouse(true));
        }
        commands
    }

    /// Changes a setting, now and for later.
    pub fn set(&mut self, change: impl Fn(&mut Config)) -> Command {
        change(&mut self.config);
        change(&mut self.kept);
        self.apply_theme();
        Command::Save(Box::new(self.kept.clone()))
    }

    /// Forbids colours, whatever the settings say.
    pub fn without_colours(&mut self) {
        self.colourless = true;
        self.apply_theme();
    }

    /// Takes colours and symbols from the settings.
    pub fn apply_theme(&mut self) {
        self.theme = self.config.theme();
        if self.colourless {
            self.theme.palette = crate::theme::Palette::None;
        }
        self.changed = true;
    }

    /// Shows a screen, remembering the way back.
    pub fn go(&mut self, screen: Screen) {
        if screen != self.screen {
            self.trail.retain(|other| *other != screen);
            self.trail.push(self.screen);
            self.screen = screen;
        }
        self.changed = true;
    }

    /// Tells the person something.
    pub fn say(&mut self, tone: Tone, text: impl Into<String>) {
        self.notice = Some(Notice { until_ms: self.now_ms + NOTICE_MS, tone, text: text.into() });
        self.changed = true;
    }

    /// Whether commands that act on runs are refused.
    pub fn is_read_only(&self) -> bool {
        self.config.read_only
    }

    /// How often the screen changes by itself, milliseconds between frames; `None`: not at all. A viewer of a running run
    /// shares its machine: four frames a second are enough to show that it lives.
    pub fn pace_ms(&self) -> Option<u64> {
        let playing = self.run.as_ref().is_some_and(|run| run.playing) && self.screen == Screen::Live;
        if playing { Some(50) } else { self.is_animated().then_some(250) }
    }

    /// Something on the screen moves by itself.
    pub fn is_animated(&self) -> bool {
        let waiting = matches!(self.store, Loadable::Loading(_)) && self.screen == Screen::Home
            || self.starting.is_some()
            || matches!(self.measurements.runs, Loadable::Loading(_));
        let run = self.run.as_ref().is_some_and(|run| run.playing || run.loading || run.is_live());
        let sweep = self.sweep.as_ref().is_some_and(|sweep| {
            matches!(sweep.status, Loadable::Loading(_)) || sweep.status.ready().is_some_and(|status| status.running)
        });
        waiting
            || (run && matches!(self.screen, Screen::Live | Screen::Events))
            || (sweep && self.screen == Screen::Sweep)
    }

    /// Opens a run: its events come by message. Its measurements follow when it is read.
    pub fn open_run(&mut self, target: Target, title: impl Into<String>) -> Vec<Command> {
        self.run_number += 1;
        let path = match &target {
            Target::Journal(path, _) => Some(path.clone()),
            Target::Sample => None,
        };
        let mut run = OpenRun::new(title, path, self.now_ms);
        if let Target::Journal(_, stored) = &target {
            run.stored = stored.clone();
        }
        self.run = Some(run);
        self.live_state.run_changed();
        self.events_state = events::State::default();
        self.changed = true;
        vec![Command::Follow(self.run_number, target)]
    }

    /// Opens a sweep (or a name of the store): its status and its measurements come by message.
    pub fn open_sweep(&mut self, name: &str, follow: bool) -> Vec<Command> {
        if self.sweep.as_ref().is_some_and(|sweep| sweep.name == name) {
            if let Some(sweep) = &mut self.sweep {
                sweep.follow |= follow;
            }
            return Vec::new();
        }
        self.sweep = Some(OpenSweep { name: name.into(), status: Loadable::Loading(self.now_ms), follow });
        self.sweep_state = sweep::State::default();
        let mut commands = vec![Command::WatchSweep(Some(name.into()))];
        commands.extend(self.load_runs(name));
        commands
    }

    /// Has the runs of a name in the store measured, for Scaling, Compare and Lints.
    pub fn load_runs(&mut self, name: &str) -> Vec<Command> {
        if self.measurements.name != name {
            self.scaling_state = scaling::State::default();
            self.lints_state = lints::State::default();
            self.measurements.findings.clear();
        }
        self.measurements.name = name.into();
        self.measurements.runs = Loadable::Loading(self.now_ms);
        self.changed = true;
        vec![Command::LoadRuns(name.into())]
    }

    /// Takes measured runs in.
    pub fn take_runs(&mut self, name: String, runs: Result<Arc<Selection>, String>) {
        if name != self.measurements.name {
            return;
        }
        self.measurements.runs = match runs {
            Ok(selection) => {
                self.measurements.findings = lint(&selection.runs);
                Loadable::Ready(selection)
            }
            Err(reason) => Loadable::Failed(reason),
        };
        scaling::refresh(self);
        sweep::refresh(self);
        self.changed = true;
    }

    /// Measures the open run alone, where no store has its siblings.
    pub fn measure_open_run(&mut self) {
        let Some(run) = &self.run else { return };
        if run.stored.is_some() || run.recording.is_empty() {
            return;
        }
        let measured = Measured::from_state(run.recording.latest());
        let selection =
            Selection { name: run.title.clone(), is_sweep: false, runs: vec![measured], damaged: Vec::new() };
        self.measurements.name = run.title.clone();
        let name = run.title.clone();
        self.take_runs(name, Ok(Arc::new(selection)));
    }

    /// The runs that are analysed; empty while there are none.
    pub fn measured(&self) -> &[Measured] {
        self.measurements.runs.ready().map_or(&[], |selection| &selection.runs)
    }
}
