//! Settings: a TOML file in the XDG config folder, changed by `FRACTAL__…` variables and by flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::theme::{Palette, Theme};

/// What can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Colours: dark, light, high-contrast, none.
    pub theme: Palette,
    /// Only ASCII symbols.
    pub ascii: bool,
    /// Bytes in powers of ten (GB) instead of two (GiB).
    pub decimal_bytes: bool,
    /// Mouse on from the start.
    pub mouse: bool,
    /// Nothing that acts on a run.
    pub read_only: bool,
    /// Other keys, by action: `keys."live.play" = ["space", "p"]`.
    pub keys: BTreeMap<String, Vec<String>>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file, or a variable, says something that cannot be.
    #[error("{place}: {reason}; `fractal-tui config schema` says what can be set")]
    Bad {
        /// The file or variable.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// Variables begin with this; `__` stands for the dot between a table and its key.
const PREFIX: &str = "FRACTAL__";

impl Config {
    /// Where the file is, whether or not it exists; `None` without a home folder.
    pub fn path() -> Option<PathBuf> {
        use etcetera::{AppStrategy, AppStrategyArgs, choose_app_strategy};
        let names =
            AppStrategyArgs { top_level_domain: String::new(), author: String::new(), app_name: "fractal".into() };
        choose_app_strategy(names).ok().map(|paths| paths.config_dir().join("config.toml"))
    }

    /// The file at `path` (defaults, if there is none), changed by `variables`.
    ///
    /// # Errors
    /// The file cannot be read, or it or a variable says what cannot be.
    pub fn load(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut table = toml::Table::new();
        if let Some(path) = path {
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    let bad = |reason: String| ConfigError::Bad { place: path.display().to_string(), reason };
                    table = text.parse().map_err(|error: toml::de::Error| bad(one_line(&error)))?;
                    table.clone().try_into::<Config>().map_err(|error| bad(one_line(&error)))?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(ConfigError::Read { path: path.to_path_buf(), source }),
            }
        }
        for (name, value) in variables {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            let key = key.to_ascii_lowercase().replace("__", ".").replace('_', "-");
            let value = match value.as_str() {
                "true" => toml::Value::Boolean(true),
                "false" => toml::Value::Boolean(false),
                text => toml::Value::String(text.into()),
            };
            table.insert(key, value);
            table.clone().try_into::<Config>().map_err(|error| ConfigError::Bad {
                place: format!("the variable {name}"),
                reason: one_line(&error),
            })?;
        }
        table.try_into().map_err(|error: toml::de::Error| ConfigError::Bad {
            place: "the settings".into(),
            reason: one_line(&error),
        })
    }

    /// As the file would say it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// Colours and symbols.
    pub fn theme(&self) -> Theme {
        Theme { palette: self.theme, ascii: self.ascii }
    }

    /// JSON Schema of the file.
    pub fn schema() -> serde_json::Value {
        let flag = |text: &str| serde_json::json!({"type": "boolean", "default": false, "description": text});
        serde_json::json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "fractal-tui config.toml",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "theme": {
                    "enum": Palette::ALL.map(Palette::name), "default": Palette::default().name(),
                    "description": "Colours. NO_COLOR in the environment means none."
                },
                "ascii": flag("Only ASCII symbols."),
                "decimal-bytes": flag("Bytes in powers of ten (GB) instead of two (GiB)."),
                "mouse": flag("Mouse on from the start; M toggles it."),
                "read-only": flag("Nothing that acts on a run."),
                "keys": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                    "description": "Other keys, by action; `fractal-tui keys` lists the actions."
                }
            }
        })
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}
