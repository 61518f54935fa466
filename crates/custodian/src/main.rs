//! The custodian as a process of its own.

use std::process::ExitCode;

use custodian::custody::Place;
use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::Custodian, false, |ports, config, shutdown| async move {
        custodian::guard_memory();
        let place = Place::new(config.keys(), &config.master_key, &config.folder, &config.key)?;
        let (keys, uses) = (place.keys().to_owned(), place.keys().join("uses"));
        let software = custodian::open_software_store(&ports.node, place, shutdown.clone()).await?;
        let further = custodian::FurtherStores::load(&config.stores())?;
        let stores = software.stores();
        further.open(&stores, &ports.node, &keys, &shutdown).await;
        tokio::try_join!(custodian::run(ports, stores, &uses, shutdown.clone()), software.tend(shutdown))?;
        Ok(())
    })
}
