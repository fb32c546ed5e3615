//! Text for plotters backends, set with a bundled font.
//!
//! plotters' own `ab_glyph` text drops the side bearing of every letter and knows no baseline, so letters touch and lines dance;
//! the few lines here put both right. SVG viewers set the text themselves, with the first family of [`FAMILY`] that they have.

use std::convert::Infallible;
use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use plotters_backend::text_anchor::{HPos, Pos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, FontFamily, FontStyle, FontTransform};

use super::shape::{Align, Text, Turn, Weight};

/// The families an SVG viewer shall try; Verdana is as wide as the bundled font.
pub(super) const FAMILY: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

/// plotters' SVG backend divides every size by this.
const SVG_SIZE_DIVISOR: f64 = 1.24;
/// How far plotters' SVG backend puts the baseline below the top of a text, in em.
pub(super) const SVG_ASCENT: f64 = 0.76;

static REGULAR: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::regular()).ok());
static BOLD: LazyLock<Option<FontRef<'static>>> = LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::bold()).ok());

fn font(weight: Weight) -> Option<&'static FontRef<'static>> {
    match weight {
        Weight::Regular => REGULAR.as_ref(),
        Weight::Bold => BOLD.as_ref(),
    }
}

/// The width of a text whose em is `size`, in the unit of `size`.
pub(super) fn width(text: &str, size: f64, weight: Weight) -> f64 {
    let mut end = 0.0;
    set(text, size, weight, |_, _, after| end = after);
    end
}

/// Walks over the letters: the font, where each begins and where it ends.
fn set(text: &str, size: f64, weight: Weight, mut letter: impl FnMut(ab_glyph::Glyph, &FontRef<'_>, f64)) {
    let Some(font) = font(weight) else { return };
    // `PxScale` is the height from descender to ascender, not the em.
    let em = font.units_per_em().unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, reason = "font sizes are small")]
    let scale = PxScale::from(size as f32 * font.height_unscaled() / em);
    let scaled = font.as_scaled(scale);
    let mut x = 0.0;
    let mut before = None;
    for char in text.chars() {
        let id = scaled.glyph_id(char);
        x += before.map_or(0.0, |before| scaled.kern(before, id));
        let glyph = id.with_scale_and_position(scale, ab_glyph::point(x, 0.0));
        x += scaled.h_advance(id);
        before = Some(id);
        letter(glyph, font, f64::from(x));
    }
}

/// A [`Text`] as plotters wants it: with its baseline at the position given.
pub(super) struct Label<'a> {
    text: &'a Text,
    size: f64,
}

impl<'a> Label<'a> {
    /// The text, enlarged.
    pub(super) fn new(text: &'a Text, scale: f64) -> Self {
        Self { text, size: text.size * scale }
    }
}

impl BackendTextStyle for Label<'_> {
    type FontError = Infallible;

    fn color(&self) -> BackendColor {
        super::paint::backend_color(self.text.color)
    }

    fn size(&self) -> f64 {
        self.size * SVG_SIZE_DIVISOR
    }

    fn transform(&self) -> FontTransform {
        match self.text.turn {
            Turn::Level => FontTransform::None,
            Turn::Upward => FontTransform::Rotate270,
        }
    }

    fn style(&self) -> FontStyle {
        match self.text.weight {
            Weight::Regular => FontStyle::Normal,
            Weight::Bold => FontStyle::Bold,
        }
    }

    fn anchor(&self) -> Pos {
        let horizontal = match self.text.align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        Pos::new(horizontal, VPos::Top)
    }

    fn family(&self) -> FontFamily<'_> {
        FontFamily::Name(FAMILY)
    }

    fn layout_box(&self, text: &str) -> Result<((i32, i32), (i32, i32)), Infallible> {
        let width = super::paint::whole(width(text, self.size, self.text.weight));
        Ok(((0, 0), (width, 0)))
    }

    fn draw<E, D>(&self, text: &str, pos: BackendCoord, mut draw: D) -> Result<Result<(), E>, Infallible>
    where
        D: FnMut(i32, i32, BackendColor) -> Result<(), E>,
    {
        let color = self.color();
        let mut result = Ok(());
        set(text, self.size, self.text.weight, |glyph, font, _| {
            let Some(outline) = font.outline_glyph(glyph) else {
                return;
            };
            let corner = outline.px_bounds().min;
            let left = pos.0 + super::paint::whole(f64::from(corner.x));
            let top = pos.1 + super::paint::whole(f64::from(corner.y));
            outline.draw(|x, y, coverage| {
                if result.is_ok() {
                    let (x, y) = (left.saturating_add_unsigned(x), top.saturating_add_unsigned(y));
                    result = draw(x, y, color.mix(f64::from(coverage)));
                }
            });
        });
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_fonts_have_every_sign_that_charts_use() {
        for weight in [Weight::Regular, Weight::Bold] {
            let font = font(weight).unwrap();
            for char in "aZ09 ·×²⁰¹³⁴⁵⁶⁷⁸⁹⁻−σΔπℓ–…≤".chars() {
                assert_ne!(font.glyph_id(char).0, 0, "{char}");
            }
        }
    }

    #[test]
    fn width_grows_with_size_and_letters() {
        let one = width("m", 10.0, Weight::Regular);
        assert!((9.0..11.0).contains(&one), "{one}");
        assert!((width("mm", 20.0, Weight::Regular) - 4.0 * one).abs() < 0.01);
        assert!(width("", 10.0, Weight::Regular).abs() < 1e-9);
    }
}
