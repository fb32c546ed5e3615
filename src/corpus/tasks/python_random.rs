//! Python's `random.Random(seed).sample`, so that examples are those of lm-evaluation-harness.
//!
//! The generator is MT19937 (Matsumoto and Nishimura 1998) with its `init_by_array`; drawing is that of CPython's `random.py`. Everything
//! else that depthscope draws comes from [`crate::rng`].

const N: usize = 624;
const M: usize = 397;

/// `random.Random`.
#[derive(Clone, Debug)]
pub(super) struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)`.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let key: &[u32] = if high == 0 { &[low] } else { &[low, high] };
        let mut state = [0_u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            state[i] = 1_812_433_253_u32.wrapping_mul(state[i - 1] ^ (state[i - 1] >> 30)).wrapping_add(i as u32);
        }
        let mixed = |state: &[u32; N], i: usize, factor: u32| {
            state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(factor)
        };
        let (mut i, mut j) = (1, 0);
        for _ in 0..N {
            state[i] = mixed(&state, i, 1_664_525).wrapping_add(key[j]).wrapping_add(j as u32);
            (i, j) = (i + 1, (j + 1) % key.len());
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 0..N - 1 {
            state[i] = mixed(&state, i, 1_566_083_941).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `randrange(n)`, for n below 2³² and above 0.
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = (self.next_u32() >> (32 - bits)) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `sample(range(n), k)`; k is at most n.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        // What a set of k takes, against a list of n.
        let mut set_size = 21;
        if k > 5 {
            set_size += 4_usize.pow(((k * 3) as f64).log(4.0).ceil() as u32);
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..k)
                .map(|i| {
                    let j = self.below(n - i);
                    let drawn = pool[j];
                    pool[j] = pool[n - i - 1];
                    drawn
                })
                .collect();
        }
        let mut drawn = Vec::with_capacity(k);
        while drawn.len() < k {
            let index = self.below(n);
            if !drawn.contains(&index) {
                drawn.push(index);
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `random.Random(1234)`: `getrandbits(32)` thrice.
    #[test]
    fn samples_are_those_of_python() {
        let mut random = PythonRandom::new(1234);
        assert_eq!([(); 3].map(|()| random.next_u32()), NUMBERS);
        let mut random = PythonRandom::new(1234);
        assert_eq!(random.sample(10, 3), SMALL);
        assert_eq!(random.sample(1000, 6), LARGE);
        assert_eq!(PythonRandom::new(1 << 40).sample(100, 4), WIDE);
    }

    const NUMBERS: [u32; 3] = [4_150_886_329, 3_342_196_574, 1_892_932_127];
    const SMALL: [usize; 3] = [7, 1, 0];
    const LARGE: [usize; 6] = [92, 932, 965, 961, 826, 596];
    const WIDE: [usize; 4] = [13, 45, 85, 8];
}
