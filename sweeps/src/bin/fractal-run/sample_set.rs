//! The data a run uses when it is given none: generated once, kept in the cache folder.

use std::path::PathBuf;

use anyhow::{Context, Result};
use fractal_engine::dataset::{GenerateSpec, generated_spec};

use crate::generate::generate_with_bar;

/// The folder for things that can be made again: `$XDG_CACHE_HOME/fractal`.
pub(crate) fn cache() -> Option<PathBuf> {
    use etcetera::{AppStrategy, AppStrategyArgs, choose_app_strategy};
    let names = AppStrategyArgs { top_level_domain: String::new(), author: String::new(), app_name: "fractal".into() };
    choose_app_strategy(names).ok().map(|paths| paths.cache_dir())
}

/// Path of the sample set, made now if it is not there.
pub(crate) fn make(quiet: bool) -> Result<String> {
    let spec = GenerateSpec::default();
    let folder = cache()
        .context("there is no home folder to keep a sample set in; pass --data with a folder of your own")?
        .join("sample-1");
    if generated_spec(&folder).as_ref() != Some(&spec) {
        generate_with_bar(&folder, &spec, quiet)?;
    }
    Ok(folder.display().to_string())
}
