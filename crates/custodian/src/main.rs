//! The custodian as a process of its own.

use std::process::ExitCode;

use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::Custodian, false, |ports, config, shutdown| async move {
        let folder = config.keys();
        let store = custodian::open_software_store(&ports.node, &folder.join("store"), shutdown.clone()).await?;
        custodian::run(ports, store.into(), &folder.join("uses"), shutdown).await
    })
}
