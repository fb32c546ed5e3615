//! Where the time of a pass goes: matrix products, attention, reading weights; the rest is what remains.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use serde::Serialize;

/// A kind of work that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Products with weight matrices.
    Product,
    /// Scores, softmax and mixing of attention, without its projections.
    Attention,
    /// Reading, converting and uploading weights.
    Load,
}

static NANOSECONDS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Runs `body` and books its time. Work on a GPU is asynchronous: there only the time to submit it is seen.
pub fn timed<R>(work: Work, body: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = body();
    let spent = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    NANOSECONDS[work as usize].fetch_add(spent, Ordering::Relaxed);
    result
}

/// Seconds booked since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Products with weight matrices.
    pub products: f64,
    /// Attention without its projections.
    pub attention: f64,
    /// Reading weights.
    pub load: f64,
}

impl Seconds {
    /// What has been booked after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            products: self.products - earlier.products,
            attention: self.attention - earlier.attention,
            load: self.load - earlier.load,
        }
    }
}

/// What has been booked so far, over all threads.
#[must_use]
pub fn seconds() -> Seconds {
    let of = |work: Work| NANOSECONDS[work as usize].load(Ordering::Relaxed) as f64 * 1e-9;
    Seconds { products: of(Work::Product), attention: of(Work::Attention), load: of(Work::Load) }
}
