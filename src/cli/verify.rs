//! `depthscope verify`.

use std::fmt::Write;

use anyhow::Result;
use serde_json::json;

use super::{
    CHECK_FAILED, DONE,
    args::{Format, VerifyArgs},
    interrupt,
    output::print,
    progress::Bars,
};
use crate::{
    plan::{Host, VerifyPlan, run_verify},
    verify::Comparison,
};

pub fn run(args: &VerifyArgs) -> Result<u8> {
    let plan = VerifyPlan {
        model: args.model.clone(),
        tokens: args.tokens.clone(),
        length: args.length,
        tolerance: args.tolerance,
        device: args.device,
        dtype: args.dtype,
        seed: args.seed,
    };
    let bars = Bars::new(args.quiet);
    let host = Host { interrupted: interrupt::watch(), progress: &|share| bars.walk(share), downloads: &bars };
    let compared = run_verify(&plan, &host);
    bars.clear();
    let compared = compared?;
    let passed = compared.largest().1 <= plan.tolerance;
    match args.format {
        Format::Json => print(&(serde_json::to_string_pretty(&document(&plan, &compared, passed))? + "\n"))?,
        Format::Table if args.quiet => {}
        Format::Table => print(&render(&plan, &compared, passed))?,
    }
    Ok(if passed { DONE } else { CHECK_FAILED })
}

fn document(plan: &VerifyPlan, compared: &Comparison, passed: bool) -> serde_json::Value {
    json!({
        "plan": plan,
        "passed": passed,
        "positions": compared.positions.len(),
        "largest_difference": compared.largest().1,
        "largest_difference_position": compared.largest().0,
        "relative_to_rms": compared.relative(),
        "logits_rms": compared.rms(),
        "top1_agreements": compared.top1_agreements(),
    })
}

fn render(plan: &VerifyPlan, compared: &Comparison, passed: bool) -> String {
    let (position, difference) = compared.largest();
    let (positions, agreements) = (compared.positions.len(), compared.top1_agreements());
    let mut text = format!(
        "{}: ours against candle-transformers\n\
         largest logit difference   {difference:.3e} at position {position} of {positions}\n\
         relative to the logits     {:.3e} of their root mean square, {:.3}\n\
         same most likely token     at {agreements} of {positions} positions\n",
        plan.model,
        compared.relative(),
        compared.rms(),
    );
    if let Some(cut) = &compared.cut {
        let _ = writeln!(
            text,
            "only the first {} of {} tokens were compared: candle-transformers cannot apply this sliding window",
            cut.window, cut.given
        );
    }
    let word = if passed { "passed: within" } else { "FAILED: beyond" };
    let _ = writeln!(text, "{word} --tolerance {}", plan.tolerance);
    text
}
