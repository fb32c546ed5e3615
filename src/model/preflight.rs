//! Does the checkpoint hold what the configuration asks for? Answered from headers, before any tensor is read.

use std::collections::BTreeMap;

use super::{DecoderConfig, ModelError, PreflightReport, layout, names};
use crate::source::TensorFiles;

/// Two names nearer than this are probably meant to be the same.
const NEAR: f64 = 0.85;
/// Missing tensors for which a similar name is looked for.
const COMPARED: usize = 100;

pub fn check(config: &DecoderConfig, files: &TensorFiles) -> Result<(), ModelError> {
    let expected: BTreeMap<String, Vec<usize>> = layout::all_stored(config);
    let found = files.tensors();
    let unexpected: Vec<String> = found
        .keys()
        .filter(|name| !expected.contains_key(*name) && !names::is_ignored(name, config))
        .cloned()
        .collect();
    let mut report = PreflightReport::default();
    for (name, shape) in expected {
        match found.get(&name) {
            // Comparing all with all would take minutes where a wrong layer count makes thousands of them.
            None if report.missing.len() < COMPARED => {
                report.missing.push((name.clone(), nearest(&name, &unexpected)));
            }
            None => report.missing.push((name, None)),
            Some(info) if info.shape != shape => report.misshaped.push((name, shape, info.shape.clone())),
            Some(_) => {}
        }
    }
    report.unexpected = unexpected;
    if report.is_clean() { Ok(()) } else { Err(ModelError::Preflight(Box::new(report))) }
}

fn nearest(name: &str, candidates: &[String]) -> Option<String> {
    candidates
        .iter()
        .map(|candidate| (strsim::normalized_levenshtein(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.clone())
}
