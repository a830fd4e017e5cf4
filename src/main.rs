//! The command `leindex-engine`. Everything it does, it does through the public API of the library.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
