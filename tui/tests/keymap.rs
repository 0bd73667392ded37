//! The key table is sound, and everything that reads it agrees with it.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use fractal_tui::keymap::{Key, Keymap, SECTIONS, Scope};
use fractal_tui::{Screen, snapshot};
use support::{app, press};

#[test]
fn no_key_means_two_things_in_a_section_and_no_name_is_used_twice() {
    Keymap::new(&BTreeMap::new()).unwrap();
    let mut names = BTreeSet::new();
    for binding in SECTIONS.iter().flat_map(|(_, bindings)| *bindings) {
        assert!(names.insert(binding.name), "{} is named twice", binding.name);
        assert!(!binding.keys.is_empty() && !binding.help.is_empty(), "{}", binding.name);
    }
}

#[test]
fn keys_are_written_as_they_are_read() {
    for binding in SECTIONS.iter().flat_map(|(_, bindings)| *bindings) {
        for text in binding.keys {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), *text);
        }
    }
    assert!("hyper-x".parse::<Key>().is_err());
}

#[test]
fn digits_mean_their_screens_everywhere() {
    for screen in Screen::ALL {
        for wanted in Screen::ALL {
            let mut app = app();
            app.go(screen);
            press(&mut app, &[&wanted.digit().to_string()]);
            assert_eq!(app.screen, wanted);
        }
    }
}

#[test]
fn the_help_shows_every_action_and_finds_it_by_its_words() {
    for (scope, bindings) in SECTIONS {
        for binding in bindings {
            let mut app = app();
            press(&mut app, &["?"]);
            for word in binding.help.split_whitespace().take(4) {
                for letter in word.chars() {
                    press(&mut app, &[&Key::char(letter).to_string()]);
                }
                press(&mut app, &["space"]);
            }
            let text = snapshot::text(&snapshot::frame(&app, 200, 60));
            let found = binding.help.chars().take(40).collect::<String>();
            assert!(text.contains(&found), "{scope:?} {}: the help does not find '{found}'\n{text}", binding.name);
        }
    }
}

#[test]
fn keys_can_be_changed_and_wrong_changes_are_named() {
    let change = |name: &str, key: &str| Keymap::new(&BTreeMap::from([(name.to_string(), vec![key.to_string()])]));
    let changed = change("live.play", "P").unwrap();
    assert_eq!(changed.find(Screen::Live, Key::char('P')).unwrap().name, "live.play");
    assert_ne!(changed.find(Screen::Live, Key::char(' ')).map(|binding| binding.name), Some("live.play"));
    assert!(change("live.nothing", "P").unwrap_err().contains("live.nothing"));
    assert!(change("live.play", "B").unwrap_err().contains("live.bookmark"));
    assert!(change("live.play", "enterprise").unwrap_err().contains("enterprise"));
}

#[test]
fn read_only_refuses_all_that_acts() {
    let mut acting = 0;
    for (scope, bindings) in SECTIONS {
        let Some(screen) = Screen::ALL.into_iter().find(|screen| Scope::of(*screen) == scope) else { continue };
        for binding in bindings.iter().filter(|binding| binding.acts) {
            let mut app = app();
            app.config.read_only = true;
            app.go(screen);
            let commands = press(&mut app, &[binding.keys[0]]);
            assert!(commands.is_empty() && app.overlays.is_empty(), "{} acts", binding.name);
            assert!(app.notice.unwrap().text.contains("read-only"));
            acting += 1;
        }
    }
    assert!(acting > 3);
}
