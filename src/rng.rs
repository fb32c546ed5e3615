//! A small seeded generator of random numbers that gives the same numbers on every machine, for all time.
//!
//! Everything that depthscope draws at random (the built-in corpus, initial weights, shuffles, bootstraps) comes from here:
//! candle's CPU generator cannot be seeded, and a crate's generator may change its stream between versions.
//!
//! The generator is xoshiro256** (Blackman and Vigna, <https://prng.di.unimi.it>), its state filled from the seed by
//! `SplitMix64`, as its authors advise. It is not for secrets.

/// Steps a `SplitMix64` state and returns its next number.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// xoshiro256** seeded by `SplitMix64`.
///
/// ```
/// use depthscope::rng::Rng;
/// let (mut a, mut b) = (Rng::new(7), Rng::new(7));
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert!(a.below(6) < 6);
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        Self { state: std::array::from_fn(|_| split_mix(&mut mix)) }
    }

    /// The generator of item `index` of the stream `seed`: items can be made in any order, or in parallel.
    #[must_use]
    pub fn for_item(seed: u64, index: u64) -> Self {
        let (mut outer, mut inner) = (seed, index);
        // Both numbers are mixed before they meet, so that (1, 0) and (0, 1) share nothing.
        Self::new(split_mix(&mut outer).wrapping_add(split_mix(&mut inner).rotate_left(32)))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A whole number in `0..n`, each equally likely; 0 for `n == 0`.
    #[allow(clippy::cast_possible_truncation, reason = "the high word is below n, and the low word is meant")]
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        // Lemire's method: the high word of a product, with the few low words that would favour small numbers drawn again.
        let threshold = if n == 0 { 0 } else { n.wrapping_neg() % n };
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            let (high, low) = ((product >> 64) as usize, product as u64);
            if low >= threshold {
                return high;
            }
        }
    }

    /// A number in `[0, 1)`, with 53 random bits.
    #[allow(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A draw from the standard normal distribution (Box and Muller, the cosine half).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// True with probability 1/n.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Shuffles a slice (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_published_algorithms() {
        // SplitMix64 from 0, and xoshiro256** from the state 1, 2, 3, 4: numbers of the authors' C programs.
        let mut mix = 0;
        assert_eq!(split_mix(&mut mix), 0xE220_A839_7B1D_CDAF);
        assert_eq!(split_mix(&mut mix), 0x6E78_9E6A_A1B9_65F4);
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!([(); 4].map(|()| rng.next_u64()), [11520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
    }

    #[test]
    fn below_reaches_every_number_about_equally_often() {
        let mut rng = Rng::new(3);
        let mut counts = [0_u32; 7];
        for _ in 0..7000 {
            counts[rng.below(7)] += 1;
        }
        assert!(counts.iter().all(|&c| (850..1150).contains(&c)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut rng = Rng::new(5);
        let draws: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn items_and_seeds_have_streams_of_their_own() {
        let mut firsts: Vec<u64> = (0..20).flat_map(|s| (0..20).map(move |i| Rng::for_item(s, i).next_u64())).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 400);
    }
}
