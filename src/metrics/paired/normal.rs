//! Quantiles of the normal law (Wichura 1988, Algorithm AS 241, Applied Statistics 37:477).

/// Numerator and denominator of a rational function, lowest power first.
type Rational = [[f64; 8]; 2];

/// For |p − ½| ≤ 0.425, in 0.425² − (p − ½)².
const CENTRE: Rational = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
];
/// For r ≤ 5, in r − 1.6, for r = √(−ln of the smaller tail).
const TAIL: Rational = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];
/// For r > 5, in r − 5.
const FAR_TAIL: Rational = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_7e-15,
    ],
];

/// The number that a standard normal draw stays below with probability `p`; ∓∞ for 0 and 1, NaN outside. Relative error about 1e-16; for
/// a `p` near 1, where `f64` is coarse, take the negative quantile of 1 − `p`.
pub(super) fn quantile(p: f64) -> f64 {
    let from_half = p - 0.5;
    if from_half.abs() <= 0.425 {
        return from_half * ratio(&CENTRE, 0.180_625 - from_half * from_half);
    }
    let tail = if from_half < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let size = match r {
        f64::INFINITY => r,
        _ if r <= 5.0 => ratio(&TAIL, r - 1.6),
        _ => ratio(&FAR_TAIL, r - 5.0),
    };
    size.copysign(from_half)
}

fn ratio([above, below]: &Rational, x: f64) -> f64 {
    let [above, below] = [above, below].map(|powers| powers.iter().rev().fold(0.0, |sum, power| sum * x + power));
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // scipy.stats.norm.ppf(p)
        let cases = [
            (0.6, 0.253_347_103_135_799_7),
            (0.8, 0.841_621_233_572_914_3),
            (0.9, 1.281_551_565_544_600_4),
            (0.95, 1.644_853_626_951_472_2),
            (0.975, 1.959_963_984_540_054),
            (0.999, 3.090_232_306_167_813),
            (0.999_999, 4.753_424_308_817_087),
            (0.075, -1.439_531_470_938_456_3),
            (0.0749, -1.440_238_267_527_963_5),
            (0.001, -3.090_232_306_167_813),
            (1e-10, -6.361_340_902_404_056),
            (1e-100, -21.273_453_560_965_322),
            (1e-300, -37.047_096_299_361_2),
        ];
        for (p, exact) in cases {
            assert!((quantile(p) / exact - 1.0).abs() < 1e-14, "{p}: {} is not {exact}", quantile(p));
        }
    }

    #[test]
    fn the_ends_are_infinite_and_the_middle_is_zero() {
        assert_eq!((quantile(0.0), quantile(0.5), quantile(1.0)), (f64::NEG_INFINITY, 0.0, f64::INFINITY));
        assert!([-0.1, 1.1, f64::NAN].iter().all(|&p| quantile(p).is_nan()));
    }
}
