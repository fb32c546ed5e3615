//! What a chart is made of. Positions and sizes are in px of the canvas, y pointing down.

/// A position.
pub(super) type Point = (f64, f64);

/// An sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    /// This colour, mixed with white: 0 stays, 1 is white.
    pub(super) fn tint(self, white: f64) -> Self {
        self.mixed(super::palette::WHITE, white)
    }

    /// This colour, mixed with another: 0 stays, 1 is the other.
    pub(super) fn mixed(self, other: Self, share: f64) -> Self {
        let mix = |a: u8, b: u8| super::paint::byte(f64::from(a) + (f64::from(b) - f64::from(a)) * share);
        Self(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }
}

/// The pattern of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dash {
    /// Without gaps.
    Solid,
    /// Long dashes.
    Dashed,
    /// Dots as wide as the line.
    Dotted,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stroke {
    /// Its colour.
    pub color: Rgb,
    /// Its width.
    pub width: f64,
    /// Its pattern.
    pub dash: Dash,
}

impl Stroke {
    /// A line without gaps.
    pub(super) const fn solid(color: Rgb, width: f64) -> Self {
        Self { color, width, dash: Dash::Solid }
    }
}

/// Which end of a text stands at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// The first letter.
    Left,
    /// The middle.
    Center,
    /// The last letter.
    Right,
}

/// The direction of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// From left to right.
    Level,
    /// From bottom to top.
    Upward,
}

/// The weight of a font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// For everything but titles.
    Regular,
    /// For titles.
    Bold,
}

/// A piece of text on one line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    /// What it says.
    pub words: String,
    /// Where its baseline is.
    pub at: Point,
    /// Its em, in px.
    pub size: f64,
    /// Its colour.
    pub color: Rgb,
    /// Its weight.
    pub weight: Weight,
    /// Which end `at` is.
    pub align: Align,
    /// Its direction.
    pub turn: Turn,
}

/// One thing drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A line through points.
    Path { points: Vec<Point>, stroke: Stroke },
    /// A filled rectangle between two corners.
    Rect { from: Point, to: Point, fill: Rgb },
    /// A filled disc.
    Disc { center: Point, radius: f64, fill: Rgb },
    /// Text.
    Text(Text),
}
