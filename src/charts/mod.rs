//! Rows as pictures: one file per chart, drawn once and given out as SVG and PNG.
//!
//! A chart function turns rows into a [`Chart`], a plain list of shapes on a canvas of 900 × 560 px, higher where many groups need a row
//! each; it cannot fail, whatever the numbers. Only giving the shapes to a plotters backend and writing the files can. Charts bring their
//! own font and need nothing from the system.

pub mod accuracy;
pub mod angular;
mod axis;
mod bands;
mod chart;
mod clip;
mod color_bar;
pub mod compare;
mod diverging;
mod frame;
pub mod groups;
mod label;
mod legend;
mod names;
mod paint;
mod palette;
mod png;
pub mod prune;
mod scale;
mod shape;
pub mod task;
mod ticks;
pub mod training;
pub mod variance;
mod viridis;

#[cfg(test)]
mod tests;

pub use chart::{Chart, ChartError, HEIGHT, PNG_SCALE, WIDTH};
