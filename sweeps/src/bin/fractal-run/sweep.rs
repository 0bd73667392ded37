//! `fractal-run sweep GRID`: a grid's cells, run in a good order, resumed after anything.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use fractal_sweeps::control::ControlSocket;
use fractal_sweeps::filter::Filter;
use fractal_sweeps::grid::{self, Axis, Cell, Grid, Retries, SHIPPED, Settings};
use fractal_sweeps::order::Order;
use fractal_sweeps::run::{LocalRunner, Options};
use fractal_sweeps::runner::Urgency;
use fractal_sweeps::sweep::{self, Desk, Rerun, Sweep, SweepState, Wish};

use crate::sweep_screen::{self, Screen};
use crate::{detach, sample_set, status, sweep_plan};

/// Run a grid of cells: resumes, repeats, predicts, and never loses one
///
/// A grid is a TOML file or one of those that come with the program (--list). What was done before is kept: starting
/// a sweep again goes on where it ended, whatever ended it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    fractal-run sweep local                          the local grid\n  \
    fractal-run sweep local 4 0.01                   its cell with 4 workers and 1 % of the files\n  \
    fractal-run sweep local --where 'workers<=4 and fraction<0.1' --dry-run\n  \
    fractal-run sweep my.toml --repeats 3 --ci 2% --detach\n  \
    fractal-run sweep my.toml --rerun failed\n\n\
    Exit codes: 0 all done, 1 some failed, 2 misuse, 130 interrupted (start it again to go on).")]
pub(crate) struct SweepArgs {
    /// Grid: a TOML file, or the name of one that comes with the program
    #[arg(required_unless_present = "list", value_name = "GRID")]
    grid: Option<String>,
    /// Only cells with this many workers
    #[arg(value_name = "WORKERS")]
    only_workers: Option<String>,
    /// Only cells with this fraction
    #[arg(value_name = "FRACTION")]
    only_fraction: Option<String>,

    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    how: HowArgs,

    /// Name of the sweep, its folder in the store [default: the grid's]
    #[arg(short = 'n', long, value_name = "NAME")]
    name: Option<String>,
    /// Folder of all runs: STORE/SWEEP/{sweep.jsonl,RUN-ID/…}
    #[arg(long, env = "FRACTAL_STORE", value_name = "DIR", default_value = "runs")]
    store: PathBuf,
    /// Say what would run and why, how long it would take and whether it fits, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one event a line as JSON on stdout (with --dry-run: one cell a line)
    #[arg(long)]
    json: bool,
    /// Nothing on stderr but errors
    #[arg(short, long)]
    quiet: bool,
    /// Run in a session of its own that no closed terminal ends, and return; 'fractal-run status|wait|cancel|logs'
    #[arg(long)]
    detach: bool,
    /// What a detached runner is started with; not for people
    #[arg(long, hide = true)]
    detached: bool,
    /// List the grids that come with the program
    #[arg(long)]
    list: bool,
    /// Print the grid's text, to start one of your own from
    #[arg(long)]
    show: bool,
}

/// Which cells.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Which cells")]
struct SelectArgs {
    /// Data for all cells: folder or URL with train/, val/ and test/ [default: the grid's, or a generated sample set]
    #[arg(short = 'p', long, value_name = "PATH|URL")]
    data: Option<String>,
    /// Hosts for all cells: a TOML file, or a set that comes with the program [default: the grid's, or this machine]
    #[arg(long, value_name = "SET")]
    hosts: Option<String>,
    /// Another base value for all cells: trees=10; an axis of the grid gets this one value
    #[arg(long, value_name = "AXIS=VALUE")]
    set: Vec<String>,
    /// Only cells that match, such as 'workers<=4 and (fraction<0.1 or trees in (40, 80))'
    #[arg(long = "where", value_name = "FILTER")]
    filters: Vec<String>,
    /// Only cells with one of these numbers of workers
    #[arg(short = 'x', long, alias = "executors", alias = "num-executors", value_name = "N,…")]
    workers: Option<String>,
    /// Only cells with one of these threads a worker
    #[arg(short = 'c', long, value_name = "N,…")]
    cores: Option<String>,
    /// Only cells with one of these memory limits
    #[arg(short = 'e', long, value_name = "SIZE,…")]
    memory: Option<String>,
    /// Only cells with one of these fractions
    #[arg(short = 'f', long, value_name = "F,…")]
    fraction: Option<String>,
    /// Only cells with one of these numbers of trees
    #[arg(long, value_name = "N,…")]
    trees: Option<String>,
    /// Only cells with one of these depths
    #[arg(long, value_name = "N,…")]
    depth: Option<String>,
    /// Only cells with one of these numbers of bins
    #[arg(long, value_name = "N,…")]
    bins: Option<String>,
    /// Only cells with one of these seeds
    #[arg(long, value_name = "N,…")]
    seed: Option<String>,
}

/// How they are run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "How they are run")]
struct HowArgs {
    /// Measured runs of each cell
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeats: Option<u32>,
    /// Repeat until the 95 % interval of the median is within this share of it, such as 2%
    #[arg(long, value_name = "SHARE", value_parser = grid::read_percent)]
    ci: Option<f64>,
    /// With --ci: never more measured runs of a cell than this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_repeats: Option<u32>,
    /// Warm-up runs before the first measured run over files not read before
    #[arg(long, value_name = "N")]
    warmup: Option<u32>,
    /// balanced, serpentine, random or as-written
    #[arg(long)]
    order: Option<Order>,
    /// Seed of --order random
    #[arg(long, value_name = "N")]
    order_seed: Option<u64>,
    /// Longest time one run may take, such as 90s, 30m, 2h
    #[arg(long, alias = "timeout", value_name = "TIME", value_parser = grid::read_duration)]
    time_limit: Option<Duration>,
    /// Try a run again that failed in a way that may pass (a worker exited or was lost)
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Go on where the sweep ended (the default; accepted for scripts that say so)
    #[arg(long)]
    resume: bool,
    /// Run again: failed, all, or the id of a cell (its first digits); may be given several times
    #[arg(long, value_name = "failed|all|CELL")]
    rerun: Vec<String>,
    /// Run cells that are predicted not to fit their memory, too
    #[arg(long, alias = "no-memory-gate")]
    no_mem_gate: bool,
}

/// Runs, resumes, shows or detaches a sweep.
pub(crate) fn run(args: SweepArgs) -> anyhow::Result<ExitCode> {
    if args.list {
        return list();
    }
    let name = args.grid.as_deref().unwrap_or_default();
    if args.show {
        return show(name);
    }
    let mut grid = load(name)?;
    adjust(&mut grid, &args)?;
    let sweep_name = args.name.clone().unwrap_or_else(|| grid.name.clone());
    grid::check_name(&sweep_name).map_err(anyhow::Error::msg)?;
    let state = SweepState::load(&args.store.join(&sweep_name))?;
    let cells = sweep::cells(&grid, &state).map_err(anyhow::Error::msg)?;
    let wish = wish(&args, &grid, &sweep_name, &cells, &state)?;
    if args.dry_run {
        let plan = sweep::dry_run(&args.store, &sweep_name, &grid, &cells, &wish)?;
        return sweep_plan::print(&plan, &wish, args.json);
    }
    if args.detach && !args.detached {
        return detach::start(&args.store, &sweep_name);
    }
    if args.detached {
        detach::become_session_leader()?;
    }
    conduct(&args, &sweep_name, &grid, &cells, wish)
}

/// Runs the sweep in this process.
fn conduct(args: &SweepArgs, name: &str, grid: &Grid, cells: &[Cell], wish: Wish) -> anyhow::Result<ExitCode> {
    let style = match () {
        () if args.json => sweep_screen::Style::Json,
        () if args.quiet => sweep_screen::Style::Quiet,
        () if std::io::stderr().is_terminal() && !args.detached => sweep_screen::Style::Matrix,
        () => sweep_screen::Style::Lines,
    };
    let plan = sweep::dry_run(&args.store, name, grid, cells, &wish)?;
    let screen = Arc::new(Screen::new(style, plan.queue.len()));
    screen.say(&format!("{name}: {}", sweep_plan::to_do(&plan)));
    // One run has no order.
    if plan.queue.len() > 1 {
        screen.say(&sweep_plan::order_line(&plan, &wish));
    }
    let watcher = screen.clone();
    let command = std::env::args().collect();
    let mut runner = LocalRunner::new(Options { cache: sample_set::cache(), ..Options::default() })?;
    let mut sweep =
        Sweep::open(&args.store, name, grid, cells, wish, command, Box::new(move |notice| watcher.notice(notice)))?;
    let desk = sweep.desk();
    listen_for_signals(desk.clone()).context("cannot listen for Ctrl-C")?;
    let socket = match ControlSocket::open(sweep.dir(), desk.clone()) {
        Ok(socket) => Some(socket),
        Err(error) => {
            screen.say(&format!("warning: no control socket ({error}); the sweep runs, but cannot be steered"));
            None
        }
    };
    let log = args.detached.then(|| sweep.dir().join(status::RUNNER_LOG));
    sweep.announce(socket.as_ref().map(|socket| socket.path().to_path_buf()), log)?;
    screen.start(desk.clone());
    let outcome = sweep.run(cells, &mut runner);
    screen.finish();
    let outcome = outcome?;
    screen.conclude(&desk.status(), outcome, &args.store, name);
    drop(socket);
    Ok(status::exit_code(outcome))
}

/// The first Ctrl-C ends the current run cleanly and starts nothing new; the second kills its workers. A hang-up means
/// nothing: a closed terminal does not end an experiment.
fn listen_for_signals(desk: Arc<Desk>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("fractal:signals".into()).spawn(move || {
        let mut urgency = Urgency::Graceful;
        for _ in signals.forever().filter(|signal| *signal != SIGHUP) {
            let what = match urgency {
                Urgency::Graceful => "ending the current run; once more kills its workers",
                Urgency::Now => "killing the workers",
            };
            writeln!(std::io::stderr(), "\n{what}").ok();
            desk.cancel(urgency);
            urgency = Urgency::Now;
        }
    })?;
    Ok(())
}

fn list() -> anyhow::Result<ExitCode> {
    let out = &mut std::io::stdout().lock();
    for (name, _) in SHIPPED {
        let grid = grid::shipped(name).context("a shipped grid is missing")??;
        let cells = grid.cells().map_err(anyhow::Error::msg)?.len();
        writeln!(out, "{name:14} {cells:3} cell{}  {}", if cells == 1 { " " } else { "s" }, grid.about)?;
    }
    writeln!(out, "\n'fractal-run sweep NAME --show' prints one, to start your own from; any TOML file is a grid")?;
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str) -> anyhow::Result<ExitCode> {
    let text = match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        Some((_, text)) => text.to_string(),
        None => std::fs::read_to_string(name).with_context(|| format!("cannot read the grid {name}"))?,
    };
    write!(std::io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn load(name: &str) -> anyhow::Result<Grid> {
    if let Some(shipped) = grid::shipped(name) {
        return Ok(shipped?);
    }
    let path = Path::new(name);
    if !path.exists() {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        bail!("there is no grid '{name}': neither a file, nor one of {} that come with the program", names.join(", "));
    }
    Ok(Grid::from_file(path)?)
}

/// Puts `--data`, `--hosts` and `--set` into the grid, and a sample set where it names no data.
fn adjust(grid: &mut Grid, args: &SweepArgs) -> anyhow::Result<()> {
    for setting in &args.select.set {
        let (axis, value) = setting
            .split_once('=')
            .with_context(|| format!("--set takes AXIS=VALUE, such as trees=10, not '{setting}'"))?;
        let axis = axis_named(axis)?;
        let value = axis.read(value).map_err(anyhow::Error::msg)?;
        axis.set(&mut grid.base, &value).map_err(anyhow::Error::msg)?;
        for (_, values) in grid.axes.iter_mut().filter(|(other, _)| *other == axis) {
            *values = vec![value.clone()];
        }
    }
    if let Some(data) = &args.select.data {
        grid.base.data.root = data.clone();
        grid.axes.retain(|(axis, _)| *axis != Axis::Data);
    }
    if let Some(set) = &args.select.hosts {
        grid.base.topology.host_set = Some(set.clone());
        grid.axes.retain(|(axis, _)| *axis != Axis::HostSet);
    }
    grid.find_hosts().map_err(anyhow::Error::msg)?;
    let varies = grid.axes.iter().any(|(axis, _)| *axis == Axis::Data);
    if grid.base.data.root.is_empty() && !varies {
        grid.base.data.root = sample_set::make(args.quiet || args.json)?;
    }
    // The same data from another folder is the same cell; a relative path would be another each time.
    absolute(&mut grid.base.data.root)?;
    for (_, values) in grid.axes.iter_mut().filter(|(axis, _)| *axis == Axis::Data) {
        for value in values {
            if let grid::AxisValue::Text(root) = value {
                absolute(root)?;
            }
        }
    }
    Ok(())
}

fn absolute(root: &mut String) -> anyhow::Result<()> {
    if !root.is_empty() && !root.contains("://") {
        let path = std::path::absolute(&*root).with_context(|| format!("cannot make {root} absolute"))?;
        *root = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?.to_string();
    }
    Ok(())
}

fn axis_named(name: &str) -> anyhow::Result<Axis> {
    let names = || Axis::ALL.map(Axis::name).join(", ");
    Axis::named(name).with_context(|| format!("unknown axis '{name}'; axes are {}", names()))
}

fn wish(args: &SweepArgs, grid: &Grid, name: &str, cells: &[Cell], state: &SweepState) -> anyhow::Result<Wish> {
    let mut only = Vec::new();
    let select = &args.select;
    let flags = [
        (Axis::Workers, &args.only_workers),
        (Axis::Fraction, &args.only_fraction),
        (Axis::Workers, &select.workers),
        (Axis::Cores, &select.cores),
        (Axis::Memory, &select.memory),
        (Axis::Fraction, &select.fraction),
        (Axis::Trees, &select.trees),
        (Axis::Depth, &select.depth),
        (Axis::Bins, &select.bins),
        (Axis::Seed, &select.seed),
    ];
    for (axis, typed) in flags.into_iter().filter_map(|(axis, typed)| Some((axis, typed.as_ref()?))) {
        let values: Result<Vec<_>, String> = typed.split(',').map(|value| axis.read(value)).collect();
        only.push(Filter::any_of(axis, values.map_err(anyhow::Error::msg)?));
    }
    for text in &select.filters {
        only.push(Filter::parse(text).map_err(|error| anyhow::anyhow!("--where: {error}"))?);
    }
    if !cells.iter().any(|cell| only.iter().all(|filter| filter.matches(&cell.spec))) {
        let texts: Vec<&str> = only.iter().map(Filter::text).collect();
        bail!(
            "no cell of grid '{}' matches {}; 'fractal-run sweep {} --dry-run' lists its cells",
            grid.name,
            texts.join(" and "),
            args.grid.as_deref().unwrap_or_default()
        );
    }
    Ok(Wish {
        settings: settings(&args.how, &grid.settings),
        only,
        rerun: rerun(&args.how.rerun, name, cells, state)?,
        no_memory_gate: args.how.no_mem_gate,
    })
}

/// The grid's settings under those of the command line.
fn settings(how: &HowArgs, grid: &Settings) -> Settings {
    let repeats = how.repeats.unwrap_or(grid.repeats);
    Settings {
        repeats,
        warmup: how.warmup.unwrap_or(grid.warmup),
        ci: how.ci.or(grid.ci),
        max_repeats: how.max_repeats.unwrap_or(grid.max_repeats).max(repeats),
        order: how.order.unwrap_or(grid.order),
        order_seed: how.order_seed.unwrap_or(grid.order_seed),
        time_limit: how.time_limit.or(grid.time_limit),
        retries: how.retries.map_or_else(|| grid.retries.clone(), Retries::transient),
        hooks: grid.hooks.clone(),
    }
}

fn rerun(typed: &[String], name: &str, cells: &[Cell], state: &SweepState) -> anyhow::Result<Rerun> {
    match typed {
        [] => Ok(Rerun::Nothing),
        [all] if all == "all" => Ok(Rerun::All),
        [failed] if failed == "failed" => Ok(Rerun::Failed),
        ids => {
            let find = |typed: &String| {
                if typed == "all" || typed == "failed" {
                    bail!("--rerun {typed} stands alone; cells are named by their ids");
                }
                let id = state.find(name, typed)?.id.clone();
                if !cells.iter().any(|cell| cell.id == id) {
                    bail!("cell {id} is not in this grid any more");
                }
                Ok(id)
            };
            Ok(Rerun::Cells(ids.iter().map(find).collect::<anyhow::Result<_>>()?))
        }
    }
}
