//! The original's result file: one flat JSON object, with sparkMeasure's aggregate as `spark_metrics` where it was on.

use std::collections::BTreeMap;

use fractal_logs::Outcome;
use serde::Deserialize;

use crate::analysis::{Measured, Origin, PhaseMeasured};

#[derive(Deserialize)]
struct Flat {
    train_count: u64,
    val_count: u64,
    test_count: u64,
    num_partitions: u64,
    val_accuracy: Option<f64>,
    test_accuracy: Option<f64>,
    training_time_sec: f64,
    total_time_sec: f64,
    num_executors: u32,
    executor_cores: u32,
    sample_fraction: f64,
    executor_memory: Option<f64>,
    num_trees: Option<u32>,
    spark_metrics: Option<Metrics>,
}

/// sparkMeasure's names; times in milliseconds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    num_stages: u64,
    num_tasks: u64,
    elapsed_time: u64,
    executor_run_time: u64,
    executor_cpu_time: u64,
    records_read: u64,
    bytes_read: u64,
    shuffle_bytes_written: u64,
    /// Added up over stages by sparkMeasure, whatever its name says.
    peak_execution_memory: u64,
}

/// Reads one result file's text. The reason of a refusal names the key that is missing or wrong.
pub fn read_flat(text: &str) -> Result<Measured, String> {
    let flat: Flat = serde_json::from_str(text).map_err(|error| error.to_string())?;
    for (key, value) in [("total_time_sec", flat.total_time_sec), ("training_time_sec", flat.training_time_sec)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(format!("{key} is {value}, not a time"));
        }
    }
    if flat.num_executors == 0 || flat.executor_cores == 0 {
        return Err("num_executors and executor_cores must be at least 1".into());
    }
    let mut config = BTreeMap::from([
        ("workers".to_string(), flat.num_executors.to_string()),
        ("cores".to_string(), flat.executor_cores.to_string()),
        ("fraction".to_string(), flat.sample_fraction.to_string()),
    ]);
    if let Some(memory) = flat.executor_memory {
        config.insert("memory".into(), format!("{memory}g"));
    }
    if let Some(trees) = flat.num_trees {
        config.insert("trees".into(), trees.to_string());
    }
    let seconds = |ms: u64| ms as f64 / 1e3;
    let metrics = flat.spark_metrics.as_ref();
    let phase = |name: &str, wall_s| PhaseMeasured { name: name.into(), wall_s, cpu_s: None, busy_s: None };
    Ok(Measured {
        origin: Origin::SparkResult,
        // The program wrote its file last: a run that failed left none.
        outcome: Some(Outcome::Done),
        config,
        workers: flat.num_executors,
        cores: flat.executor_cores,
        memory: flat.executor_memory.map(|gib| (gib * (1u64 << 30) as f64) as u64),
        fraction: flat.sample_fraction,
        trees: flat.num_trees,
        train_rows: flat.train_count,
        val_rows: flat.val_count,
        test_rows: flat.test_count,
        partitions: flat.num_partitions,
        val_accuracy: flat.val_accuracy,
        test_accuracy: flat.test_accuracy,
        total_s: flat.total_time_sec,
        train_s: Some(flat.training_time_sec),
        phases: vec![
            phase("train", flat.training_time_sec),
            phase("load+evaluate", flat.total_time_sec - flat.training_time_sec),
        ],
        busy_s: metrics.map(|m| seconds(m.executor_run_time)),
        cpu_s: metrics.map(|m| seconds(m.executor_cpu_time)),
        window_s: metrics.map(|m| seconds(m.elapsed_time)),
        tasks: metrics.map(|m| m.num_tasks),
        stages: metrics.map(|m| m.num_stages),
        records_read: metrics.map(|m| m.records_read),
        read_bytes: metrics.map(|m| m.bytes_read),
        exchanged_bytes: metrics.map(|m| m.shuffle_bytes_written),
        summed_peak_bytes: metrics.map(|m| m.peak_execution_memory),
        ..Measured::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_without_metrics_and_names_what_is_missing() {
        let text = r#"{"train_count":59109292,"val_count":7015284,"test_count":11836835,"num_partitions":47,
            "val_accuracy":0.8087,"test_accuracy":0.7713,"training_time_sec":122.02,"total_time_sec":186.05,
            "num_executors":4,"executor_cores":2,"sample_fraction":0.01,"executor_memory":8}"#;
        let run = read_flat(text).unwrap();
        assert_eq!((run.workers, run.partitions, run.total_s), (4, 47, 186.05));
        assert_eq!((run.memory, run.busy_s), (Some(8 << 30), None));
        let missing = read_flat(&text.replace("total_time_sec", "total")).unwrap_err();
        assert!(missing.contains("total_time_sec"), "{missing}");
        assert!(read_flat(&text.replace("186.05", "-1")).unwrap_err().contains("total_time_sec"));
    }
}
