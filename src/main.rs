//! farspan's one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    farspan::main()
}
