//! `fractal-tui`: watches and replays runs, and steers sweeps.

mod open;
mod picture;
mod table;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use fractal_tui::config::Config;
use fractal_tui::keymap::Keymap;
use fractal_tui::theme::Palette;
use fractal_tui::{App, terminal};

/// Watches runs as they happen, replays them, and steers sweeps. A viewer only: quitting never touches a run.
///
/// Without an argument it opens the store. When stdout is no terminal, it prints the store's status and ends.
#[derive(Debug, Parser)]
#[command(name = "fractal-tui", version, max_term_width = 120, args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:\n  \
    fractal-tui                                        the store: sweeps and runs, newest first\n  \
    fractal-tui smoke                                  a sweep of the store, or a shipped grid to start\n  \
    fractal-tui my-grid.toml                           the form for a grid of your own\n  \
    fractal-tui logs/samples/lidar-2-workers.jsonl     a saved journal\n  \
    fractal-tui replay latest --speed 4\n  \
    fractal-tui replay FILE --at 12m --snapshot 120x40 > screen.txt\n\n\
    Keys: ? shows them all, q quits, digits switch screens.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Sub>,
    /// A sweep's name, a grid's TOML, a run's id, or a journal
    #[arg(value_name = "SWEEP|RUN|FILE")]
    what: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Clone, Debug, clap::Args)]
struct How {
    /// Folder of all runs
    #[arg(long, env = "FRACTAL_STORE", value_name = "DIR", default_value = "runs", global = true)]
    store: PathBuf,
    /// Refuse everything that acts on runs
    #[arg(long, global = true)]
    read_only: bool,
    /// Colours
    #[arg(long, value_name = "NAME", global = true)]
    theme: Option<ThemeName>,
    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    color: When,
    /// Only ASCII symbols
    #[arg(long, global = true)]
    ascii: bool,
    /// Mouse on from the start
    #[arg(long, global = true)]
    mouse: bool,
    /// Another settings file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ThemeName {
    Dark,
    Light,
    HighContrast,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Replay a run from its start
    Replay(picture::ReplayArgs),
    /// Settings: print them, say where they are kept, what can be set
    Config {
        /// What to print
        what: ConfigWhat,
    },
    /// Print the key table as Markdown
    Keys,
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConfigWhat {
    /// The settings in force, as TOML
    Print,
    /// Where the file is
    Path,
    /// JSON Schema of the file
    Schema,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            writeln!(io::stderr(), "error: {error:#}").ok();
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let config = settings(&cli.how)?;
    match cli.command {
        Some(Sub::Config { what }) => {
            let path = cli.how.config.clone().or_else(Config::path);
            match what {
                ConfigWhat::Print => {
                    let mut config = config;
                    with_flags(&mut config, &cli.how);
                    print(&config.to_toml())?;
                }
                ConfigWhat::Path => {
                    let path = path.context("there is no home folder to keep settings in")?;
                    print(&format!("{}\n", path.display()))?;
                }
                ConfigWhat::Schema => print(&format!("{}\n", serde_json::to_string_pretty(&Config::schema())?))?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Sub::Keys) => print(&keymap(&config)?.markdown()).map(|()| ExitCode::SUCCESS),
        Some(Sub::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "fractal-tui", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Some(Sub::Man) => {
            clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Sub::Replay(args)) => {
            let mut app = app(&cli.how, config)?;
            let commands = picture::prepare(&mut app, &args)?;
            if args.is_picture() {
                return picture::print(app, &args).map(|()| ExitCode::SUCCESS);
            }
            watch(app, commands)
        }
        None => {
            let mut app = app(&cli.how, config)?;
            let commands = match &cli.what {
                Some(what) => open::open(&mut app, what)?,
                None => Vec::new(),
            };
            watch(app, commands)
        }
    }
}

/// Shows the app on the terminal; where there is none, prints the store's status.
fn watch(app: App, commands: Vec<fractal_tui::Command>) -> Result<ExitCode> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return table::print(&app).map(|()| ExitCode::SUCCESS);
    }
    terminal::run(app, commands).map(ExitCode::from).context("the terminal cannot be used")
}

fn app(how: &How, config: Config) -> Result<App> {
    let keymap = keymap(&config)?;
    let mut app = App::new(config, keymap, how.store.clone(), terminal::now_ms());
    // Flags hold for this start only: they are not among the settings that are kept.
    with_flags(&mut app.config, how);
    app.mouse = app.config.mouse;
    app.apply_theme();
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    let colourless = match how.color {
        When::Always => false,
        When::Never => true,
        When::Auto => set("NO_COLOR") || dumb,
    };
    if colourless {
        app.without_colours();
    }
    Ok(app)
}

fn keymap(config: &Config) -> Result<Keymap> {
    Keymap::new(&config.keys).map_err(anyhow::Error::msg)
}

fn settings(how: &How) -> Result<Config> {
    let path = how.config.clone().or_else(Config::path);
    Ok(Config::load(path.as_deref(), std::env::vars())?)
}

fn with_flags(config: &mut Config, how: &How) {
    config.read_only |= how.read_only;
    config.ascii |= how.ascii;
    config.mouse |= how.mouse;
    match how.theme {
        Some(ThemeName::Dark) => config.theme = Palette::Dark,
        Some(ThemeName::Light) => config.theme = Palette::Light,
        Some(ThemeName::HighContrast) => config.theme = Palette::HighContrast,
        Some(ThemeName::None) => config.theme = Palette::None,
        None => {}
    }
}

/// Writes to stdout; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}
