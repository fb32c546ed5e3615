//! A colour map with a middle: vermilion for less, blue for more, ever darker away from a pale middle. Readers who see no red tell its ends apart.

use super::palette::{BLUE, VERMILION};
use super::shape::Rgb;

const MIDDLE: Rgb = Rgb(247, 247, 247);
const LEAST: Rgb = Rgb(98, 30, 0);
const MOST: Rgb = Rgb(0, 36, 82);
/// Where the pure colours are: beyond them it gets dark.
const PURE: f64 = 0.6;

/// The colour at `share`, which is clamped to −1 (dark vermilion) … 0 (nearly white) … 1 (dark blue).
pub(super) fn diverging(share: f64) -> Rgb {
    let (pure, end) = if share < 0.0 { (VERMILION, LEAST) } else { (BLUE, MOST) };
    let size = share.abs().min(1.0);
    if size < PURE { MIDDLE.mixed(pure, size / PURE) } else { pure.mixed(end, (size - PURE) / (1.0 - PURE)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_middle_have_their_colours() {
        assert_eq!([-9.0, -1.0, -PURE].map(diverging), [LEAST, LEAST, VERMILION]);
        assert_eq!([0.0, PURE, 1.0].map(diverging), [MIDDLE, BLUE, MOST]);
    }

    #[test]
    fn it_darkens_away_from_the_middle() {
        let light = |i: i32| {
            let Rgb(r, g, b) = diverging(f64::from(i) / 100.0);
            0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
        };
        assert!((0..100).all(|i| light(i + 1) < light(i) && light(-i - 1) < light(-i)));
    }
}
