//! Live and replay are one renderer: the same events give the same frame.

mod support;

use fractal_logs::RunEvent;
use fractal_tui::run::Head;
use fractal_tui::{App, snapshot};
use support::*;

/// The frame below the first two lines and above the scrub bar and footer.
fn body(app: &App, width: u16, height: u16) -> (String, String) {
    let buffer = snapshot::frame(app, width, height);
    let lines = |text: String| text.lines().skip(2).take(height as usize - 4).map(String::from).collect::<Vec<_>>();
    let of_body = |line: &String| {
        let y: usize = line.split(':').next().and_then(|y| y.parse().ok()).unwrap_or(0);
        (2..height as usize - 2).contains(&y)
    };
    let styles = snapshot::styles(&buffer).lines().map(String::from).filter(of_body).collect::<Vec<_>>().join("\n");
    (lines(snapshot::text(&buffer)).join("\n"), styles)
}

fn check(events: Vec<RunEvent>) {
    let total = events.iter().map(|event| event.elapsed_us).max().unwrap();
    for share in [0, 5, 15, 30, 45, 60, 75, 90, 100] {
        let moment = total * share / 100;
        let mut replay = showing("run", events.clone());
        replay.run.as_mut().unwrap().seek(moment);
        let until = replay.run.as_ref().unwrap().events_seen();
        if until == 0 {
            // Live, a run without events waits for its first one.
            continue;
        }
        let live = showing("run", events[..until].to_vec());
        assert_eq!(live.run.as_ref().unwrap().head, Head::Live);
        for (width, height) in [(80, 24), (120, 40), (200, 60)] {
            let (a, b) = (body(&live, width, height), body(&replay, width, height));
            // Where the replay stands is drawn into the free cells of the time axis; nothing else may differ.
            let plain = |text: &str| text.replace('│', " ");
            assert_eq!(plain(&a.0), plain(&b.0), "{share}% at {width}x{height}");
        }
    }
}

#[test]
fn of_the_recorded_run() {
    check(sample());
}

#[test]
fn of_the_run_that_lost_a_worker() {
    check(failed());
}

#[test]
fn of_a_made_up_run() {
    check(events(Shape { workers: 5, cores: 2, partitions: 60, levels: 4, samples: 25 }));
}

#[test]
fn seeking_forward_step_by_step_is_seeking_at_once() {
    let events = sample();
    let total = events.iter().map(|event| event.elapsed_us).max().unwrap();
    let mut stepped = showing("run", events.clone()).run.unwrap();
    stepped.seek(0);
    for moment in (0..=total).step_by(70_000) {
        stepped.seek(moment);
        let mut jumped = showing("run", events.clone()).run.unwrap();
        jumped.seek(moment);
        assert_eq!(stepped.state(), jumped.state());
    }
}
