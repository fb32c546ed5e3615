//! The kinds of axis as one.

use super::bands::Bands;
use super::legend::SMALL;
use super::names::Names;
use super::scale::Scale;
use super::ticks::Tick;

/// One axis of a chart.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Axis {
    /// Whole numbers.
    Bands(Bands),
    /// Rows with names; a vertical axis.
    Names(Names),
    /// Measured values.
    Scale(Scale),
}

impl Axis {
    /// Where a value lies, as a share of the axis; nothing for one that has no place.
    pub(super) fn share(&self, value: f64) -> Option<f64> {
        match self {
            Self::Bands(bands) => Some(bands.share(value)).filter(|share| share.is_finite()),
            Self::Names(names) => Some(names.share(value)).filter(|share| share.is_finite()),
            Self::Scale(scale) => scale.share(value),
        }
    }

    /// Ticks for an axis of `length` px, the labels of bands at least `gap` px apart.
    pub(super) fn ticks(&self, length: f64, gap: f64) -> Vec<Tick> {
        match self {
            Self::Bands(bands) => bands.ticks(length, gap),
            Self::Names(names) => names.ticks(length),
            Self::Scale(scale) => scale.ticks(length),
        }
    }

    /// The font size of the labels, in px.
    pub(super) const fn size(&self) -> f64 {
        match self {
            Self::Names(names) => names.size(),
            Self::Bands(_) | Self::Scale(_) => SMALL,
        }
    }
}
