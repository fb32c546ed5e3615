//! The colours of charts: Okabe and Ito's, told apart by colour-blind readers too, and greys.

use super::shape::Rgb;

pub(super) const WHITE: Rgb = Rgb(255, 255, 255);
pub(super) const INK: Rgb = Rgb(26, 26, 26);
pub(super) const GREY: Rgb = Rgb(95, 95, 95);
pub(super) const GRID: Rgb = Rgb(226, 226, 226);
/// Where there could be a value and there is none.
pub(super) const MISSING: Rgb = Rgb(205, 205, 205);

pub(super) const BLUE: Rgb = Rgb(0, 114, 178);
pub(super) const ORANGE: Rgb = Rgb(230, 159, 0);
pub(super) const GREEN: Rgb = Rgb(0, 158, 115);
pub(super) const VERMILION: Rgb = Rgb(213, 94, 0);
pub(super) const PURPLE: Rgb = Rgb(170, 82, 140);
