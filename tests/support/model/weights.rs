//! Random weights from a seed: the same on every machine, and fast without optimisation.

use npast::llama::gguf::{GgufError, GgufWriter, Type};

/// splitmix64: a counter through a mixing function, so any seed is a good one.
pub struct Random(u64);

impl Random {
    /// The stream of one tensor: it depends on its name, not on the order of writing.
    pub fn of(seed: u64, name: &str) -> Self {
        let hash = blake3::hash(name.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from_le_bytes(first))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Nearly normal, mean 0, deviation 1: the sum of four uniform 16-bit numbers.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        // Four uniforms on [0,1) have mean 2 and variance 1/3.
        (sum as f32 / 65_536.0 - 2.0) * 1.732
    }

    /// Uniform on [low, high).
    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (self.next() >> 40) as f32 / (1u64 << 24) as f32 * (high - low)
    }
}

/// Adds random tensors to a writer.
pub struct Weights<'a> {
    /// Where they go.
    pub writer: &'a mut GgufWriter,
    /// The model's seed.
    pub seed: u64,
}

impl Weights<'_> {
    /// Normal, of deviation `scale`/sqrt(ne0): a vector of unit elements keeps size `scale`.
    pub fn matrix(&mut self, name: &str, dims: &[usize], scale: f32) -> Result<(), GgufError> {
        let deviation = scale / (dims[0] as f32).sqrt();
        self.fill(name, dims, |random, _| random.normal() * deviation)
    }

    /// Uniform on [low, high).
    pub fn uniform(
        &mut self,
        name: &str,
        dims: &[usize],
        low: f32,
        high: f32,
    ) -> Result<(), GgufError> {
        self.fill(name, dims, |random, _| random.between(low, high))
    }

    /// As [`Weights::matrix`], row `r` times `gain(r)`.
    pub fn rows(
        &mut self,
        name: &str,
        dims: [usize; 2],
        scale: f32,
        gain: impl Fn(usize) -> f32,
    ) -> Result<(), GgufError> {
        let deviation = scale / (dims[0] as f32).sqrt();
        self.fill(name, &dims, |random, index| {
            random.normal() * deviation * gain(index / dims[0])
        })
    }

    fn fill(
        &mut self,
        name: &str,
        dims: &[usize],
        mut value: impl FnMut(&mut Random, usize) -> f32,
    ) -> Result<(), GgufError> {
        let mut random = Random::of(self.seed, name);
        let count = dims.iter().product();
        let mut data = Vec::with_capacity(count * 4);
        for index in 0..count {
            data.extend_from_slice(&value(&mut random, index).to_ne_bytes());
        }
        self.writer.add_tensor(name, dims, Type::F32, data)
    }

    /// As [`Weights::matrix`] in q8_0: uniform bytes under one scale for all blocks.
    pub fn quantized(&mut self, name: &str, dims: [usize; 2]) -> Result<(), GgufError> {
        let mut random = Random::of(self.seed, name);
        let deviation = 1.0 / (dims[0] as f32).sqrt();
        // A uniform byte on -128..128 has deviation 73.9.
        let scale = half(deviation / 73.9).to_ne_bytes();
        let blocks = dims[0] * dims[1] / 32;
        let mut data = Vec::with_capacity(blocks * 34);
        for _ in 0..blocks {
            data.extend_from_slice(&scale);
            for _ in 0..4 {
                data.extend_from_slice(&random.next().to_ne_bytes());
            }
        }
        self.writer.add_tensor(name, &dims, Type::Q8_0, data)
    }
}

/// The bits of a positive f32 in half precision, truncated; normal and subnormal range only.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23) as i32 - 127 + 15;
    let mantissa = (bits & 0x7f_ffff) | 0x80_0000;
    if exponent > 0 {
        (exponent as u16) << 10 | ((mantissa >> 13) & 0x3ff) as u16
    } else {
        mantissa.checked_shr((14 - exponent) as u32).unwrap_or(0) as u16
    }
}
