//! The activator as a process of its own.

use std::process::ExitCode;

use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::Activator, false, |ports, _, shutdown| activator::run(ports, shutdown))
}
