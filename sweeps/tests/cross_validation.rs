//! One forest a fold serves a whole grid: its prefixes and truncations are the models that would have been grown alone.

use std::path::Path;
use std::process::Command;

use fractal_engine::dataset::{GenerateSpec, generate};
use fractal_logs::{FoldScore, RunResult};

fn scores(set: &Path, store: &Path, trees: &str, depths: &str) -> Vec<FoldScore> {
    let output = Command::new(env!("CARGO_BIN_EXE_fractal-run"))
        .env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
        .args(["--json", "--quiet", "--folds", "3", "--grid-trees", trees, "--grid-depths", depths, "--data"])
        .arg(set)
        .arg("--store")
        .arg(store)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: RunResult = serde_json::from_slice(&output.stdout).unwrap();
    result.cross_validation.unwrap().folds
}

#[test]
fn each_model_scores_as_it_would_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (set, store) = (folder.path().join("set"), folder.path().join("store"));
    let spec = GenerateSpec {
        train_files: 4,
        val_files: 1,
        test_files: 1,
        rows_per_file: 2000,
        row_group_rows: 1000,
        seed: 11,
    };
    generate(&set, &spec, 2, &|_| {}).unwrap();
    let grid = scores(&set, &store, "2,6", "1,3,7");
    assert_eq!(grid.len(), 2 * 3 * 3);
    for trees in [2, 6] {
        for depth in [1, 3, 7] {
            let of_grid: Vec<&FoldScore> =
                grid.iter().filter(|score| (score.trees, score.depth) == (trees, depth)).collect();
            let alone = scores(&set, &store, &trees.to_string(), &depth.to_string());
            assert_eq!(of_grid, alone.iter().collect::<Vec<_>>(), "{trees} trees of depth {depth}");
        }
    }
}
