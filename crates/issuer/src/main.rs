//! The issuer as a process of its own.

use std::process::ExitCode;

use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::Issuer, false, |ports, _, shutdown| issuer::run(ports, shutdown))
}
