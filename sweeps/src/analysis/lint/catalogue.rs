//! The closed list of lints and their pages.

/// A lint, as documented.
#[derive(Clone, Copy, Debug)]
pub struct Lint {
    /// Stable id.
    pub id: &'static str,
    /// Its name in a few words.
    pub name: &'static str,
    /// The formula behind it.
    pub formula: &'static str,
    /// Its page, Markdown.
    pub page: &'static str,
}

macro_rules! lints {
    ($($id:literal $name:literal $formula:literal;)*) => {
        /// All lints, by id.
        pub const LINTS: &[Lint] = &[$(Lint {
            id: $id,
            name: $name,
            formula: $formula,
            page: include_str!(concat!("../../../../docs/lints/", $id, ".md")),
        }),*];
    };
}

lints! {
    "A1" "absent cells" "cells of the grid of all values seen − cells with a finished run";
    "B1" "doubtful baseline" "S > 1.1 q, or |T_predicted − T| / T > 0.2 from the other cells";
    "C1" "work not conserved" "rows read ÷ rows of train, against the median of runs on the same rows";
    "D1" "model depends on topology" "model hash (or accuracy) over runs that differ only in topology";
    "G1" "granted is not requested" "granted ≠ requested (CPUs, memory, workers)";
    "H1" "throttled" "throttled periods × 0.1 s ÷ wall time > 0.05";
    "I1" "work inflation" "W(p) ÷ W(base) for the same rows, W = summed thread time";
    "K1" "colliding names" "one file name, different configurations";
    "L1" "straggler" "rows per busy second of a worker ÷ median of the others < 0.75";
    "M1" "memory near its limit" "peak ÷ limit ≥ 0.9, or a failure for memory; a peak above its limit is a sum";
    "N1" "noisy repeats" "(max − min) ÷ median of a cell's repeats > 0.05";
    "O1" "time follows run order" "Spearman ρ of relative residual and run index, permutation p < 0.05";
    "P1" "too few partitions" "partitions < threads";
    "R1" "order moves the cluster" "Σ |workers(i+1) − workers(i)| over the order of runs, against the best order";
    "S1" "skew" "slowest ÷ median > 2 over partitions, or fullest ÷ mean > 1.25 over threads";
    "T1" "too few points" "distinct worker counts < 3 (no fit), < 5 (no interval)";
    "U1" "phase that does not scale" "Karp–Flatt of the phase > 0.5 and its share of the run ≥ 0.1";
    "V1" "oversubscribed cores" "threads on a host > its CPUs, or CPU time ÷ busy time < 0.8";
    "W1" "wave quantisation" "partitions ÷ (⌈partitions ÷ threads⌉ × threads) < 0.9";
    "X1" "I/O bound" "time waiting for bytes ÷ time on partitions > 0.3";
    "Y1" "cold and warm on one curve" "some points of a slice were read cold only, others warm";
}

/// The lint of an id, in either case.
pub fn find(id: &str) -> Option<&'static Lint> {
    LINTS.iter().find(|lint| lint.id.eq_ignore_ascii_case(id))
}
