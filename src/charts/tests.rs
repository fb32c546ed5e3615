//! Charts drawn from made-up tables: sound files, the right words, and no number that breaks them.

use std::path::Path;

use super::*;
use crate::rows::{
    AngularRow, Fit, Growth, LayerRow, LogRow, Measure, Part, Position, PruneMetric, PruneRow, TaskMetric, TelemetryRow,
};

fn float(number: usize) -> f64 {
    super::bands::float(number)
}

/// A number in [0, 1) that looks random and is the same in every run.
fn noise(seed: usize) -> f64 {
    (float(seed) * 12.9898 + 4.1).sin().mul_add(43_758.545, 0.0).rem_euclid(1.0)
}

fn layers(count: usize, variance: impl Fn(usize) -> f64) -> Vec<LayerRow> {
    let row = |layer| LayerRow {
        model: "m".into(),
        layer,
        input_variance: variance(layer) * 0.9,
        output_variance: variance(layer),
        attention_variance: variance(layer) * 0.06 * (0.6 + noise(layer)),
        feed_forward_variance: variance(layer) * 0.15 * (0.6 + noise(layer + 100)),
        output_rms: 1.0,
        attention_ratio: 0.2,
        feed_forward_ratio: 0.3,
        block_influence: 0.1,
        tokens: 131_072,
    };
    (0..count).map(row).collect()
}

fn growing(count: usize) -> Vec<LayerRow> {
    let last = float(count);
    layers(count, |layer| 0.02 * (float(layer) * 7.0 / last).exp() * (0.8 + 0.4 * noise(layer)))
}

fn growth(count: usize) -> Growth {
    let fit = |a, b, r2| Fit { a, b, r2, aic: -3.0 };
    Growth {
        exponential: fit(0.018, 7.0 / float(count), 0.9712),
        power: fit(0.006, 7.0 / float(count).ln() * 0.95, 0.8134),
    }
}

fn angles(count: usize) -> Vec<AngularRow> {
    let windows = (1..=count).flat_map(|span| (0..=count - span).map(move |start| (start, span)));
    let both = windows.flat_map(|window| [Position::Last, Position::All].map(|position| (window, position)));
    let row = |((start, span), position)| {
        let depth = float(start) / float(count);
        let turn = 0.42 * (float(span) / float(count)).powf(0.6) * (1.15 - 0.7 * depth);
        let last = if start + span == count { 0.06 } else { 0.0 };
        let first = if start == 0 { 0.1 } else { 0.0 };
        AngularRow {
            model: "m".into(),
            start,
            span,
            position,
            distance: turn + last + first + 0.01 * noise(start * 131 + span),
            stderr: Some(0.004),
            count: 256,
        }
    };
    both.map(row).collect()
}

fn removal(first: usize, window: usize, part: Part, delta: f64) -> PruneRow {
    PruneRow {
        model: "m".into(),
        first,
        last: first + window - 1,
        part,
        metric: PruneMetric::Nll,
        baseline: 2.143,
        pruned: 2.143 + delta,
        delta,
        ci_low: Some(delta - 0.08 * delta.abs() - 0.002),
        ci_high: Some(delta + 0.08 * delta.abs() + 0.002),
        count: 130_816,
        p_value: None,
        p_adjusted: None,
    }
}

fn removals(count: usize, window: usize, parts: &[Part]) -> Vec<PruneRow> {
    let mut rows = Vec::new();
    for (nth, &part) in parts.iter().enumerate() {
        for first in 0..=count - window {
            let depth = float(first) / float(count);
            let delta = match first {
                0 => 6.1,
                _ if first + window == count => 0.4,
                _ => 0.09 * float(window) * (1.0 - depth).powi(2) + 0.02 * noise(first + 77 * nth) - 0.004,
            };
            rows.push(removal(first, window, part, delta / (float(nth) + 1.0)));
        }
    }
    rows
}

const PARTS: [Part; 3] = [Part::Block, Part::Attention, Part::FeedForward];

/// Reads the PNG and returns its size and the number of colours.
fn look(png: &[u8]) -> ((u32, u32), usize) {
    let mut reader = ::png::Decoder::new(png).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let colors: std::collections::BTreeSet<_> = pixels.chunks_exact(3).collect();
    ((info.width, info.height), colors.len())
}

fn assert_sound(chart: &Chart, words: &[&str]) {
    let svg = chart.svg().unwrap();
    let height = chart.height();
    let head = format!(r#"<svg width="900" height="{height}" viewBox="0 0 3600 {}""#, 4 * height);
    assert!(svg.starts_with(&head), "{}", &svg[..80]);
    assert!(svg.ends_with("</svg>\n"));
    assert!(svg.contains(r#"font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif""#));
    for bad in ["NaN,", "inf,", "2147483647"] {
        assert!(!svg.contains(bad), "{bad}");
    }
    for word in words {
        assert!(svg.contains(word), "no {word:?}");
    }
    let (size, colors) = look(&chart.png().unwrap());
    assert_eq!(size, (WIDTH * PNG_SCALE, height * PNG_SCALE));
    assert!(colors > 20, "{colors} colours");
}

#[test]
fn the_variance_chart_names_its_axes_and_both_laws() {
    let chart = variance::draw(&growing(12), Some(&growth(12)), "org/model");
    let words = [
        "Output variance by layer",
        "org/model · mean over 131,072 tokens",
        "layer (0-based; ℓ = layer + 1 in the fits)",
        "variance σ² (squared activation, log scale)",
        "exponential fit 0.018·e^(0.583·ℓ), R² 0.971",
        "power fit 0.006·ℓ^2.68, R² 0.813",
    ];
    assert_sound(&chart, &words);
}

#[test]
fn the_angular_chart_shows_one_position_on_a_numbered_scale() {
    let words =
        ["Angular distance between layer inputs", "layer where the window starts", "span (blocks", "units of π rad"];
    assert_sound(&angular::draw(&angles(5), Position::Last, "m"), &words);
    let all = angular::draw(&angles(5), Position::All, "m").svg().unwrap();
    assert!(all.contains("m · mean over 256 tokens"));
}

#[test]
fn the_angular_chart_marks_one_start_for_each_span() {
    let chart = angular::draw(&angles(7), Position::Last, "m");
    let discs = chart.shapes.iter().filter(|shape| matches!(shape, shape::Shape::Disc { .. })).count();
    // A ring is two discs; one more ring stands in the legend.
    assert_eq!(discs, 2 * (7 + 1));
}

#[test]
fn the_prune_chart_shows_the_tolerance_and_says_when_its_axis_bends() {
    let words = [
        "Loss increase when one block is removed",
        "full model 2.143 nats per token",
        "removed layer (0-based)",
        "ΔNLL (nats per token; log beyond ±0.021)",
        "1 % tolerance (0.021)",
        "95 % interval",
        "ineffective",
    ];
    assert_sound(&prune::draw(&removals(32, 1, &[Part::Block]), 0.01, "m"), &words);
}

#[test]
fn bars_of_like_size_stand_on_an_even_axis() {
    let rows: Vec<_> = (0..6).map(|first| removal(first, 1, Part::Block, 0.1 + 0.02 * float(first))).collect();
    assert_sound(&prune::draw(&rows, 0.01, "m"), &["ΔNLL (nats per token)\n", "loss increase"]);
}

#[test]
fn windows_and_parts_are_named_in_the_prune_chart() {
    let windows = prune::draw(&removals(12, 4, &[Part::Block]), 0.01, "m");
    assert_sound(&windows, &["when a window of 4 blocks is removed", "first removed layer (0-based)"]);
    let parts = prune::draw(&removals(12, 1, &PARTS), 0.01, "m");
    assert_sound(&parts, &["attention", "feed-forward", "pale: ineffective"]);
}

#[test]
fn only_the_loss_is_drawn_of_several_metrics() {
    let mut rows = removals(4, 1, &[Part::Block]);
    let before = prune::draw(&rows, 0.01, "m").shapes;
    let mut other = removal(9, 1, Part::Attention, 1e6);
    other.metric = PruneMetric::Perplexity;
    rows.push(other);
    assert_eq!(prune::draw(&rows, 0.01, "m").shapes, before);
}

const GROUPS: [&str; 4] = ["stem", "humanities", "social_sciences", "other"];

/// Accuracies over all items and on each of some groups, worse for the last; early layers matter most.
fn task_rows(task: &str, groups: &[&str], layers: usize) -> Vec<PruneRow> {
    let names = std::iter::once(None).chain(groups.iter().map(|name| Some((*name).into())));
    let row = |(nth, group): (usize, Option<std::sync::Arc<str>>), first: usize| {
        let full = 0.7 - 0.25 * float(nth) / float(groups.len() + 1);
        let count = if group.is_some() { 14_042 / groups.len() as u64 } else { 14_042 };
        let error = 1.0 / (count as f64).sqrt();
        let noise = (noise(first * 61 + nth) - 0.4) * 1.2 * error;
        let depth = float(first) / float(layers);
        let kept = if first == 0 { 0.0 } else { (0.97 - 0.25 * (1.0 - depth).powi(3)).min(1.0) };
        let delta = (full - 0.25) * (kept - 1.0) + if kept > 0.0 { noise } else { 0.01 };
        let p_adjusted = if delta.abs() > 1.6 * error { 0.001 } else { 0.6 };
        let metric = PruneMetric::Task(TaskMetric { measure: Measure::Accuracy, task: task.into(), group });
        PruneRow {
            metric,
            count,
            baseline: full,
            pruned: full + delta,
            ci_low: Some(delta - 0.9 * error),
            ci_high: Some(delta + 0.9 * error),
            p_value: Some(p_adjusted / 2.0),
            p_adjusted: Some(p_adjusted),
            ..removal(first, 1, Part::Block, delta)
        }
    };
    names.enumerate().flat_map(|named| (0..layers).map(move |first| row(named.clone(), first))).collect()
}

const STEPS: [&str; 6] = ["k=1", "k=2", "k=3", "k=4", "k=5", "k=6"];

#[test]
fn few_groups_have_a_line_each_and_any_groups_a_map() {
    let names = |groups: &[&str]| -> Vec<&str> {
        task::draw(&task_rows("t", groups, 5), "t", None, "m").into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&[]), ["accuracy"]);
    assert_eq!(names(&STEPS[..1]), ["accuracy", "accuracy-groups"]);
    assert_eq!(names(&STEPS), ["accuracy", "accuracy-lines", "accuracy-groups"]);
    assert_eq!(names(&["a", "b", "c", "d", "e", "f", "g"]), ["accuracy", "accuracy-groups"]);
    assert!(task::draw(&task_rows("t", &STEPS, 5), "another", None, "m").is_empty());
    assert!(task::draw(&removals(5, 1, &PARTS), "t", None, "m").is_empty());
}

#[test]
fn a_line_stands_for_a_group_and_says_what_the_full_model_has() {
    let chart = accuracy::draw_groups(&task_rows("composition", &STEPS, 24), "composition", Some(0.25), "org/model");
    let words = [
        "Accuracy on composition by group when one block is removed",
        "org/model · 14,042 items in 6 groups",
        "k=1 (full 0.66)",
        "k=6",
        "chance (0.25)",
    ];
    assert_sound(&chart, &words);
}

#[test]
fn the_map_has_all_items_first_and_a_ring_for_what_is_significant() {
    let rows = task_rows("mmlu", &GROUPS, 24);
    let chart = groups::draw(&rows, "mmlu", "org/model");
    let words = [
        "Change of accuracy on mmlu by group when one block is removed",
        "org/model · 14,042 items in 4 groups",
        "all items (0.70)",
        "social_sciences (0.55)",
        "Holm-adjusted within a row, p &lt; 0.05",
        "removed layer (0-based)",
        "Δ accuracy",
    ];
    assert_sound(&chart, &words);
    let y = |words: &str| {
        let is = |shape: &&shape::Shape| matches!(shape, shape::Shape::Text(text) if text.words.starts_with(words));
        let Some(shape::Shape::Text(text)) = chart.shapes.iter().find(is) else { panic!("no {words}") };
        text.at.1
    };
    assert!(y("all items") < y("stem") && y("stem") < y("other"));
    let discs = chart.shapes.iter().filter(|shape| matches!(shape, shape::Shape::Disc { .. })).count();
    let significant = rows.iter().filter(|row| row.p_adjusted.is_some_and(|p| p < 0.05)).count();
    // A ring is two discs; one more ring stands in the legend.
    assert_eq!(discs, 2 * (significant + 1));
}

#[test]
fn a_map_grows_with_its_groups_up_to_a_hundred() {
    let height = |count: usize| {
        let groups: Vec<String> = (0..count).map(|group| format!("subject {group}")).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        groups::draw(&task_rows("t", &groups, 2), "t", "m").height()
    };
    assert_eq!([1, 30].map(height), [HEIGHT; 2]);
    assert_eq!(height(57), 160 + 58 * 12);
    assert_eq!([99, 300].map(height), [1360; 2]);
}

#[test]
fn the_accuracy_chart_has_the_full_model_the_chance_and_what_is_significant() {
    let mut rows = task_rows("mmlu", &GROUPS, 24);
    let chart = accuracy::draw(&rows, "mmlu", Some(0.25), "org/model");
    let words = [
        "Accuracy on mmlu when one block is removed",
        "org/model · 14,042 items · significant: McNemar",
        "Holm-adjusted p &lt; 0.05",
        "significant drop",
        "not significant",
        "95 % interval",
        "full model (0.700)",
        "chance (0.250)",
        "removed layer (0-based)",
        "share of right answers",
    ];
    assert_sound(&chart, &words);
    rows.extend(removals(24, 1, &PARTS));
    rows.extend(task_rows("boolq", &[], 24));
    let mut other = task_rows("mmlu", &GROUPS, 24);
    for row in &mut other {
        let PruneMetric::Task(metric) = &mut row.metric else { unreachable!() };
        metric.measure = Measure::AccuracyMacro;
    }
    rows.extend(other);
    assert_eq!(accuracy::draw(&rows, "mmlu", Some(0.25), "org/model").shapes, chart.shapes, "nothing else is drawn");
    assert!(!accuracy::draw(&rows, "mmlu", None, "m").svg().unwrap().contains("chance"));
}

#[test]
fn hopeless_numbers_still_give_a_chart() {
    let odd = [0.0, -0.0, -1.0, 1.0, 1e-320, f64::MAX, f64::MIN, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let law = |value| Fit { a: value, b: value, r2: value, aic: value };
    for (i, a) in odd.into_iter().enumerate() {
        for count in [0, 1, 3] {
            let value = |layer| {
                if layer % 2 == 0 { a } else { odd[(i + layer) % odd.len()] }
            };
            let growth = Growth { exponential: law(a), power: law(-a) };
            let chart = variance::draw(&layers(count, value), Some(&growth), "m");
            let mut turned = angles(count);
            for row in &mut turned {
                row.distance = value(row.start);
            }
            let heat = angular::draw(&turned, Position::Last, "m");
            let mut removed = removals(count, count.min(1), &PARTS[..count.min(1)]);
            for row in &mut removed {
                (row.delta, row.ci_high) = (value(row.first), Some(value(row.first + 1)));
            }
            let bars = prune::draw(&removed, a, "m");
            let mut judged = task_rows("t", &["g", "h"], count);
            for row in &mut judged {
                (row.pruned, row.delta, row.baseline) = (value(row.first), value(row.first + 1), a);
                (row.ci_low, row.p_adjusted) = (Some(value(row.first + 2)), Some(value(row.first)));
            }
            let of_task = task::draw(&judged, "t", Some(a), "m").into_iter().map(|(_, chart)| chart);
            for chart in [chart, heat, bars].into_iter().chain(of_task) {
                chart.svg().unwrap();
                if count == 3 {
                    chart.pixels().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_written_chart_is_two_files_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let written = variance::draw(&growing(3), None, "m").write(folder.path(), "variance").unwrap();
    assert_eq!(written, ["variance.svg", "variance.png"].map(|name| folder.path().join(name)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_model_name_cannot_break_the_svg() {
    let svg = variance::draw(&growing(3), None, "<a&b>\u{0}\u{8}\n").svg().unwrap();
    assert!(svg.contains("&lt;a&amp;b&gt;"));
    assert!(svg.chars().all(|char| char == '\n' || !char.is_control()));
}

/// Those of MMLU.
const SUBJECTS: [&str; 57] = [
    "abstract_algebra",
    "anatomy",
    "astronomy",
    "business_ethics",
    "clinical_knowledge",
    "college_biology",
    "college_chemistry",
    "college_computer_science",
    "college_mathematics",
    "college_medicine",
    "college_physics",
    "computer_security",
    "conceptual_physics",
    "econometrics",
    "electrical_engineering",
    "elementary_mathematics",
    "formal_logic",
    "global_facts",
    "high_school_biology",
    "high_school_chemistry",
    "high_school_computer_science",
    "high_school_european_history",
    "high_school_geography",
    "high_school_government_and_politics",
    "high_school_macroeconomics",
    "high_school_mathematics",
    "high_school_microeconomics",
    "high_school_physics",
    "high_school_psychology",
    "high_school_statistics",
    "high_school_us_history",
    "high_school_world_history",
    "human_aging",
    "human_sexuality",
    "international_law",
    "jurisprudence",
    "logical_fallacies",
    "machine_learning",
    "management",
    "marketing",
    "medical_genetics",
    "miscellaneous",
    "moral_disputes",
    "moral_scenarios",
    "nutrition",
    "philosophy",
    "prehistory",
    "professional_accounting",
    "professional_law",
    "professional_medicine",
    "professional_psychology",
    "public_relations",
    "security_studies",
    "sociology",
    "us_foreign_policy",
    "virology",
    "world_religions",
];

#[test]
#[ignore = "writes pictures to look at into the folder $DEPTHSCOPE_PICTURES"]
fn pictures_to_look_at() {
    let Ok(folder) = std::env::var("DEPTHSCOPE_PICTURES") else {
        return;
    };
    let write = |chart: &Chart, name: &str| drop(chart.write(Path::new(&folder), name).unwrap());
    for count in [1, 2, 5, 12, 32, 80] {
        let model = "meta-llama/Llama-2-7b-hf";
        write(&variance::draw(&growing(count), Some(&growth(count)), model), &format!("variance-{count}"));
        write(&angular::draw(&angles(count), Position::Last, model), &format!("angular-{count}"));
        write(&prune::draw(&removals(count, 1, &PARTS[..1]), 0.01, model), &format!("prune-{count}"));
        write(&prune::draw(&removals(count, 1, &PARTS), 0.01, model), &format!("parts-{count}"));
        for (name, chart) in task::draw(&task_rows("mmlu", &GROUPS, count), "mmlu", Some(0.25), model) {
            write(&chart, &format!("{name}-{count}"));
        }
    }
    let write_task = |task: &str, groups: &[&str], layers: usize| {
        for (name, chart) in task::draw(&task_rows(task, groups, layers), task, Some(0.25), "Qwen/Qwen2.5-7B") {
            write(&chart, &format!("{task}-{}-{layers}-{name}", groups.len()));
        }
    };
    write_task("composition", &STEPS, 24);
    for layers in [4, 32, 100] {
        write_task("mmlu", &SUBJECTS, layers);
    }
    let mut gains = task_rows("boolq", &GROUPS[..3], 12);
    for row in &mut gains {
        row.delta *= -0.1;
        row.baseline = 0.27;
        row.pruned = row.baseline + row.delta;
        (row.ci_low, row.ci_high) = (Some(row.delta - 0.004), Some(row.delta + 0.004));
    }
    for (name, chart) in task::draw(&gains, "boolq", Some(0.25), "near chance, better without layers") {
        write(&chart, &format!("gains-{name}"));
    }
    for row in &mut gains {
        (row.p_adjusted, row.ci_low) = (None, None);
        row.pruned = if row.first == 5 { f64::NAN } else { row.pruned };
        row.delta = if row.first == 5 { f64::NAN } else { row.delta };
    }
    for (name, chart) in task::draw(&gains, "boolq", None, "untested, no intervals, a value missing") {
        write(&chart, &format!("untested-{name}"));
    }
    let mut broken = growing(12);
    (broken[3].output_variance, broken[7].output_variance, broken[8].attention_variance) = (0.0, f64::NAN, 0.0);
    write(&variance::draw(&broken, None, "a model with zeros"), "variance-broken");
    write(&variance::draw(&layers(12, |_| 1.0), None, "all equal"), "variance-flat");
    write(&prune::draw(&removals(24, 4, &PARTS[..1]), 0.01, "windows"), "windows-24");
    let even: Vec<_> = (0..8).map(|first| removal(first, 1, Part::Block, 0.1 + 0.05 * float(first))).collect();
    write(&prune::draw(&even, 0.01, "like sizes"), "prune-even");
    let mut broken = removals(12, 1, &PARTS[..1]);
    (broken[0].delta, broken[0].ci_high) = (f64::INFINITY, None);
    (broken[4].delta, broken[4].ci_high) = (f64::NAN, None);
    (broken[6].delta, broken[6].ci_low, broken[6].ci_high) = (-0.2, Some(-0.25), Some(-0.15));
    write(&prune::draw(&broken, 0.01, "not finite and negative"), "prune-broken");
}

fn looks(steps: &[u64], count: usize) -> Vec<TelemetryRow> {
    let row = |step: u64, layer: usize| {
        let depth = float(layer + 1);
        let growth = (step as f64 / 400.0).min(5.0);
        TelemetryRow {
            step,
            layer,
            output_variance: 0.01 * depth * (growth * depth / float(count)).exp(),
            gradient_norm: (1.0 + noise(layer)) / depth / (1.0 + growth),
        }
    };
    steps.iter().flat_map(|&step| (0..count).map(move |layer| row(step, layer))).collect()
}

fn steps(count: u64) -> Vec<LogRow> {
    let row = |step: u64| LogRow {
        step,
        tokens: step * 4096,
        loss: 1.2 + 5.0 * (-(step as f64) / 120.0).exp() + 0.2 * noise(step as usize),
        held_out_loss: step.is_multiple_of(50).then_some(1.25 + 5.0 * (-(step as f64) / 120.0).exp()),
        learning_rate: 1e-3,
        tokens_per_second: 1.0,
    };
    (1..=count).map(row).collect()
}

#[test]
fn a_run_is_drawn_whatever_its_length_and_depth() {
    for (length, looked, count) in [(0, vec![], 0), (1, vec![0], 1), (1000, (0..21).map(|i| i * 50).collect(), 24)] {
        for chart in [
            training::loss(&steps(length), "runs/lns"),
            training::variance(&looks(&looked, count), "runs/lns"),
            training::gradient_norm(&looks(&looked, count), "runs/lns"),
        ] {
            let svg = chart.svg().unwrap();
            assert!(svg.contains("runs/lns") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
    let svg = training::variance(&looks(&[0, 100, 2000], 24), "run").svg().unwrap();
    for words in ["step 0", "step 100", "step 2,000"] {
        assert!(svg.contains(words), "{words}");
    }
}
