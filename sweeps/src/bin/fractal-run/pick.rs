//! Which runs a subcommand is about.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fractal_logs::store::Store;
use fractal_sweeps::analysis::records::{Selection, latest_name, load};

/// Where the runs are kept.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct From {
    /// Folder of all runs
    #[arg(long, env = "FRACTAL_STORE", value_name = "DIR", default_value = "runs")]
    store: PathBuf,
}

impl From {
    pub(crate) fn store(&self) -> Store {
        Store::new(&self.store)
    }

    /// What each of `wanted` means; without any, the newest run's sweep.
    pub(crate) fn selections(&self, wanted: &[String]) -> Result<Vec<Selection>> {
        let store = self.store();
        let mut names = wanted.to_vec();
        if names.is_empty() {
            match latest_name(&store)? {
                Some(name) => names.push(name),
                None => bail!("no runs in {}: run something first, or name another --store", self.store.display()),
            }
        }
        let mut selections = Vec::new();
        for name in &names {
            let selection = load(&store, name)?;
            for line in &selection.damaged {
                writeln!(io::stderr(), "warning: left out, its record cannot be read: {line}").ok();
            }
            selections.push(selection);
        }
        if selections.iter().all(|s| s.runs.is_empty()) {
            bail!("none of the runs of {} can be read", names.join(", "));
        }
        Ok(selections)
    }
}

/// Writes to stdout; a reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// Prints a value as JSON, one document.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}
