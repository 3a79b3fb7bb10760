//! The program `authlog`.

use std::process::ExitCode;

fn main() -> ExitCode {
    authlog::cli::main()
}
