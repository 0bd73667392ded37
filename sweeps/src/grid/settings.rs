//! How a sweep runs: repeats, order, limits, retries, hooks.

use std::collections::BTreeMap;
use std::time::Duration;

use fractal_logs::FailureKind;

use crate::order::Order;

/// How a sweep runs, from its grid and from the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Measured runs of each cell, at least 1.
    pub repeats: u32,
    /// Warm-up runs before the first measured run over files that no run of this sitting has read.
    pub warmup: u32,
    /// Repeat until the bootstrap interval of the median is at most this share of it to either side.
    pub ci: Option<f64>,
    /// With `ci`: never more measured runs of a cell than this.
    pub max_repeats: u32,
    /// In which order.
    pub order: Order,
    /// Seed of `order = "random"`.
    pub order_seed: u64,
    /// Longest time one run may take.
    pub time_limit: Option<Duration>,
    /// How often a failed run is tried again.
    pub retries: Retries,
    /// Commands around the runs.
    pub hooks: Hooks,
}

/// How often a failed run is tried again, by class of failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    by_kind: BTreeMap<FailureKind, u32>,
}

/// Shell commands around the runs; each sees `FRACTAL_SWEEP`, and around a run also `FRACTAL_CELL`,
/// `FRACTAL_REPEAT`, `FRACTAL_RUN_DIR` and, after it, `FRACTAL_OUTCOME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Once, before the first run; its failure ends the sweep.
    pub before_sweep: Option<String>,
    /// Before each run; its failure fails the run.
    pub before_run: Option<String>,
    /// After each run; its failure is a warning.
    pub after_run: Option<String>,
    /// Once, at the end; its failure is a warning.
    pub after_sweep: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            repeats: 1,
            warmup: 0,
            ci: None,
            max_repeats: 20,
            order: Order::Balanced,
            order_seed: 0,
            time_limit: None,
            retries: Retries::default(),
            hooks: Hooks::default(),
        }
    }
}

impl Retries {
    /// Failures that may pass by themselves: tried again with a plain `retries = n`. The others (memory, time limit,
    /// data, spec, store) would fail the same way again and are retried only when named.
    pub const TRANSIENT: [FailureKind; 2] = [FailureKind::Exit, FailureKind::WorkerLost];

    /// `times` for each transient class.
    pub fn transient(times: u32) -> Retries {
        Retries { by_kind: Self::TRANSIENT.into_iter().map(|kind| (kind, times)).collect() }
    }

    /// The same with `times` for one class.
    pub fn with(mut self, kind: FailureKind, times: u32) -> Retries {
        self.by_kind.insert(kind, times);
        self
    }

    /// How often a run that failed in this way is tried again.
    pub fn times(&self, kind: FailureKind) -> u32 {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }

    /// The class of that name, as in journals: `oom`, `timeout`, `exit`, `worker-lost`, `bad-data`, …
    pub fn kind_named(name: &str) -> Option<FailureKind> {
        serde_json::from_value(serde_json::Value::String(name.replace('_', "-"))).ok()
    }
}

/// Whether a sweep may have this name: it becomes a folder of the store.
///
/// # Errors
/// One line that says what a name looks like.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 100 && name.chars().all(fits) && !name.starts_with(['.', '-']) {
        Ok(())
    } else {
        Err(format!(
            "a sweep's name has letters, digits, '-', '_' and '.', and starts with no '.' or '-'; not '{name}'"
        ))
    }
}

/// Reads `90`, `90s`, `30m`, `2h`, `1h30m`, `1.5h`, `500ms`.
///
/// # Errors
/// One line that says what a duration looks like.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("a duration looks like 90s, 30m, 2h or 1h30m, not '{text}'");
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - digits);
        let unit = match &rest[digits..digits + letters] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(bad()),
        };
        seconds += number * unit;
        rest = rest[digits + letters..].trim_start();
    }
    if seconds <= 0.0 {
        return Err(bad());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

/// Reads `2%` or `0.02` as 0.02.
///
/// # Errors
/// One line that says what a share looks like.
pub fn read_percent(text: &str) -> Result<f64, String> {
    let bad = || format!("a width looks like 2% or 0.02, above 0 and at most 100%, not '{text}'");
    let share = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().map_err(|_| bad())? / 100.0,
        None => text.trim().parse().map_err(|_| bad())?,
    };
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_shares_are_read_as_people_write_them() {
        for (text, seconds) in
            [("90", 90.0), ("90s", 90.0), ("2h", 7200.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("500ms", 0.5)]
        {
            assert_eq!(read_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "h", "-1s", "2 weeks", "0s", "1e400d", "9999999999999999999999d"] {
            assert!(read_duration(text).is_err(), "{text}");
        }
        assert_eq!(read_percent("2%"), Ok(0.02));
        assert_eq!(read_percent("0.5"), Ok(0.5));
        for text in ["0", "200%", "x", "NaN"] {
            assert!(read_percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retried_unless_named() {
        let retries = Retries::transient(2);
        assert_eq!(retries.times(FailureKind::WorkerLost), 2);
        assert_eq!(retries.times(FailureKind::Oom), 0);
        assert_eq!(retries.with(FailureKind::Oom, 1).times(FailureKind::Oom), 1);
        assert_eq!(Retries::kind_named("worker_lost"), Some(FailureKind::WorkerLost));
        assert_eq!(Retries::kind_named("bad luck"), None);
    }
}
