//! Progress bars, on stderr and only if it is a terminal.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{Mutex, MutexGuard, PoisonError},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::source::hub::Progress;

/// Steps of the walk's bar.
const STEPS: u64 = 1000;

/// One bar a download and one for the walk.
pub struct Bars {
    all: MultiProgress,
    walk: ProgressBar,
    downloads: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    pub fn new(quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let walk = ProgressBar::new(STEPS).with_style(style("walking the layers {bar:40} {percent}% {eta}"));
        Self { all, walk, downloads: Mutex::default() }
    }

    /// Shows the share of the walk that is done.
    pub fn walk(&self, share: f64) {
        if self.walk.position() == 0 {
            self.all.add(self.walk.clone());
        }
        self.walk.set_position((share * STEPS as f64) as u64);
    }

    /// Takes the bars away, before anything is printed.
    pub fn clear(&self) {
        self.walk.finish_and_clear();
        // A terminal that cannot be cleared keeps its bars.
        let _ = self.all.clear();
    }

    fn bars(&self) -> MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.downloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn start(&self, file: &str, bytes: u64) {
        let mut bars = self.bars();
        let bar = bars.entry(file.to_owned()).or_insert_with(|| {
            let bar = ProgressBar::new(bytes).with_message(file.to_owned());
            self.all.add(bar.with_style(style("{msg:34!} {bar:24} {bytes}/{total_bytes} {eta}")))
        });
        bar.set_length(bytes);
        bar.set_position(0);
    }

    fn advance(&self, file: &str, bytes: u64) {
        if let Some(bar) = self.bars().get(file) {
            bar.inc(bytes);
        }
    }

    fn finish(&self, file: &str) {
        if let Some(bar) = self.bars().remove(file) {
            bar.finish_and_clear();
        }
    }
}
