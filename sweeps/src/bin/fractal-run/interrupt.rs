//! Ctrl-C and its kin.

use std::io;
use std::thread;

use fractal_sweeps::runner::{CancelToken, Urgency};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The first SIGINT, SIGTERM or SIGHUP asks the run to stop; the second kills its workers.
pub(crate) fn stops_run(cancel: &CancelToken) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let cancel = cancel.clone();
    thread::Builder::new().name("fractal:signals".into()).spawn(move || {
        let mut urgency = Urgency::Graceful;
        for _ in signals.forever() {
            cancel.cancel(urgency);
            urgency = Urgency::Now;
        }
    })?;
    Ok(())
}
