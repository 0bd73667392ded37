//! The documentation lists what there is.

mod recording;

use std::collections::{BTreeMap, BTreeSet};

use fractal_logs::EventKind;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use recording::any_event;

/// Section of each event in the README, by kind.
fn sections() -> BTreeMap<String, String> {
    let readme = include_str!("../README.md");
    readme
        .split("\n### ")
        .skip(1)
        .map(|section| {
            let (kind, text) = section.split_once('\n').unwrap();
            (kind.to_string(), text.split("\n## ").next().unwrap().to_string())
        })
        .collect()
}

#[test]
fn each_kind_has_its_section() {
    let documented: BTreeSet<String> = sections().into_keys().collect();
    let known: BTreeSet<String> = EventKind::NAMES.iter().map(|name| name.to_string()).collect();
    assert_eq!(documented, known);
}

#[test]
fn each_field_is_named_in_its_section() {
    let sections = sections();
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..2000 {
        let event = any_event().new_tree(&mut runner).unwrap().current();
        let kind = event.kind.name();
        if !seen.insert(kind) {
            continue;
        }
        let line = serde_json::to_value(&event).unwrap();
        for field in line.as_object().unwrap().keys().filter(|key| !["t", "src", "event"].contains(&key.as_str())) {
            assert!(sections[kind].contains(&format!("`{field}`")), "README.md does not tell {kind}.{field}");
        }
    }
    assert_eq!(seen.len(), EventKind::NAMES.len(), "not all kinds came up: raise the number of tries");
}
