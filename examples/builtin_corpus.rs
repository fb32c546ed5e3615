//! Prints stories of the built-in corpus, one JSON object per line, for programs that train on it.
//!
//! `cargo run --example builtin_corpus -- --seed 1 --count 1000 > stories.jsonl`

use depthscope::corpus::builtin::stories;
use std::io::{BufWriter, Write};

fn main() -> anyhow::Result<()> {
    let (mut seed, mut count) = (1_u64, 1000_usize);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match flag.as_str() {
            "--seed" => seed = value.parse()?,
            "--count" => count = value.parse()?,
            other => anyhow::bail!("argument {other} is unknown (known: --seed S, --count N); leave it out"),
        }
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    for story in stories(seed).take(count) {
        let line = serde_json::json!({
            "text": story.text,
            "kind": story.kind.name(),
            "steps": story.steps,
            "prompt": format!("{} {} {}", story.context, story.question, story.lead),
            "answer": story.answer,
            "alternatives": story.alternatives,
        });
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}
