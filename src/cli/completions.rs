//! `depthscope completions`.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{DONE, args::Cli, output::print};

pub fn run(shell: Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "depthscope", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(DONE)
}
