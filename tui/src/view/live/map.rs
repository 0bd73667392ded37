//! The map: one mark a partition (or a worker's share of a level); the shade tells its time, the glyph its state.

use std::collections::BTreeMap;

use fractal_logs::state::PartitionState;
use fractal_logs::{Phase, RunState, Subset};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::MapKind;
use crate::app::App;
use crate::run::OpenRun;
use crate::theme::{Theme, Tone};
use crate::view::{self, put};

/// A mark of the map.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    /// Done, in this many times the median.
    Done(f64),
    Running,
    Planned,
    Lost,
}

impl Mark {
    /// Four shades of time, and three signs: none of them is told by colour alone.
    fn draw(self, theme: Theme) -> (&'static str, Style) {
        match self {
            Mark::Done(ratio) => {
                let (unicode, ascii, tone) = match ratio {
                    r if r < 0.67 => ("░", "-", Tone::Good),
                    r if r < 1.5 => ("▒", "=", Tone::Good),
                    r if r < 2.0 => ("▓", "#", Tone::Warn),
                    _ => ("█", "@", Tone::Bad),
                };
                (theme.either(unicode, ascii), theme.tone(tone))
            }
            Mark::Running => (theme.either("▶", ">"), theme.tone(Tone::Busy)),
            Mark::Planned => (theme.either("·", "."), theme.dim()),
            Mark::Lost => (theme.either("✘", "x"), theme.tone(Tone::Bad)),
        }
    }
}

fn median(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(1).max(1) as f64
}

/// Marks of the partitions of some subsets, by worker.
fn partitions(state: &RunState, subsets: &[Subset]) -> BTreeMap<u32, Vec<Mark>> {
    let of_subset = |partition: &&PartitionState| partition.subset.is_some_and(|s| subsets.contains(&s));
    let all = || state.partitions.values().filter(of_subset);
    let median = median(all().filter_map(|p| Some(p.loaded.as_ref()?.wall_us)).collect());
    let reading = state.phases.get(if subsets.contains(&Subset::Train) { &Phase::Load } else { &Phase::Evaluate });
    let reading =
        reading.is_some_and(|phase| phase.span().is_some_and(|(_, end)| end.is_none())) && state.finished.is_none();
    let mut busy: BTreeMap<(u32, u32), ()> = BTreeMap::new();
    let mut marks: BTreeMap<u32, Vec<Mark>> = BTreeMap::new();
    for partition in all() {
        let planned = partition.planned.as_ref();
        let worker =
            planned.map(|p| p.worker).or(partition.loaded.as_ref().and_then(|l| l.source.worker())).unwrap_or(0);
        let mark = match (&partition.loaded, planned) {
            (Some(loaded), _) => Mark::Done(loaded.wall_us as f64 / median),
            (None, Some(planned)) => {
                let lost = state.workers.get(&planned.worker).is_some_and(|worker| worker.lost.is_some());
                // A thread reads its partitions in order: the first that is not done is the one it is at.
                let first = reading && busy.insert((planned.worker, planned.thread), ()).is_none();
                match (lost, first) {
                    (true, _) => Mark::Lost,
                    (false, true) => Mark::Running,
                    (false, false) => Mark::Planned,
                }
            }
            (None, None) => Mark::Planned,
        };
        marks.entry(worker).or_default().push(mark);
    }
    marks
}

/// Marks of the levels, by worker: how long its threads were busy, against the median of the level.
fn levels(state: &RunState) -> BTreeMap<u32, Vec<Mark>> {
    let workers: Vec<u32> = state.workers.keys().copied().collect();
    let mut marks: BTreeMap<u32, Vec<Mark>> = BTreeMap::new();
    for level in state.levels.values() {
        let mut busy: BTreeMap<u32, u64> = BTreeMap::new();
        for (&(worker, _), share) in &level.threads {
            let sum = busy.entry(worker).or_default();
            *sum = sum.saturating_add(share.busy_us);
        }
        let median = median(busy.values().copied().collect());
        for &worker in &workers {
            let mark = match busy.get(&worker) {
                Some(&us) => Mark::Done(us as f64 / median),
                None if state.workers[&worker].lost.is_some() => Mark::Lost,
                None if level.finished.is_none() && state.finished.is_none() => Mark::Running,
                None => Mark::Planned,
            };
            marks.entry(worker).or_default().push(mark);
        }
    }
    marks
}

/// Draws it.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun, focused: bool) {
    let theme = app.theme;
    let state = run.state();
    let show_levels = match app.live_state.map {
        MapKind::Auto => !state.levels.is_empty() && state.current_phase().is_none_or(|phase| phase == Phase::Train),
        MapKind::Partitions => false,
        MapKind::Levels => true,
    };
    let scoring = !show_levels && app.live_state.map == MapKind::Auto && state.current_phase() >= Some(Phase::Evaluate);
    let (title, marks) = if show_levels {
        ("Map: levels".to_string(), levels(state))
    } else {
        let subsets: &[Subset] = if scoring { &[Subset::Val, Subset::Test] } else { &[Subset::Train] };
        let marks = partitions(state, subsets);
        let all: usize = marks.values().map(Vec::len).sum();
        let done = marks.values().flatten().filter(|mark| matches!(mark, Mark::Done(_))).count();
        let what = if scoring { "val+test" } else { "train" };
        (format!("Map: {what} partitions {done}/{all}"), marks)
    };
    let hint = if focused { "m what it shows · T slowest" } else { "" };
    let inner = view::pane(frame, area, app, &title, hint, focused);
    if marks.is_empty() {
        let line = if show_levels {
            "no level has begun at this moment"
        } else {
            "no partition is planned yet at this moment"
        };
        view::empty(frame, inner, app, &[(line, false)]);
        return;
    }
    let buffer = frame.buffer_mut();
    let mut y = inner.y;
    // The legend, where there is room for it.
    if inner.height as usize > marks.len() || inner.height > 8 {
        let mut x = inner.x;
        let unit = if show_levels { "level" } else { "one" };
        x = put(buffer, x, y, &format!("{unit}: "), inner.right() - x, theme.dim());
        for (mark, word) in [
            (Mark::Done(0.1), "<⅔ "),
            (Mark::Done(1.0), "≈median "),
            (Mark::Done(1.8), ">1½ "),
            (Mark::Done(3.0), ">2× "),
            (Mark::Running, "running"),
        ] {
            let word = if theme.ascii {
                word.replace('⅔', ".67").replace('½', ".5").replace('≈', "~").replace('×', "x")
            } else {
                word.into()
            };
            if x + word.chars().count() as u16 + 1 > inner.right() {
                break;
            }
            let (glyph, style) = mark.draw(theme);
            x = put(buffer, x, y, glyph, 1, style);
            x = put(buffer, x, y, &word, inner.right() - x, theme.dim());
        }
        y += 1;
    }
    let height = inner.bottom().saturating_sub(y) as usize;
    let label = 4;
    let per_line = inner.width.saturating_sub(label + 1).max(1) as usize;
    let lines = |marks: &Vec<Mark>| marks.len().div_ceil(per_line).max(1);
    let needed: usize = marks.values().map(lines).sum();
    let scroll = if focused { app.live_state.scroll.min(needed.saturating_sub(height)) } else { 0 };
    let mut line = 0;
    for (worker, marks) in &marks {
        for (part, chunk) in marks.chunks(per_line).enumerate() {
            if line >= scroll && line - scroll < height {
                let y = y + (line - scroll) as u16;
                if part == 0 {
                    put(buffer, inner.x, y, &format!("w{worker}"), label, theme.dim());
                }
                for (place, mark) in chunk.iter().enumerate() {
                    let (glyph, style) = mark.draw(theme);
                    put(buffer, inner.x + label + place as u16, y, glyph, 1, style);
                }
            }
            line += 1;
        }
    }
    if needed > height && height > 0 {
        let text = format!(" {} of {needed} lines ", (scroll + height).min(needed));
        let width = text.len() as u16;
        put(buffer, inner.right().saturating_sub(width), inner.bottom() - 1, &text, width, theme.dim());
    }
}
