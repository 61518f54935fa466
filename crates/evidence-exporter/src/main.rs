//! The evidence-exporter as a process of its own.

use std::process::ExitCode;

use model::ServiceRole;

fn main() -> ExitCode {
    service::process::main(ServiceRole::EvidenceExporter, true, |ports, _, shutdown| {
        evidence_exporter::run(ports, shutdown)
    })
}
