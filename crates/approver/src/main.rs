//! The approver as a process of its own.

use std::process::ExitCode;

use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::Approver, false, |ports, _, shutdown| approver::run(ports, shutdown))
}
