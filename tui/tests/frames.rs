//! Frames of every screen of the viewer, as text at three sizes and with their styles in every theme.
//!
//! `INSTA_UPDATE=always cargo test --workspace --test frames` takes new ones; look at them before they are kept.

mod support;

use fractal_tui::theme::Palette;
use fractal_tui::view::live::Pane;
use fractal_tui::{App, Message, Screen, snapshot, step};
use support::*;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn check(name: &str, app: &App) {
    for (width, height) in SIZES {
        let text = snapshot::text(&snapshot::frame(app, width, height));
        insta::assert_snapshot!(format!("{name}@{width}x{height}"), text);
    }
}

fn scrubbed(events: Vec<fractal_logs::RunEvent>, share: u64) -> App {
    let mut app = showing("run", events);
    let run = app.run.as_mut().unwrap();
    let moment = run.total_us() * share / 100;
    run.seek(moment);
    app
}

#[test]
fn store() {
    let mut empty = app();
    step(&mut empty, [Message::Store(Ok(Vec::new()))]);
    check("store_empty", &empty);
    let mut full = app();
    step(&mut full, [Message::Store(Ok(listing()))]);
    press(&mut full, &["j", "j", "space"]);
    check("store", &full);
    let mut failed = app();
    step(&mut failed, [Message::Store(Err("cannot read runs: Permission denied".into()))]);
    check("store_failed", &failed);
}

#[test]
fn run() {
    check("run_done", &showing("sample", sample()));
    check("run_replay", &scrubbed(sample(), 60));
    check("run_failed", &showing("worker-lost", failed()));
    check("run_huge", &scrubbed(events(HUGE), 70));
    let one = Shape { workers: 1, cores: 1, partitions: 1, levels: 1, samples: 3 };
    check("run_one_of_everything", &showing("one", events(one)));
    check("run_just_started", &showing("started", events(SMALL)[..3].to_vec()));
    check("run_none", &{
        let mut app = app();
        app.go(Screen::Live);
        app
    });
}

#[test]
fn panes_on_a_whole_screen() {
    for pane in Pane::ALL {
        let mut app = scrubbed(events(HUGE), 80);
        app.live_state.focus = pane;
        app.live_state.expanded = true;
        let text = snapshot::text(&snapshot::frame(&app, 120, 40));
        insta::assert_snapshot!(format!("pane_{pane:?}@120x40"), text);
    }
}

#[test]
fn event_list() {
    let mut app = showing("sample", sample());
    press(&mut app, &["5"]);
    step(&mut app, [Message::Tick(NOW_MS + 1)]);
    check("events", &app);
    press(&mut app, &["/"]);
    step(&mut app, [Message::Paste("kind:Level worker:1".into())]);
    check("events_filtered", &app);
}

#[test]
fn overlays() {
    let opened = |keys: &[&str]| {
        let mut app = showing("sample", sample());
        press(&mut app, keys);
        app
    };
    check("help", &opened(&["?"]));
    check("help_searched", &opened(&["?", "s", "p", "e", "e", "d"]));
    check("export", &opened(&["x"]));
    check("command_line", &opened(&[":", "t", "h"]));
    check("slowest", &opened(&["T"]));
    check("operators", &opened(&["o"]));
    check("operators_channels", &opened(&["o", "tab"]));
    check("worker", &opened(&["tab", "enter"]));
    check("go_to", &opened(&["g", "1", "2", "m"]));
}

#[test]
fn small_terminals() {
    for (width, height) in [(60, 15), (59, 15), (79, 23), (100, 30)] {
        let text = snapshot::text(&snapshot::frame(&scrubbed(sample(), 60), width, height));
        insta::assert_snapshot!(format!("run@{width}x{height}"), text);
    }
}

#[test]
fn styles_of_every_theme() {
    for palette in Palette::ALL {
        let mut app = scrubbed(failed(), 90);
        app.config.theme = palette;
        app.apply_theme();
        let buffer = snapshot::frame(&app, 120, 40);
        insta::assert_snapshot!(format!("styles_{}", palette.name()), snapshot::styles(&buffer));
    }
}

#[test]
fn ascii() {
    let mut app = scrubbed(failed(), 90);
    app.config.ascii = true;
    app.apply_theme();
    for screen in Screen::ALL {
        app.go(screen);
        for (width, height) in SIZES {
            let text = snapshot::text(&snapshot::frame(&app, width, height));
            let foreign: String = text.chars().filter(|c| !c.is_ascii()).collect();
            assert!(foreign.is_empty(), "{screen:?} at {width}x{height} shows {foreign}\n{text}");
        }
    }
    app.go(Screen::Live);
    insta::assert_snapshot!("ascii@120x40", snapshot::text(&snapshot::frame(&app, 120, 40)));
}

#[test]
fn without_colours_there_are_none() {
    let mut app = scrubbed(failed(), 90);
    app.without_colours();
    for screen in Screen::ALL {
        app.go(screen);
        let styles = snapshot::styles(&snapshot::frame(&app, 120, 40));
        let coloured = styles.lines().find(|line| {
            let style = line.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')).map_or("", |(_, style)| style);
            !style.split_whitespace().all(|word| ["BOLD", "DIM", "REVERSED", "|"].contains(&word))
        });
        assert_eq!(coloured, None, "{screen:?}");
    }
}

/// What colours tell is told without them too: the same symbols stand in every theme.
#[test]
fn colours_only_repeat_what_symbols_say() {
    let app = scrubbed(failed(), 90);
    let text = |palette: Palette| {
        let mut app = app.clone();
        app.config.theme = palette;
        app.apply_theme();
        snapshot::text(&snapshot::frame(&app, 120, 40))
    };
    // Without colours the focused pane has thick lines instead.
    let plain = |text: String| text.replace(['┏', '┓', '┗', '┛', '━', '┃', '┌', '┐', '└', '┘', '─', '│'], " ");
    for palette in Palette::ALL {
        assert_eq!(plain(text(palette)), plain(text(Palette::Dark)), "{palette:?}");
    }
}
