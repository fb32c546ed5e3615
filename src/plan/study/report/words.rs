//! Numbers, lists and tables in Markdown.

use std::fmt::Write;

/// 1_234_567 as `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Seconds as `2 h 05 min`, `12 min` or `34 s`.
pub(super) fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 | 1 => format!("{seconds:.0} s"),
        2..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => names.concat(),
    }
}

/// With its sign, and a minus as wide as a plus.
pub(super) fn signed(number: f64, digits: usize) -> String {
    format!("{number:+.digits$}").replace('-', "−")
}

/// Both ends with their signs; nothing where there is no interval.
pub(super) fn range(interval: Option<(f64, f64)>, digits: usize) -> String {
    interval.map_or_else(String::new, |(low, high)| format!("{} … {}", signed(low, digits), signed(high, digits)))
}

/// A number, or a dash where there is none.
pub(super) fn or_dash(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| "–".to_owned(), |number| format!("{number:.digits$}"))
}

/// A table and the empty line after it; the first column is to the left, the others to the right.
pub(super) fn table(head: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head);
    let _ = writeln!(text, "|---|{}", "--:|".repeat(head.len() - 1));
    rows.for_each(|row| text.push_str(&line(&row)));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lists_read_as_people_write_them() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!([34.0, 725.0, 7500.0].map(duration), ["34 s", "12 min", "2 h 05 min"]);
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a"]), "a");
        assert_eq!(signed(-0.5, 2), "−0.50");
        assert_eq!(range(Some((-1.0, 2.0)), 1), "−1.0 … +2.0");
        assert_eq!(range(None, 1), "");
        let rows = [vec!["x".to_owned(), "1".to_owned()]];
        assert_eq!(table(&["a".into(), "b".into()], rows.into_iter()), "| a | b |\n|---|--:|\n| x | 1 |\n\n");
    }
}
