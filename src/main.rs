//! The `depthscope` command. Everything it does is in the library; what it prints is in [`depthscope::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    depthscope::cli::main()
}
