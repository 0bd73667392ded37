//! The duration model on the sixteen local cells of the original's experiment 1, whose figures are in
//! `original-results.csv`.

use fractal_sweeps::predict::{Ahead, DurationPoint, Durations};

/// (executors, fraction, rows of train, training seconds, total seconds)
fn local_cells() -> Vec<(f64, f64, f64, f64, f64)> {
    let table = include_str!("original-results.csv");
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    table
        .lines()
        .filter(|line| line.starts_with("local/experiment-1"))
        .map(|line| {
            let field: Vec<&str> = line.split(',').collect();
            let number = |name| field[column(name)].parse().unwrap();
            (
                number("num_executors"),
                number("sample_fraction"),
                number("train_count"),
                number("training_time_sec"),
                number("total_time_sec"),
            )
        })
        .collect()
}

#[test]
fn the_median_leave_one_out_error_is_below_three_percent() {
    let cells = local_cells();
    assert_eq!(cells.len(), 16);
    // Before a run only its fraction is known, after it its rows: both serve as the amount of work.
    for work in [|c: &(f64, f64, f64, f64, f64)| c.1, |c: &(f64, f64, f64, f64, f64)| c.2] {
        let points: Vec<DurationPoint> = cells
            .iter()
            .map(|c| DurationPoint { stratum: "local".into(), work: work(c), workers: c.0, seconds: c.4 })
            .collect();
        let model = Durations::fit(&points);
        let error = model.median_error().unwrap();
        assert!(error <= 0.03, "median leave-one-out error {error:.4}");

        // The one cell that the others cannot explain is the polluted baseline: x1 at 0.07.
        let residuals = model.residuals();
        let anomalies: Vec<_> = residuals.iter().filter(|r| r.is_anomaly()).collect();
        assert_eq!(anomalies.len(), 1, "{anomalies:?}");
        assert_eq!(anomalies[0].seconds, 8592.49);
        assert!((-0.37..-0.33).contains(&anomalies[0].relative()), "{}", anomalies[0].relative());
    }
}

#[test]
fn bands_are_ordered_and_hold_most_cells() {
    let points: Vec<DurationPoint> = local_cells()
        .iter()
        .map(|c| DurationPoint { stratum: "local".into(), work: c.1, workers: c.0, seconds: c.4 })
        .collect();
    let model = Durations::fit(&points);
    let mut held = 0;
    for point in &points {
        let ahead = Ahead { stratum: "local".into(), work: point.work, workers: point.workers };
        let band = model.predict(&ahead).unwrap();
        assert!(0.0 < band.p50 && band.p50 <= band.p90, "{band:?}");
        held += usize::from(point.seconds <= band.p90);
    }
    assert!(held >= 13, "{held} of 16 cells lie under their P90");
}
