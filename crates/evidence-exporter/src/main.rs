//! The evidence-exporter as a process of its own.

use std::process::ExitCode;

use evidence_exporter::Settings;
use model::ServiceRole;
use service::secret;

fn main() -> ExitCode {
    service::process::main(ServiceRole::EvidenceExporter, true, |ports, config, shutdown| async move {
        let prober = config.probe_key.as_deref().map(secret::read_key).transpose()?;
        let settings = Settings { exports: config.exports(), keep: config.keep_exports, prober };
        evidence_exporter::run(ports, settings, shutdown).await
    })
}
