//! Ctrl-C: once to stop in good order, twice to stop at once.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::INTERRUPTED;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WRITING: AtomicBool = AtomicBool::new(false);

/// What the walk needs to stop by itself. A download, a hash or a very large block takes longer; nothing is lost with them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Installs the handler and gives the flag that it sets.
pub fn watch() -> &'static AtomicBool {
    let handler = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        // In a thread of its own, so that the next Ctrl-C finds this one done.
        std::thread::spawn(|| {
            std::thread::sleep(PATIENCE);
            if !WRITING.load(Ordering::SeqCst) {
                // Nothing is left to do if stderr is closed.
                let _ = writeln!(std::io::stderr(), "error: interrupted; nothing was written");
                std::process::exit(i32::from(INTERRUPTED));
            }
        });
    };
    // A second handler cannot be installed; then the first one serves.
    let _ = ctrlc::set_handler(handler);
    &REQUESTED
}

/// The same for a run that ends in good order by itself, however long its step takes.
pub fn watch_patiently() -> &'static AtomicBool {
    results_are_being_written();
    watch()
}

/// From here on results are written: that is soon over, and what took hours to find is not thrown away.
pub fn results_are_being_written() {
    WRITING.store(true, Ordering::SeqCst);
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
