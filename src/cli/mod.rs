//! The command line: flags to plans, runs to summaries. The only module that prints.

mod args;
mod compare;
mod completions;
mod doctor;
mod eval;
mod interrupt;
mod measure;
mod output;
mod progress;
mod study;
mod summary;
mod tasks;
mod tokenizer;
mod train;
mod verify;

use std::{
    io::{ErrorKind, Write},
    process::ExitCode,
};

use clap::Parser;

use args::{Cli, TokenizerVerb, Verb};

/// Done.
const DONE: u8 = 0;
/// A requested check failed.
const CHECK_FAILED: u8 = 1;
/// The run failed.
const FAILED: u8 = 2;
/// Stopped by Ctrl-C, as shells report it.
const INTERRUPTED: u8 = 130;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Scan(args) => measure::run(&args, measure::Which::Scan),
        Verb::Prune(args) => measure::run(&args, measure::Which::Prune),
        Verb::Eval(args) => eval::run(&args),
        Verb::Angular(args) => measure::run(&args, measure::Which::Angular),
        Verb::Variance(args) => measure::run(&args, measure::Which::Variance),
        Verb::Compare(args) => compare::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Study(args) => study::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Tasks { verb } => tasks::run(verb.as_ref()),
        Verb::Tokenizer { verb: TokenizerVerb::Train(args) } => tokenizer::train(&args),
        Verb::Completions { shell } => completions::run(shell),
    };
    ExitCode::from(result.unwrap_or_else(|error| report(&error)))
}

/// Prints an error as a user should meet it, and chooses the exit code.
fn report(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        // Whoever read our output has seen enough.
        return DONE;
    }
    let interrupted = interrupt::requested();
    // Messages are complete: they tell their causes themselves. Nothing is left to do if stderr is closed too.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    if interrupted { INTERRUPTED } else { FAILED }
}
