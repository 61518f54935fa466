//! The evidence-exporter as a process of its own.

use std::process::ExitCode;

use evidence_exporter::Options;
use model::ServiceRole;
use service::secret;

fn main() -> ExitCode {
    service::process::main(ServiceRole::EvidenceExporter, true, |ports, config, shutdown| async move {
        let options = Options {
            state: config.state.clone(),
            outside: config.outside(),
            exports: config.exports(),
            keep_exports: config.keep_exports,
            probe_key: config.probe_key.as_deref().map(secret::read_key).transpose()?,
        };
        evidence_exporter::run(ports, options, shutdown).await
    })
}
