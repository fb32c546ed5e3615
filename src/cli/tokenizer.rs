//! `depthscope tokenizer`.

use anyhow::Result;

use super::{
    DONE,
    args::TokenizerArgs,
    interrupt,
    output::{note, print},
    progress::Bars,
};
use crate::plan::train_tokenizer;

pub fn train(args: &TokenizerArgs) -> Result<u8> {
    interrupt::watch();
    let bars = Bars::new(args.quiet);
    let mut warnings = Vec::new();
    let trained = train_tokenizer(&args.text, &args.text_field, args.vocab, &args.out, &bars, &mut warnings);
    bars.clear();
    let (file, vocab) = trained?;
    if !args.quiet {
        for warning in &warnings {
            note(&format!("warning: {warning}"));
        }
        print(&format!("{vocab} tokens in {}\n", file.display()))?;
    }
    Ok(DONE)
}
