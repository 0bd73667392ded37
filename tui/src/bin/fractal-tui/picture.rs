//! `fractal-tui replay`: on the screen, or one frame of it as text or picture.

use std::path::Path;

use anyhow::{Context, Result, bail};
use fractal_logs::store::{JOURNAL_FILE, Store};
use fractal_tui::message::Target;
use fractal_tui::view::live::Wanted;
use fractal_tui::{App, Command, Message, Screen, feed, snapshot, step};

/// Replay a run from its start
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// A journal, a run's folder, its id, `latest`, an archive (.tar.zst), or `sample`
    #[arg(value_name = "FILE|ID|latest|ARCHIVE")]
    run: String,
    /// Begin at this moment: 12m, 17:52, 50%, end
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Seconds of the run in a second
    #[arg(long, value_name = "N")]
    speed: Option<f64>,
    /// Print one frame of this size (120x40) and end
    #[arg(long, value_name = "COLUMNSxROWS", value_parser = size)]
    snapshot: Option<(u16, u16)>,
    /// The frame as an SVG picture
    #[arg(long)]
    svg: bool,
    /// The screen of the frame
    #[arg(long, value_name = "DIGIT|NAME", default_value = "live", value_parser = screen)]
    screen: Screen,
}

impl ReplayArgs {
    pub(crate) fn is_picture(&self) -> bool {
        self.snapshot.is_some() || self.svg
    }
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match parsed {
        Some((width, height)) if (1..=1000).contains(&width) && (1..=500).contains(&height) => Ok((width, height)),
        _ => Err("a size is 120x40: columns, x, rows".into()),
    }
}

fn screen(text: &str) -> Result<Screen, String> {
    let wanted = text.to_lowercase();
    let wanted = if wanted == "replay" { "live".into() } else { wanted };
    Screen::ALL
        .into_iter()
        .find(|screen| screen.name().to_lowercase() == wanted || screen.digit().to_string() == wanted)
        .ok_or_else(|| format!("screens are {}", Screen::ALL.map(|s| s.name().to_lowercase()).join(", ")))
}

/// Opens the run.
pub(crate) fn prepare(app: &mut App, args: &ReplayArgs) -> Result<Vec<Command>> {
    let (target, title) = target(app, &args.run)?;
    if let Some(speed) = args.speed
        && !(0.01..=100_000.0).contains(&speed)
    {
        bail!("--speed {speed}: a speed is between 0.01 and 100000");
    }
    let at = args.at.clone().or_else(|| (!args.is_picture()).then(|| "0".into()));
    app.live_state.wanted = Some(Wanted { at, play: args.at.is_none() && !args.is_picture(), speed: args.speed });
    app.go(Screen::Live);
    Ok(app.open_run(target, title))
}

fn target(app: &App, wanted: &str) -> Result<(Target, String)> {
    let path = Path::new(wanted);
    if wanted == "sample" {
        return Ok((Target::Sample, "recorded sample".into()));
    }
    if path.is_file() || path.join(JOURNAL_FILE).exists() {
        return Ok((Target::Journal(path.to_path_buf(), None), wanted.to_string()));
    }
    let run = Store::new(&app.store_root).find(wanted)?;
    let title = format!("{}/{}", run.name, run.id);
    Ok((Target::Journal(run.dir.journal(), Some((run.name, run.id))), title))
}

/// Prints one frame.
pub(crate) fn print(mut app: App, args: &ReplayArgs) -> Result<()> {
    // Lives as long as its journal is read.
    let found = app.run.as_ref().and_then(|run| run.path.as_deref()).map(feed::find).transpose()?;
    let news = match &found {
        None => feed::sample(),
        Some(found) => feed::read(&found.journal, |_| {})?,
    };
    if let (Some(run), Some(found)) = (app.run.as_mut().filter(|run| run.stored.is_none()), &found) {
        (run.path, run.title) = (Some(found.journal.clone()), found.title.clone());
    }
    let stored = app.run.as_mut().and_then(|run| run.stored.take());
    let number = app.run_number;
    // The frame is a function of the journal: the clock stands at the run's own time.
    step(&mut app, [Message::Journal(number, news)]);
    if let Some((name, _)) = &stored {
        let store = Store::new(&app.store_root);
        let runs = fractal_sweeps::analysis::records::load(&store, name).map(std::sync::Arc::new);
        app.measurements.name = name.clone();
        app.take_runs(name.clone(), runs.map_err(|error| error.to_string()));
    }
    if let Some(run) = &app.run {
        let started = run.recording.latest().started.as_ref().map_or(0, |started| started.wall_clock_ms);
        app.now_ms = started + run.position_us() / 1000;
    }
    if let Some(notice) = app.notice.take() {
        bail!("{}", notice.text);
    }
    app.go(args.screen);
    step(&mut app, (0..100).map(|_| ()).map(|()| Message::Tick(0)).collect::<Vec<_>>());
    let (width, height) = args.snapshot.unwrap_or((120, 40));
    let buffer = snapshot::frame(&app, width, height);
    let text = if args.svg { snapshot::svg(&buffer, app.theme) } else { snapshot::text(&buffer) };
    crate::print(&text).context("cannot print the frame")
}
