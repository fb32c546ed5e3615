//! A finished chart and its two files.

use std::io::Write;
use std::path::{Path, PathBuf};

use plotters::backend::{BitMapBackend, SVGBackend};
use thiserror::Error;

use super::label::SVG_ASCENT;
use super::paint::paint;
use super::palette::WHITE;
use super::shape::Shape;
use crate::files::{FileError, write_atomically};

/// Width of charts in px.
pub const WIDTH: u32 = 900;
/// Height of charts in px, but for those with more rows than it has room for.
pub const HEIGHT: u32 = 560;
/// Pixels of the PNG per px of the chart, in each direction: sharp on fine screens and in print.
pub const PNG_SCALE: u32 = 2;

// Backends know whole pixels only. Drawn finer than shown, lines keep their slope and edges are smooth.
const FINE: u32 = 4;

/// Why a chart could not be made into a file.
#[derive(Debug, Error)]
pub enum ChartError {
    /// A drawing backend or the PNG encoder failed.
    #[error("chart cannot be drawn ({format}: {reason}); this is a bug in depthscope, please report it")]
    Draw {
        /// The file format.
        format: &'static str,
        /// What the backend said.
        reason: String,
    },
    /// The file could not be put on the disk.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A chart: shapes on a white canvas of [`WIDTH`] × [`Chart::height`] px.
#[derive(Clone, Debug)]
pub struct Chart {
    pub(super) shapes: Vec<Shape>,
    pub(super) height: u32,
}

impl Chart {
    /// An empty white canvas.
    pub(super) fn new(height: u32) -> Self {
        let to = (f64::from(WIDTH), f64::from(height));
        Self { shapes: vec![Shape::Rect { from: (0.0, 0.0), to, fill: WHITE }], height }
    }

    /// Its height in px: [`HEIGHT`], or more.
    #[must_use]
    pub const fn height(&self) -> u32 {
        self.height
    }

    const fn fine_size(&self) -> (u32, u32) {
        (WIDTH * FINE, self.height * FINE)
    }

    /// The SVG document.
    ///
    /// # Errors
    /// When the backend fails, which would be a bug.
    pub fn svg(&self) -> Result<String, ChartError> {
        let mut svg = String::new();
        paint(&self.shapes, &mut SVGBackend::with_string(&mut svg, self.fine_size()), f64::from(FINE), SVG_ASCENT)
            .map_err(|error| ChartError::Draw { format: "svg", reason: error.to_string() })?;
        let [fine, shown] =
            [self.fine_size(), (WIDTH, self.height)].map(|(w, h)| format!("<svg width=\"{w}\" height=\"{h}\""));
        Ok(svg.replacen(&fine, &shown, 1))
    }

    /// The PNG file, [`PNG_SCALE`] times as large as the chart.
    ///
    /// # Errors
    /// When the backend or the encoder fails, which would be a bug.
    pub fn png(&self) -> Result<Vec<u8>, ChartError> {
        let half = super::png::halve(&self.pixels()?, self.fine_size().0 as usize);
        let size = (WIDTH * PNG_SCALE, self.height * PNG_SCALE);
        super::png::encode(&half, size, PNG_SCALE)
            .map_err(|error| ChartError::Draw { format: "png", reason: error.to_string() })
    }

    /// The picture as RGB bytes, [`FINE`] times as large as the chart.
    pub(super) fn pixels(&self) -> Result<Vec<u8>, ChartError> {
        let size = self.fine_size();
        let mut pixels = vec![255; size.0 as usize * size.1 as usize * 3];
        let mut backend = BitMapBackend::with_buffer(&mut pixels, size);
        paint(&self.shapes, &mut backend, f64::from(FINE), 0.0)
            .map_err(|error| ChartError::Draw { format: "png", reason: error.to_string() })?;
        drop(backend);
        Ok(pixels)
    }

    /// Writes `folder/name.svg` and `folder/name.png` and returns their paths.
    ///
    /// # Errors
    /// When drawing fails, or a file cannot be written; the file that failed is then not there in part.
    pub fn write(&self, folder: &Path, name: &str) -> Result<[PathBuf; 2], ChartError> {
        let files = [
            (folder.join(format!("{name}.svg")), self.svg()?.into_bytes()),
            (folder.join(format!("{name}.png")), self.png()?),
        ];
        for (path, bytes) in &files {
            write_atomically(path, |file| file.write_all(bytes))?;
        }
        Ok(files.map(|(path, _)| path))
    }
}
