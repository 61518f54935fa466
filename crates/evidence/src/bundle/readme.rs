//! `README.txt`: what the bundle is, and how to check it.

use std::io::{self, Write};

use super::{EVENTS, FILES, LINES, MANIFEST, Source};
use crate::controls::Outcome;

const README: &str = include_str!("README.txt");
const CHECK: &str = include_str!("check.py");

pub(super) fn write(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (report, period) = (source.report, source.controls.period);
    let own = [
        (EVENTS, "every event, in order: the exact bytes that were signed, and the signature"),
        (LINES, "the same for those who watch many systems: a line of OCSF an event"),
        (MANIFEST, "the SHA-256 of every other file, signed by the platform's evidence exporter"),
    ];
    let files = own.into_iter().chain(FILES.iter().map(|file| (file.name, file.about)));
    let signed = ("oscal/*.dsse.json", "signatures of these, for `trestle verify`, under oscal/exporter.pem");
    let files = files.chain([signed]);
    let files: String = files.map(|(name, about)| format!("{name:<31} {about}\n")).collect();
    let name = source.history.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let text = README
        .replace("{tenant}", &format!("{}{name}", report.tenant))
        .replace("{root}", &report.root.to_string())
        .replace("{events}", &report.events.to_string())
        .replace("{period}", &format!("events {} to {}, until {}", period.from.0, period.to.0, period.until))
        .replace("{head}", &report.head.to_string())
        .replace("{tree_root}", &report.merkle_root.to_string())
        .replace("{files}", &files)
        .replace("{controls}", &controls(source))
        .replace("{check}", CHECK);
    out.write_all(text.as_bytes())
}

/// The tests' outcomes, a line each, exceptions first.
fn controls(source: &Source<'_>) -> String {
    let mut tests: Vec<_> = source.controls.controls.iter().collect();
    tests.sort_by_key(|test| test.outcome);
    let line = |test: &&crate::controls::ControlTest| {
        let came_to = match test.outcome {
            Outcome::Exceptions => format!("{} exceptions", test.exceptions.len()),
            Outcome::InsufficientEvidence => "insufficient evidence".to_owned(),
            Outcome::NoExceptions => format!("nothing against {} of {}", test.passed, test.population.count),
            Outcome::NotApplicable => "not applicable".to_owned(),
        };
        format!("{:<11} {:<58} {came_to}\n", test.id, test.title)
    };
    tests.iter().map(line).collect()
}
