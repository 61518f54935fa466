//! The evidence-exporter as a process of its own.

use std::process::ExitCode;

use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::EvidenceExporter, true, |ports, config, shutdown| {
        let options = evidence_exporter::Options { state: config.state.clone(), outside: config.outside() };
        evidence_exporter::run(ports, options, shutdown)
    })
}
