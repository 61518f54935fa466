//! The custodian as a process of its own.

use std::process::ExitCode;

use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::Custodian, false, |ports, config, shutdown| async move {
        let store = custodian::open_software_store(&config.state.join("keys"))?;
        custodian::run(ports, store, shutdown).await
    })
}
