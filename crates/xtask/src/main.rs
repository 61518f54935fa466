//! `cargo xtask <task>`.

use std::process::ExitCode;

use clap::Parser;

/// What developing Keylatch takes besides cargo.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Print the path of a nats-server that will do; fetch one where there is none
    NatsServer,
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::NatsServer => nats_server(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn nats_server() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", xtask::nats_server::ensure(&xtask::cache_dir())?.display());
    Ok(())
}
