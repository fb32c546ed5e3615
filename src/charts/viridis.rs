//! The viridis colour map of Smith and van der Walt (2015, CC0): perceptually uniform, monotone in lightness.

use super::shape::Rgb;

/// The map at 0, 1/16, …, 1. Straight lines between them stay within 3/255 of the original.
const STOPS: [Rgb; 17] = [
    Rgb(68, 1, 84),
    Rgb(72, 24, 106),
    Rgb(71, 45, 123),
    Rgb(66, 64, 134),
    Rgb(59, 82, 139),
    Rgb(51, 99, 141),
    Rgb(44, 114, 142),
    Rgb(38, 130, 142),
    Rgb(33, 145, 140),
    Rgb(31, 160, 136),
    Rgb(40, 174, 128),
    Rgb(63, 188, 115),
    Rgb(94, 201, 98),
    Rgb(132, 212, 75),
    Rgb(173, 220, 48),
    Rgb(216, 226, 25),
    Rgb(253, 231, 37),
];

/// The colour at `share`, which is clamped to 0 (dark violet) … 1 (yellow).
pub(super) fn viridis(share: f64) -> Rgb {
    let mut left = share.clamp(0.0, 1.0) * 16.0;
    let mut color = STOPS[0];
    for pair in STOPS.windows(2) {
        color = pair[0].mixed(pair[1], left.min(1.0));
        if left <= 1.0 {
            break;
        }
        left -= 1.0;
    }
    color
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_middle_are_the_published_colours() {
        assert_eq!(viridis(0.0), Rgb(68, 1, 84));
        assert_eq!(viridis(0.5), Rgb(33, 145, 140));
        assert_eq!(viridis(1.0), Rgb(253, 231, 37));
        assert_eq!(viridis(7.0), viridis(1.0));
    }

    #[test]
    fn lightness_grows_all_the_way() {
        let light = |i: i32| {
            let Rgb(r, g, b) = viridis(f64::from(i) / 100.0);
            0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
        };
        assert!((0..100).all(|i| light(i + 1) > light(i) - 0.5));
    }
}
