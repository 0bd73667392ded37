//! What a person named on the command line: a journal, a sweep, a grid, a run.

use std::path::Path;

use anyhow::{Result, bail};
use fractal_logs::store::{JOURNAL_FILE, Store};
use fractal_sweeps::grid::shipped;
use fractal_tui::message::Target;
use fractal_tui::view;
use fractal_tui::{App, Command, Screen};

/// Opens what `what` means.
pub(crate) fn open(app: &mut App, what: &str) -> Result<Vec<Command>> {
    let path = Path::new(what);
    if path.is_file() && path.extension().is_some_and(|extension| extension == "toml") {
        return Ok(view::sweep::open_grid(app, what));
    }
    if path.is_file() || path.join(JOURNAL_FILE).exists() {
        app.go(Screen::Live);
        return Ok(app.open_run(Target::Journal(path.to_path_buf(), None), what));
    }
    if app.store_root.join(what).is_dir() {
        app.go(Screen::Sweep);
        return Ok(app.open_sweep(what, true));
    }
    if shipped(what).is_some() {
        return Ok(view::sweep::open_grid(app, what));
    }
    let store = Store::new(&app.store_root);
    match store.find(what) {
        Ok(run) => {
            app.go(Screen::Live);
            let stored = Some((run.name.clone(), run.id.clone()));
            let mut commands =
                app.open_run(Target::Journal(run.dir.journal(), stored), format!("{}/{}", run.name, run.id));
            commands.extend(app.load_runs(&run.name));
            Ok(commands)
        }
        Err(error) => bail!("'{what}' is no file, no shipped grid and no sweep; {error}"),
    }
}
