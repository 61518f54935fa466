//! `cargo xtask <task>`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use xtask::{cache_dir, checkout, chromium, nats_server, python, schemas, softhsm, tools, vectors};

/// What developing Keylatch takes besides cargo.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Run every test, with everything set up that they need
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Watch the main job run: keys issued, signed for, activated, used, proved
    Demo {
        /// Passed on to `keylatch demo`, such as `--keep`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Measure: `bars` beside their yardsticks in one run, `steps` each by itself; without a name, both
    Bench {
        /// Which, and what is passed on: `bars writer lifecycle`, `steps verify`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Judge vector files of form or law, a line a case; exit 1 where one comes out otherwise than it says
    Vectors {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Write the JSON Schemas in `schemas/` and the page of problems from the types
    Schemas,
    /// Print the path of a nats-server that will do; fetch one where there is none
    NatsServer,
    /// Print the folder of the Python packages that tests need; fetch them where they are not there
    PythonPackages,
}

type Outcome = Result<bool, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Test { arguments } => test(&arguments),
        Task::Demo { arguments } => demo(&arguments),
        Task::Bench { arguments } => bench(&arguments),
        Task::Vectors { files } => vectors::judge(&files).map_err(Into::into),
        Task::Schemas => schemas::write(&checkout()).map(|()| true).map_err(Into::into),
        Task::NatsServer => print(nats_server::ensure(&cache_dir())),
        Task::PythonPackages => print(python::packages(&cache_dir())),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn test(arguments: &[OsString]) -> Outcome {
    let packages = python::packages(&cache_dir())?;
    let browser = chromium::ensure()?;
    let token = softhsm::ensure()?;
    let mut command = cargo()?;
    command.args(["test", "--workspace"]).args(arguments);
    command.env("KEYLATCH_TEST_PYTHONPATH", packages).env(chromium::VARIABLE, browser).env(softhsm::VARIABLE, token);
    Ok(command.status()?.success())
}

fn demo(arguments: &[OsString]) -> Outcome {
    let built = cargo()?.args(["build", "--package", "keylatch"]).status()?;
    if !built.success() {
        return Ok(false);
    }
    let mut command = cargo()?;
    command.args(["run", "--quiet", "--package", "keylatch", "--", "demo"]).args(arguments);
    Ok(command.current_dir(checkout()).status()?.success())
}

fn bench(arguments: &[OsString]) -> Outcome {
    let all = [("bars", "keylatch"), ("steps", "load-tester")];
    let named = arguments.first().and_then(|name| all.into_iter().find(|(bench, _)| name == bench));
    let (chosen, rest) = match named {
        Some(one) => (vec![one], arguments.get(1..).unwrap_or_default()),
        None if arguments.is_empty() => (all.to_vec(), arguments),
        None => return Err("name `bars` or `steps` first, or nothing".into()),
    };
    for (bench, package) in chosen {
        let mut command = cargo()?;
        command.args(["bench", "--package", package, "--bench", bench, "--"]).args(rest);
        if !command.env("KEYLATCH_CACHE", cache_dir()).status()?.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Cargo, in the checkout, with the programs found that Keylatch runs.
fn cargo() -> Result<Command, Box<dyn std::error::Error>> {
    let cache = cache_dir();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(checkout()).env(journal_nats::server::VARIABLE, nats_server::ensure(&cache)?);
    if let Some(path) = tools::path_with_programs(&cache)? {
        command.env("PATH", path);
    }
    Ok(command)
}

fn print(found: Result<PathBuf, impl std::error::Error + 'static>) -> Outcome {
    println!("{}", found?.display());
    Ok(true)
}
