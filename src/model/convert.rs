//! Bytes of a checkpoint → a tensor of the wanted type on the wanted device, checked for NaN and infinity on the way.

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Elements that one task converts.
const CHUNK: usize = 1 << 16;

/// The first element that is NaN or infinite.
pub struct NonFinite {
    pub index: usize,
    pub value: f32,
}

/// Widens little-endian elements to f32, on all threads.
pub fn to_f32(bytes: &[u8], dtype: Dtype) -> Result<Vec<f32>, NonFinite> {
    match dtype {
        Dtype::BF16 => widen(bytes, |element| bf16::from_le_bytes(element).to_f32()),
        Dtype::F16 => widen(bytes, |element| f16::from_le_bytes(element).to_f32()),
        _ => widen(bytes, f32::from_le_bytes),
    }
}

/// As a tensor. Half types go through f32, which holds both exactly.
pub fn to_tensor(
    bytes: &[u8],
    from: Dtype,
    shape: &[usize],
    to: DType,
    device: &Device,
) -> Result<candle_core::Result<Tensor>, NonFinite> {
    let values = to_f32(bytes, from)?;
    Ok(Tensor::from_vec(values, shape, &Device::Cpu).and_then(|tensor| tensor.to_dtype(to)?.to_device(device)))
}

fn widen<const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> f32 + Sync) -> Result<Vec<f32>, NonFinite> {
    let mut values = vec![0f32; bytes.len() / N];
    let bad = values.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * N)).enumerate().find_map_first(
        |(chunk, (out, bytes))| {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *out = element(*bytes);
            }
            let all_finite = out.iter().fold(true, |finite, value| finite & value.is_finite());
            if all_finite {
                None
            } else {
                out.iter().position(|value| !value.is_finite()).map(|index| chunk * CHUNK + index)
            }
        },
    );
    match bad {
        Some(index) => Err(NonFinite { index, value: values[index] }),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_widens_exactly() {
        let values = [1.5f32, -0.25, 0.0, 1024.0];
        let f32s: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f16s: Vec<u8> = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let bf16s: Vec<u8> = values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        for (bytes, dtype) in [(f32s, Dtype::F32), (f16s, Dtype::F16), (bf16s, Dtype::BF16)] {
            assert_eq!(to_f32(&bytes, dtype).ok().unwrap(), values);
        }
    }

    #[test]
    fn the_first_non_finite_element_is_found() {
        let mut values = vec![1f32; CHUNK + 50];
        values[CHUNK + 7] = f32::NAN;
        values[CHUNK + 9] = f32::INFINITY;
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let bad = to_f32(&bytes, Dtype::F32).err().unwrap();
        assert!(bad.index == CHUNK + 7 && bad.value.is_nan());
    }
}
