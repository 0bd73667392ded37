//! Each lint has a page in `docs/lints`, and each page a lint.

use std::collections::BTreeSet;
use std::path::Path;

use fractal_sweeps::analysis::lint::LINTS;

#[test]
fn every_lint_has_its_page_and_every_page_its_lint() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lints");
    let pages: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|stem| stem != "README")
        .collect();
    let lints: BTreeSet<String> = LINTS.iter().map(|lint| lint.id.to_string()).collect();
    assert_eq!(pages, lints);
    assert_eq!(lints.len(), LINTS.len(), "an id occurs twice");
}

#[test]
fn pages_open_with_their_id_and_name_and_have_all_parts() {
    for lint in LINTS {
        assert!(lint.page.starts_with(&format!("# {} {}\n", lint.id, lint.name)), "{}: {:.60}", lint.id, lint.page);
        for part in ["## Formula", "## Example", "## What to do", "## Limits"] {
            assert!(lint.page.contains(part), "{} lacks {part}", lint.id);
        }
    }
}
