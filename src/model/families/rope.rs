//! Rotary embeddings as configurations describe them.

use serde_json::Value;

use super::fields::{bad, is_not};
use crate::{
    model::ModelError,
    nn::{
        RopeScaling,
        rope::{Rope, yarn_magnitude},
    },
};

/// `rope_parameters` as from transformers 5 on, or `rope_scaling` as up to 4.
pub fn parameters(config: &Value) -> &Value {
    let there = |field: &str| Some(&config[field]).filter(|value| value.is_object());
    there("rope_parameters").or_else(|| there("rope_scaling")).unwrap_or(&Value::Null)
}

/// The rotary embedding that `parameters` describe, for heads of this size; what they leave out stands in the configuration itself.
pub fn read(config: &Value, parameters: &Value, head_dim: usize, context: usize) -> Result<Rope, ModelError> {
    let theta = parameters["rope_theta"].as_f64().or(config["rope_theta"].as_f64()).unwrap_or(10_000.0);
    let share = |value: &Value| value["partial_rotary_factor"].as_f64();
    let share = share(parameters).or_else(|| share(config)).unwrap_or(1.0);
    if !(share > 0.0 && share <= 1.0) {
        return Err(bad("partial_rotary_factor", format!("{share} is not from 0 to 1")));
    }
    let turned = (head_dim as f64 * share) as usize;
    Ok(Rope { theta, turned, scaling: scaling(config, parameters, context)? })
}

fn scaling(config: &Value, parameters: &Value, context: usize) -> Result<RopeScaling, ModelError> {
    let positive = |field: &str| parameters[field].as_f64().filter(|value| *value > 0.0);
    let number =
        |field: &str| positive(field).ok_or_else(|| bad(field, is_not(&parameters[field], "a positive number")));
    let original = || {
        let field = "original_max_position_embeddings";
        let own = positive(field).or_else(|| config[field].as_f64().filter(|value| *value > 0.0));
        own.ok_or_else(|| bad(field, is_not(&parameters[field], "a positive number")))
    };
    match parameters["rope_type"].as_str().or(parameters["type"].as_str()).unwrap_or("default") {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: number("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: number("factor")?,
            low_frequency_factor: number("low_freq_factor")?,
            high_frequency_factor: number("high_freq_factor")?,
            original_context: original()?,
        }),
        "yarn" => {
            let factor = number("factor")?;
            Ok(RopeScaling::Yarn {
                factor,
                beta_fast: positive("beta_fast").unwrap_or(32.0),
                beta_slow: positive("beta_slow").unwrap_or(1.0),
                original_context: original()?,
                truncated: parameters["truncate"].as_bool().unwrap_or(true),
                magnitude: positive("attention_factor").unwrap_or_else(|| yarn_factor(parameters, factor)),
            })
        }
        "longrope" | "su" => {
            let original = original()?;
            let factor = positive("factor").unwrap_or(context as f64 / original);
            let grown = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
            Ok(RopeScaling::Long {
                short: divisors(parameters, "short_factor")?,
                long: divisors(parameters, "long_factor")?,
                original_context: original as usize,
                magnitude: positive("attention_factor").unwrap_or(grown),
            })
        }
        other => Err(ModelError::UnsupportedRope { found: other.to_owned() }),
    }
}

/// What cos and sin are multiplied by where `attention_factor` does not say.
fn yarn_factor(parameters: &Value, factor: f64) -> f64 {
    let m = |field: &str| parameters[field].as_f64().filter(|m| *m != 0.0);
    match (m("mscale"), m("mscale_all_dim")) {
        (Some(m), Some(all)) => yarn_magnitude(factor, m) / yarn_magnitude(factor, all),
        _ => yarn_magnitude(factor, 1.0),
    }
}

fn divisors(parameters: &Value, field: &str) -> Result<Vec<f64>, ModelError> {
    let numbers = parameters[field].as_array().into_iter().flatten().map(Value::as_f64);
    let numbers: Option<Vec<f64>> = numbers.map(|number| number.filter(|number| *number > 0.0)).collect();
    numbers
        .filter(|numbers| !numbers.is_empty())
        .ok_or_else(|| bad(field, "is not a list of positive numbers".to_owned()))
}
