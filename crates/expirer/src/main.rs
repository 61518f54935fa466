//! The expirer as a process of its own.

use std::process::ExitCode;

use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::Expirer, false, |ports, _, shutdown| expirer::run(ports, shutdown))
}
