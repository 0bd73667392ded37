//! `fractal-run compare A B`: two runs, two cells or two sweeps side by side.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Result, bail};
use fractal_sweeps::analysis::Measured;
use fractal_sweeps::analysis::compare::{Change, Comparison, compare};
use fractal_sweeps::analysis::records::{Selection, by_cell};

use crate::pick::{From, print, print_json};

/// Compare two runs (or sweeps, cell by cell): what differs, where the time went, and whether it is beyond chance
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// A run or a sweep
    a: String,
    /// Another
    b: String,
    #[command(flatten)]
    from: From,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: CompareArgs) -> Result<ExitCode> {
    let mut sides = args.from.selections(&[args.a, args.b])?.into_iter();
    let (Some(a), Some(b)) = (sides.next(), sides.next()) else { bail!("two sides are needed") };
    let pairs = pairs(&a, &b)?;
    let mut compared = Vec::new();
    let mut refused = Vec::new();
    for (name, left, right) in pairs {
        match compare(&left, &right) {
            Ok(comparison) => compared.push((name, comparison)),
            Err(reason) => refused.push(format!("{name}: {reason}")),
        }
    }
    if compared.is_empty() {
        bail!("not comparable: {}", refused.join("; "));
    }
    if args.json {
        print_json(&compared.iter().map(|(_, c)| c).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    if let [(_, only)] = compared.as_slice() {
        text += &in_full(only);
    } else {
        for (name, comparison) in &compared {
            text += &format!("{name}: {}\n", comparison.verdict.sentence);
        }
    }
    for line in &refused {
        text += &format!("not comparable: {line}\n");
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

type Pair = (String, Vec<Measured>, Vec<Measured>);

/// The cells to compare: the repeats of one with those of the other, or the cells of two sweeps that have equal axes.
fn pairs(a: &Selection, b: &Selection) -> Result<Vec<Pair>> {
    let (left, right) = (by_cell(&a.runs), by_cell(&b.runs));
    let own = |runs: &[&Measured]| -> Vec<Measured> { runs.iter().map(|run| (*run).clone()).collect() };
    if let (1, 1) = (left.len(), right.len()) {
        let (x, y) = (left.values().next().map(|r| own(r)), right.values().next().map(|r| own(r)));
        let (Some(x), Some(y)) = (x, y) else { bail!("no runs") };
        return Ok(vec![(format!("{} and {}", a.name, b.name), x, y)]);
    }
    // The axes: what varies inside either sweep.
    let varies = |runs: &[Measured], key: &str| runs.iter().any(|r| r.config.get(key) != runs[0].config.get(key));
    let keys: Vec<String> = a
        .runs
        .iter()
        .chain(&b.runs)
        .flat_map(|run| run.config.keys().cloned())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .filter(|key| varies(&a.runs, key) || varies(&b.runs, key))
        .collect();
    let place = |run: &Measured| -> Vec<String> {
        keys.iter().map(|key| run.config.get(key).cloned().unwrap_or_default()).collect()
    };
    let mut cells: BTreeMap<Vec<String>, (Vec<Measured>, Vec<Measured>)> = BTreeMap::new();
    for run in &a.runs {
        cells.entry(place(run)).or_default().0.push(run.clone());
    }
    for run in &b.runs {
        cells.entry(place(run)).or_default().1.push(run.clone());
    }
    let matched: Vec<Pair> = cells
        .into_iter()
        .filter(|(_, (x, y))| !x.is_empty() && !y.is_empty())
        .map(|(place, (x, y))| {
            let name: Vec<String> = keys.iter().zip(&place).map(|(k, v)| format!("{k}={v}")).collect();
            (name.join(" "), x, y)
        })
        .collect();
    if matched.is_empty() {
        bail!("{} and {} have no cell in common (axes: {})", a.name, b.name, keys.join(", "));
    }
    Ok(matched)
}

fn in_full(c: &Comparison) -> String {
    let runs = |count: usize| format!("{count} run{}", if count == 1 { "" } else { "s" });
    let mut text = format!("a  {} ({})\nb  {} ({})\n\n", c.a, runs(c.repeats.0), c.b, runs(c.repeats.1));
    if c.config.is_empty() {
        text += &format!("configuration: all {} keys are equal\n", c.equal_keys);
    } else {
        text += &format!("configuration ({} keys are equal)\n", c.equal_keys);
        for d in &c.config {
            let side = |v: &Option<String>| v.clone().unwrap_or_else(|| "–".into());
            text += &format!("  {:<24} {} → {}\n", d.key, side(&d.a), side(&d.b));
        }
    }
    let levels: Vec<Change> = c.levels.iter().take(8).cloned().collect();
    for (title, changes) in [
        ("phases, s", &c.phases),
        ("levels, s", &levels),
        ("counters", &c.counters),
        ("memory", &c.memory),
        ("scores", &c.scores),
    ] {
        if changes.is_empty() {
            continue;
        }
        text += &format!("\n  {title:<34} {:>12} {:>12} {:>12} {:>8}\n", "a", "b", "b − a", "b ÷ a");
        for change in changes {
            let ratio = change.ratio().map_or(String::new(), |r| format!("{r:.2}×"));
            // Bytes read better with their own unit than all in one.
            let (name, as_text): (&str, fn(f64) -> String) = match &change.name {
                name if name.ends_with(", bytes") => (name.trim_end_matches(", bytes"), in_bytes),
                name if name.starts_with("bytes ") => (name, in_bytes),
                name => (name, figure),
            };
            let delta = change.delta();
            let sign = if delta < 0.0 { "−" } else { "+" };
            let delta = if delta == 0.0 { "same".into() } else { format!("{sign}{}", as_text(delta.abs())) };
            text +=
                &format!("  {name:<34} {:>12} {:>12} {delta:>12} {ratio:>8}\n", as_text(change.a), as_text(change.b));
        }
    }
    if c.levels.len() > levels.len() {
        text += &format!("  and {} levels that changed less\n", c.levels.len() - levels.len());
    }
    if let Some(same) = c.same_model {
        text += if same { "\nmodel: the same forest, byte for byte\n" } else { "\nmodel: different forests\n" };
    }
    for (word, ids) in [("gained", &c.lints_gained), ("lost", &c.lints_lost)] {
        if !ids.is_empty() {
            text += &format!("lints {word}: {}\n", ids.join(" "));
        }
    }
    text + &format!("\n{}\n", c.verdict.sentence)
}

fn figure(value: f64) -> String {
    if value == value.round() { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn in_bytes(value: f64) -> String {
    fractal_logs::units::bytes(value as u64)
}
