//! Which panes are where.

use fractal_logs::RunState;
use ratatui::layout::{Constraint, Layout, Rect};

use super::{Pane, phases};
use crate::app::App;

/// Panes and their places, and the scrub bar's.
pub(super) struct Plan {
    pub(super) panes: Vec<(Pane, Rect)>,
    pub(super) scrub: Rect,
}

/// Panes that share the last row of a middling screen.
const LAST_ROW: [Pane; 3] = [Pane::Log, Pane::Splits, Pane::Scores];

/// Lays the panes out in `area`. Every pane has a place on every screen: where there is little room, the focused one
/// takes the place that it shares with others.
pub(super) fn plan(app: &App, area: Rect) -> Plan {
    let [body, scrub] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(area);
    let focus = app.live_state.focus;
    let empty = RunState::default();
    let state = app.run.as_ref().map_or(&empty, |run| run.state());
    let panes = match (body.width, body.height) {
        _ if app.live_state.expanded => vec![(focus, body)],
        (..80, _) | (_, ..18) => vec![(focus, body)],
        (..100, _) | (_, ..30) => small(body, focus, state),
        (160.., 44..) => wide(body, state),
        _ => middling(body, focus, state),
    };
    Plan { panes, scrub }
}

fn stage_rows(state: &RunState, most: u16) -> u16 {
    (phases::count(state) as u16 + 3).clamp(5, most)
}

/// Phases above, below them one pane: the focused one.
fn small(body: Rect, focus: Pane, state: &RunState) -> Vec<(Pane, Rect)> {
    let lower = if focus == Pane::Phases { Pane::Workers } else { focus };
    let need = match lower {
        Pane::Workers => state.workers.len() as u16 + 3,
        _ => 12,
    };
    let rows = stage_rows(state, (body.height * 3 / 5).min(body.height.saturating_sub(need.min(10)).max(6)));
    let [top, rest] = Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(body);
    vec![(Pane::Phases, top), (lower, rest)]
}

fn middling(body: Rect, focus: Pane, state: &RunState) -> Vec<(Pane, Rect)> {
    let lower = [Constraint::Length(9), Constraint::Min(5)];
    let (mut panes, [charts, last]) = upper(body, state, (5, body.height * 2 / 5), (8, 5), lower);
    panes.extend(side_by_side([Pane::Speed, Pane::Memory], [1, 1], charts));
    let scored = state.subsets.values().any(|subset| subset.evaluation.is_some());
    let lower = match focus {
        focus if LAST_ROW.contains(&focus) => focus,
        _ if state.finished.as_ref().is_some_and(|f| f.outcome != fractal_logs::Outcome::Done) => Pane::Log,
        _ if scored => Pane::Scores,
        _ if !state.levels.is_empty() => Pane::Splits,
        _ => Pane::Log,
    };
    panes.push((lower, last));
    panes
}

fn wide(body: Rect, state: &RunState) -> Vec<(Pane, Rect)> {
    let lower = [Constraint::Fill(2), Constraint::Fill(3)];
    let (mut panes, [charts, last]) = upper(body, state, (8, body.height / 3), (3, 2), lower);
    panes.extend(side_by_side([Pane::Speed, Pane::Memory], [1, 1], charts));
    panes.extend(side_by_side([Pane::Splits, Pane::Scores, Pane::Log], [4, 4, 3], last));
    panes
}

/// The phases, and below them workers and map; what is left is cut by `lower`.
fn upper(
    body: Rect,
    state: &RunState,
    (least_workers, most_stages): (u16, u16),
    (workers_share, map_share): (u16, u16),
    lower: [Constraint; 2],
) -> (Vec<(Pane, Rect)>, [Rect; 2]) {
    let workers = (state.workers.len() as u16 + 3).clamp(least_workers, body.height / 3);
    let rows = stage_rows(state, most_stages);
    let [charts, last] = lower;
    let [top, middle, charts, last] =
        Layout::vertical([Constraint::Length(rows), Constraint::Length(workers), charts, last]).areas(body);
    let mut panes = vec![(Pane::Phases, top)];
    panes.extend(side_by_side([Pane::Workers, Pane::Map], [workers_share, map_share], middle));
    (panes, [charts, last])
}

fn side_by_side<const N: usize>(panes: [Pane; N], shares: [u16; N], area: Rect) -> impl Iterator<Item = (Pane, Rect)> {
    let places: [Rect; N] = Layout::horizontal(shares.map(Constraint::Fill)).areas(area);
    panes.into_iter().zip(places)
}
