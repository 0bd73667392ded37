//! The command line: `:` and a command by its name.

use crate::app::{App, Screen};
use crate::keymap::{Action, Global};
use crate::message::{Command, Target};
use crate::theme::{Palette, Tone};
use crate::update::act;
use crate::view;
use crate::view::overlay::Overlay;

/// A command: its name, what it takes, one line of help.
struct Spec {
    name: &'static str,
    takes: &'static str,
    help: &'static str,
}

const COMMANDS: &[Spec] = &[
    Spec { name: "help", takes: "[WORDS]", help: "the keys and commands" },
    Spec { name: "quit", takes: "", help: "quit; runs go on" },
    Spec { name: "open", takes: "RUN|SWEEP|FILE|ARCHIVE", help: "open a run, a sweep, a journal or an archive" },
    Spec { name: "goto", takes: "12m|17:52|50%|end", help: "go to a moment of the replay" },
    Spec { name: "speed", takes: "0.5|1|10", help: "seconds of the run in a second of the replay" },
    Spec { name: "live", takes: "", help: "back to the latest event" },
    Spec { name: "filter", takes: "[WORDS]", help: "filter the screen shown" },
    Spec { name: "export", takes: "[FORMAT]", help: "write what is shown: text, svg, perfetto, csv, …" },
    Spec { name: "theme", takes: "dark|light|high-contrast|none", help: "other colours" },
    Spec { name: "ascii", takes: "", help: "ASCII symbols, or not" },
    Spec { name: "units", takes: "binary|decimal", help: "GiB or GB" },
    Spec { name: "mouse", takes: "", help: "mouse on or off" },
    Spec { name: "smoke", takes: "", help: "start the smoke sweep" },
    Spec { name: "sample", takes: "", help: "replay the recorded run that comes with the program" },
    Spec { name: "store", takes: "", help: "the list of sweeps and runs" },
    Spec { name: "reload", takes: "", help: "measure the runs again" },
];

/// (usage, help) of all commands.
pub fn commands() -> impl Iterator<Item = (String, &'static str)> {
    COMMANDS.iter().map(|spec| (format!("{} {}", spec.name, spec.takes).trim().to_string(), spec.help))
}

/// What a half-typed command may become.
pub(super) fn hint(text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or("");
    let fitting: Vec<&Spec> = COMMANDS.iter().filter(|spec| spec.name.starts_with(word)).collect();
    match fitting.as_slice() {
        [] => "no such command; :help lists them".into(),
        [one] => format!("{} {}  {}", one.name, one.takes, one.help),
        many if word.is_empty() => format!("{} …", many.iter().take(8).map(|s| s.name).collect::<Vec<_>>().join(" ")),
        many => many.iter().map(|spec| spec.name).collect::<Vec<_>>().join(" "),
    }
}

/// The line with its command completed, if only one fits.
pub(super) fn completed(text: &str) -> String {
    let mut fitting = COMMANDS.iter().filter(|spec| spec.name.starts_with(text));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => format!("{} ", one.name),
        _ => text.to_string(),
    }
}

/// Runs a line; the prompt closes if it can be run.
pub(super) fn run(app: &mut App, line: &str) -> Result<Vec<Command>, String> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    if word.is_empty() {
        app.overlays.pop();
        return Ok(Vec::new());
    }
    let mut fitting = COMMANDS.iter().filter(|spec| spec.name.starts_with(word));
    let spec = match (COMMANDS.iter().find(|spec| spec.name == word), fitting.next(), fitting.next()) {
        (Some(exact), ..) => exact,
        (None, Some(one), None) => one,
        (None, Some(_), Some(_)) => return Err(format!("'{word}' could be several commands")),
        (None, None, _) => return Err(format!("no command '{word}'; :help lists them")),
    };
    let done = |app: &mut App, commands: Vec<Command>| {
        app.overlays.pop();
        Ok(commands)
    };
    match spec.name {
        "help" => {
            app.overlays.pop();
            app.overlays.push(Overlay::Help { filter: rest.into(), scroll: 0 });
            Ok(Vec::new())
        }
        "quit" => Ok(vec![Command::Quit { keep: false }]),
        "open" => {
            let commands = open(app, rest)?;
            done(app, commands)
        }
        "goto" => {
            view::live::go_to(app, rest)?;
            app.go(Screen::Live);
            done(app, Vec::new())
        }
        "speed" => {
            let speed: f64 =
                rest.trim_end_matches('x').parse().map_err(|_| format!("'{rest}' is no speed: 0.5, 1, 10"))?;
            if !(0.01..=100_000.0).contains(&speed) {
                return Err("a speed is between 0.01 and 100000".into());
            }
            let run = app.run.as_mut().ok_or("no run is open")?;
            run.speed = speed;
            done(app, Vec::new())
        }
        "live" => {
            app.run.as_mut().ok_or("no run is open")?.go_live();
            done(app, Vec::new())
        }
        "filter" => {
            view::set_filter(app, rest.into());
            done(app, Vec::new())
        }
        "export" if rest.is_empty() => {
            app.overlays.pop();
            Ok(act(app, Action::Global(Global::Export)))
        }
        "export" => {
            let commands = super::export::by_name(app, rest)?;
            done(app, commands)
        }
        "theme" => {
            let names = Palette::ALL.map(Palette::name).join(", ");
            let theme = Palette::named(rest).ok_or(format!("themes are {names}"))?;
            let save = app.set(|config| config.theme = theme);
            done(app, vec![save])
        }
        "ascii" => {
            let ascii = !app.config.ascii;
            let save = app.set(|config| config.ascii = ascii);
            done(app, vec![save])
        }
        "units" => {
            let decimal = match rest {
                "binary" => false,
                "decimal" => true,
                _ => return Err("units are binary or decimal".into()),
            };
            let save = app.set(|config| config.decimal_bytes = decimal);
            done(app, vec![save])
        }
        "mouse" => {
            app.overlays.pop();
            Ok(act(app, Action::Global(Global::Mouse)))
        }
        "smoke" if app.is_read_only() => Err("this viewer is read-only".into()),
        "smoke" => {
            app.overlays.pop();
            Ok(view::home::start_smoke(app))
        }
        "sample" => {
            let commands = app.open_run(Target::Sample, "recorded sample");
            view::live::play_from_start(app);
            app.go(Screen::Live);
            done(app, commands)
        }
        "store" => {
            app.go(Screen::Home);
            done(app, Vec::new())
        }
        "reload" => {
            let name = app.measurements.name.clone();
            if name.is_empty() {
                return Err("no runs are measured yet: open a sweep or a run".into());
            }
            let commands = app.load_runs(&name);
            done(app, commands)
        }
        other => Err(format!("'{other}' is not carried out")),
    }
}

fn open(app: &mut App, wanted: &str) -> Result<Vec<Command>, String> {
    if wanted.is_empty() {
        return Err(
            "open what? a run's id or its beginning, a sweep's name, or the path of a journal or an archive".into()
        );
    }
    let found = app.store.ready().and_then(|names| {
        let sweep = names.iter().find(|name| name.name == wanted).map(|name| (name.name.clone(), None));
        sweep.or_else(|| {
            let runs = || names.iter().flat_map(|name| name.runs.iter().map(move |run| (name, run)));
            let latest = (wanted == "latest").then(|| runs().max_by_key(|(_, run)| run.started_ms)).flatten();
            latest
                .or_else(|| runs().find(|(_, run)| run.id.starts_with(wanted)))
                .map(|(name, run)| (name.name.clone(), Some(run.clone())))
        })
    });
    match found {
        Some((name, Some(run))) => Ok(view::home::open_run(app, &name, &run)),
        Some((name, None)) => {
            let commands = app.open_sweep(&name, true);
            app.go(Screen::Sweep);
            Ok(commands)
        }
        None if wanted.contains(['/', '.']) => {
            let commands = app.open_run(Target::Journal(wanted.into(), None), wanted);
            app.go(Screen::Live);
            Ok(commands)
        }
        None => {
            app.say(Tone::Warn, "");
            Err(format!("nothing in the store begins with '{wanted}'"))
        }
    }
}
