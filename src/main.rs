//! The `depthscope` program.

fn main() {}
