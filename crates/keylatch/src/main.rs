//! The `keylatch` program: a door to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    keylatch::cli::main()
}
