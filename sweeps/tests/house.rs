//! The house stands as its map says: which crate may know which.

use std::collections::BTreeSet;
use std::path::Path;

/// (crate, crates it may depend on).
const STAIRS: [(&str, &[&str]); 5] = [
    ("logs", &[]),
    ("engine", &["logs"]),
    ("hosts", &["logs"]),
    ("sweeps", &["engine", "hosts", "logs"]),
    ("tui", &["sweeps", "logs"]),
];

fn manifest(name: &str) -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("Cargo.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

#[test]
fn every_stair_goes_down() {
    for (room, below) in STAIRS {
        let manifest = manifest(room);
        let tables = ["dependencies", "dev-dependencies"].iter().filter_map(|name| manifest.get(*name)?.as_table());
        let known: BTreeSet<&str> =
            tables.flat_map(|table| table.keys()).filter_map(|name| name.strip_prefix("fractal-")).collect();
        let allowed: BTreeSet<&str> = below.iter().copied().collect();
        assert!(known.is_subset(&allowed), "{room} knows {known:?} and may know {allowed:?}");
    }
}

#[test]
fn each_foreign_library_has_one_room() {
    let rooms = [
        ("timely", "engine/src/dataflow"),
        ("parquet", "engine/src/dataset"),
        ("object_store", "engine/src/dataset"),
        ("differential_dataflow", "engine/src/profile.rs"),
        ("ratatui", "tui/src"),
        ("crossterm", "tui/src"),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    let mut folders: Vec<_> = STAIRS.iter().map(|(name, _)| root.join(name).join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
                _ => {}
            }
        }
    }
    for (library, room) in rooms {
        for file in &files {
            let below_root = file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            // profile.rs drives its differential computation with timely.
            if below_root.starts_with(room) || below_root == "engine/src/profile.rs" {
                continue;
            }
            let text = std::fs::read_to_string(file).unwrap();
            assert!(
                !text.lines().any(|line| line.trim_start().starts_with(&format!("use {library}::"))),
                "{below_root} uses {library}, whose room is {room}"
            );
        }
    }
}
