//! Whatever a journal holds, no frame panics.

mod support;

use std::io::Write;

use fractal_logs::RunEvent;
use fractal_tui::{App, Message, Screen, snapshot, step};
use proptest::prelude::*;
use support::*;

/// Draws every screen at every size, and at some moments of the run.
fn draw_everything(app: &mut App) {
    for screen in Screen::ALL {
        app.go(screen);
        for (width, height) in [(1, 1), (20, 5), (60, 15), (80, 24), (120, 40), (200, 60)] {
            snapshot::frame(app, width, height);
        }
    }
    app.go(Screen::Live);
    for keys in [["^", "T", "esc"], ["}", "tab", "enter"], ["esc", "$", "e"], ["tab", "e", ")"]] {
        press(app, &keys);
        snapshot::frame(app, 120, 40);
    }
}

fn small() -> Vec<RunEvent> {
    events(Shape { workers: 3, cores: 2, partitions: 9, levels: 2, samples: 5 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order(order in Just((0..small().len()).collect::<Vec<_>>()).prop_shuffle()) {
        let all = small();
        let shuffled = order.into_iter().map(|index| all[index].clone()).collect();
        draw_everything(&mut showing("shuffled", shuffled));
    }

    #[test]
    fn duplicates_and_gaps(picked in proptest::collection::vec(0..small().len(), 0..300)) {
        let all = small();
        draw_everything(&mut showing("picked", picked.into_iter().map(|index| all[index].clone()).collect()));
    }

    #[test]
    fn clocks_that_step_back_and_far_ahead(times in proptest::collection::vec(any::<u64>(), 300)) {
        let mut all = small();
        for (event, time) in all.iter_mut().zip(times) {
            event.elapsed_us = if time % 3 == 0 { time } else { time % 100_000_000 };
        }
        draw_everything(&mut showing("clocks", all));
    }

    #[test]
    fn absurd_numbers(values in proptest::collection::vec((0..small().len(), any::<u64>()), 40)) {
        let all = small();
        let absurd: Vec<RunEvent> = all.iter().enumerate().map(|(place, event)| {
            let Some((_, value)) = values.iter().find(|(index, _)| *index == place) else { return event.clone() };
            // Every number of the event becomes this one, where it still is an event then.
            let mut json = serde_json::to_value(event).unwrap();
            for field in json.as_object_mut().unwrap().values_mut() {
                if field.is_u64() {
                    *field = (*value).into();
                }
            }
            serde_json::from_value(json).unwrap_or_else(|_| event.clone())
        }).collect();
        draw_everything(&mut showing("absurd", absurd));
    }

    #[test]
    fn any_keys_on_any_screen(keys in proptest::collection::vec("[ -~]|enter|esc|tab|up|down|left|right|pgup|pgdn|home|end|backspace|ctrl-[a-z]|shift-left", 1..60)) {
        let mut app = showing("keys", small());
        step(&mut app, [Message::Store(Ok(listing()))]);
        for key in keys {
            let Ok(key) = key.parse() else { continue };
            step(&mut app, [Message::Key(key), Message::Tick(NOW_MS + 100)]);
            snapshot::frame(&app, 80, 24);
        }
    }

    #[test]
    fn a_torn_tail(cut in 1usize..4000, garbage in proptest::collection::vec(any::<u8>(), 0..50)) {
        let text = fractal_tui::feed::SAMPLE.as_bytes();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&text[..text.len() - cut]).unwrap();
        file.write_all(&garbage).unwrap();
        file.flush().unwrap();
        let Ok(journal) = fractal_logs::journal::read(file.path()) else { return Ok(()) };
        draw_everything(&mut showing("torn", journal.events));
    }
}

#[test]
fn nothing_at_all() {
    draw_everything(&mut app());
    draw_everything(&mut showing("empty", Vec::new()));
}

#[test]
fn hostile_texts_stay_text() {
    let mut all = failed();
    for event in &mut all {
        if let fractal_logs::EventKind::WarningRaised { message, .. } = &mut event.kind {
            *message = "\x1b[2J\x1b]52;c;AAAA\x07 tab\there 漢字 e\u{301}".into();
        }
    }
    let app = showing("hostile", all);
    for screen in Screen::ALL {
        let mut app = app.clone();
        app.go(screen);
        step(&mut app, [Message::Tick(NOW_MS + 1)]);
        let text = snapshot::text(&snapshot::frame(&app, 200, 60));
        assert!(!text.contains('\x1b') && !text.contains('\x07'), "{screen:?}");
    }
}
