//! Experiments: what to run, in which order, and what it means.
