//! Which runs a subcommand is about.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fractal_logs::store::{Store, StoredRun};
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

    /// The stored runs that `wanted` names; without any, those of the newest run's sweep.
    pub(crate) fn stored(&self, wanted: &[String]) -> Result<Vec<StoredRun>> {
        let store = self.store();
        let names = self.names(&store, wanted)?;
        let listed = store.list()?;
        let mut runs: Vec<StoredRun> = Vec::new();
        for name in &names {
            let of_sweep: Vec<StoredRun> = listed.iter().filter(|run| run.name == *name).cloned().collect();
            runs.extend(if of_sweep.is_empty() { vec![store.find(name)?] } else { of_sweep });
        }
        Ok(runs)
    }

    fn names(&self, store: &Store, wanted: &[String]) -> Result<Vec<String>> {
        if !wanted.is_empty() {
            return Ok(wanted.to_vec());
        }
        match latest_name(store)? {
            Some(name) => Ok(vec![name]),
            None => bail!("no runs in {}: run something first, or name another --store", self.store.display()),
        }
    }

    /// What each of `wanted` means; without any, the newest run's sweep.
    pub(crate) fn selections(&self, wanted: &[String]) -> Result<Vec<Selection>> {
        let store = self.store();
        let names = self.names(&store, wanted)?;
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
