//! Fleets of toy workers: this binary, re-executed, plays them (see `toy`), and for some tests the runner as well.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod crew;
mod endings;
mod far;
mod limits;
mod orphans;
mod toy;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some(toy::WORKER) => toy::work(&args[2..]),
        Some(orphans::RUNNER) => orphans::run_until_killed(&args[2], false),
        Some(far::RUNNER) => orphans::run_until_killed(&args[2], true),
        _ => {}
    }
    let trial = |(name, test): Test| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let tests = [endings::tests(), far::tests(), limits::tests(), orphans::tests()];
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().flatten().map(trial).collect()).exit();
}

/// A named test function.
type Test = (&'static str, fn());
