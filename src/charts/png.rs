//! PNG from pixels.

use png::{BitDepth, ColorType, Compression, Encoder, EncodingError, FilterType, PixelDimensions, Unit};

/// Halves a picture of RGB bytes in both directions: each pixel is the mean of four.
pub(super) fn halve(pixels: &[u8], width: usize) -> Vec<u8> {
    let row = width * 3;
    let mut half = Vec::with_capacity(pixels.len() / 4);
    for rows in pixels.chunks_exact(2 * row) {
        let (upper, lower) = rows.split_at(row);
        for (a, b) in upper.chunks_exact(6).zip(lower.chunks_exact(6)) {
            for c in 0..3 {
                let sum: u16 = [a[c], a[c + 3], b[c], b[c + 3]].into_iter().map(u16::from).sum();
                half.push(u8::try_from((sum + 2) / 4).unwrap_or(u8::MAX));
            }
        }
    }
    half
}

/// The PNG file of a picture of RGB bytes, `per_px` of whose pixels are one CSS px (1/96 inch) when printed.
pub(super) fn encode(pixels: &[u8], size: (u32, u32), per_px: u32) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, size.0, size.1);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    // Flat colours: the default filter, made for photographs, takes several times the bytes.
    encoder.set_compression(Compression::Default);
    encoder.set_filter(FilterType::NoFilter);
    // 96 px per inch of 0.0254 m.
    let density = per_px * 960_000 / 254;
    encoder.set_pixel_dims(Some(PixelDimensions { xppu: density, yppu: density, unit: Unit::Meter }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_takes_the_mean_of_four() {
        let pixels = [0, 10, 255, 100, 20, 255, 0, 30, 255, 100, 40, 255];
        assert_eq!(halve(&pixels, 2), [50, 25, 255]);
    }
}
