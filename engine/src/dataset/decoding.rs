//! Foreign decoders over arbitrary bytes: a panic of theirs is one more kind of damage.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a decoder, where a panic is caught and becomes an error that names the file. A panic
/// hook asks it before it takes a panic for the end.
pub fn decoding() -> bool {
    DECODING.get()
}

/// Runs `work`, and gives `None` if it panics.
pub(super) fn guarded<R>(work: impl FnOnce() -> R) -> Option<R> {
    DECODING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    DECODING.set(false);
    outcome.ok()
}
