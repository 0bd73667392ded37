//! [`Confusion`]: how often each class was predicted as which, and the scores that follow.

use serde::{Deserialize, Serialize};

/// Counts of (actual, predicted) pairs. Sums of confusions are confusions of the rows together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Number of classes.
    pub classes: usize,
    /// `classes × classes` rows, actual-major.
    pub counts: Vec<u64>,
    /// Rows whose label the forest never saw in training; they count as predicted wrongly.
    pub unknown: u64,
}

/// Scores of one class; each is 0 where it would divide by 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Rows of the class.
    pub rows: u64,
    /// Share of the rows predicted as the class that are of it.
    pub precision: f64,
    /// Share of its rows that were predicted as it.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Intersection over union: its rows predicted as it ÷ rows that are of it or predicted as it.
    pub iou: f64,
}

impl Confusion {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Confusion { classes, counts: vec![0; classes * classes], unknown: 0 }
    }

    /// Adds one row.
    pub fn add(&mut self, actual: usize, predicted: usize) {
        self.counts[actual * self.classes + predicted] += 1;
    }

    /// Adds all rows of another confusion of as many classes.
    pub fn merge(&mut self, other: &Confusion) {
        assert_eq!(self.classes, other.classes, "confusions of different forests");
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.unknown += other.unknown;
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.unknown
    }

    /// Share of all rows predicted correctly; 0 without rows.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|c| self.counts[c * self.classes + c]).sum();
        ratio(right, self.rows())
    }

    /// Scores of each class. Rows of an unknown label count in no class's union: what they were taken for is not kept.
    pub fn class_scores(&self) -> Vec<ClassScores> {
        (0..self.classes)
            .map(|class| {
                let hits = self.counts[class * self.classes + class];
                let actual: u64 = self.counts[class * self.classes..(class + 1) * self.classes].iter().sum();
                let predicted: u64 = self.counts.iter().skip(class).step_by(self.classes).sum();
                ClassScores {
                    rows: actual,
                    precision: ratio(hits, predicted),
                    recall: ratio(hits, actual),
                    f1: ratio(2 * hits, actual + predicted),
                    iou: ratio(hits, actual + predicted - hits),
                }
            })
            .collect()
    }

    /// Mean IoU over the classes that occur (actual or predicted); 0 without any.
    pub fn mean_iou(&self) -> f64 {
        let scores = self.class_scores();
        let occurs = |c: &usize| {
            (0..self.classes).any(|o| self.counts[c * self.classes + o] + self.counts[o * self.classes + c] > 0)
        };
        let present: Vec<f64> = (0..self.classes).filter(occurs).map(|c| scores[c].iou).collect();
        if present.is_empty() { 0.0 } else { present.iter().sum::<f64>() / present.len() as f64 }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_hand() {
        let mut c = Confusion::new(3);
        for (actual, predicted, n) in [(0, 0, 6), (0, 1, 2), (1, 1, 3), (1, 0, 1)] {
            (0..n).for_each(|_| c.add(actual, predicted));
        }
        assert_eq!(c.accuracy(), 9.0 / 12.0);
        let s = c.class_scores();
        assert_eq!((s[0].rows, s[0].precision, s[0].recall, s[0].iou), (8, 6.0 / 7.0, 6.0 / 8.0, 6.0 / 9.0));
        assert_eq!(s[1].f1, 2.0 * 3.0 / (4.0 + 5.0));
        assert_eq!(s[2], ClassScores { rows: 0, precision: 0.0, recall: 0.0, f1: 0.0, iou: 0.0 });
        assert_eq!(c.mean_iou(), (6.0 / 9.0 + 3.0 / 6.0) / 2.0);
        let mut twice = c.clone();
        twice.merge(&c);
        twice.unknown = 24;
        assert_eq!((twice.rows(), twice.accuracy()), (48, 18.0 / 48.0));
        assert_eq!((Confusion::new(2).accuracy(), Confusion::new(2).mean_iou()), (0.0, 0.0));
    }
}
