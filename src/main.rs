//! The frame: the one place where an exit code leaves the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    npast::cli::main(std::env::args_os())
}
