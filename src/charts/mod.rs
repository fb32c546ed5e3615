//! Rows as pictures: one file per chart, drawn once and given out as SVG and PNG.
//!
//! A chart function turns rows into a [`Chart`], a plain list of shapes on a canvas of 900 × 560 px; it cannot fail, whatever the
//! numbers. Only giving the shapes to a plotters backend and writing the files can. Charts bring their own font and need nothing
//! from the system.

pub mod accuracy;
pub mod angular;
mod axis;
mod bands;
mod chart;
mod clip;
pub mod compare;
mod frame;
mod label;
mod legend;
mod paint;
mod palette;
mod png;
pub mod prune;
mod scale;
mod shape;
mod ticks;
pub mod training;
pub mod variance;
mod viridis;

#[cfg(test)]
mod tests;

pub use chart::{Chart, ChartError, HEIGHT, PNG_SCALE, WIDTH};
