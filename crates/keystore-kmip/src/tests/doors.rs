//! The side doors of the real PyKMIP 0.11: which it leaves open.

use super::*;
use crate::{Door, Finding, Verdict};

#[test]
fn pykmip_leaves_these_doors_open() {
    let bench = Bench::new();
    let found = bench.store().probe_side_doors();
    let verdicts: Vec<(Door, Verdict)> = found.iter().map(|finding| (finding.door, finding.verdict)).collect();
    let wanted = [
        (Door::ActivationDateAtCreate, Verdict::Closed),
        (Door::ActivationDateAtRegister, Verdict::Closed),
        (Door::ActivationDateByModify, Verdict::Closed),
        // It has no Add Attribute, and so can't even read the request.
        (Door::ActivationDateByAdd, Verdict::NotTried),
        (Door::StateByModify, Verdict::Closed),
        (Door::UseBeforeActivation, Verdict::Closed),
        (Door::DeriveBeforeActivation, Verdict::Open),
        (Door::GetBeforeActivation, Verdict::Open),
        (Door::UseImpliesExport, Verdict::Open),
    ];
    assert_eq!(verdicts, wanted, "{found:#?}");
    for finding in &found {
        assert!(!finding.said.is_empty() && finding.left.is_empty(), "{finding:?}");
    }
    let left = bench.store().survey().unwrap().findings;
    let ours = |finding: &Finding| {
        let instance = &bench.store().instance;
        matches!(finding, Finding::Unknown { names, .. } if names.iter().any(|name| name.contains(instance)))
    };
    assert!(!left.iter().any(ours), "throw-away keys are thrown away: {left:?}");
}

/// A door that could not be tried is not called closed.
#[test]
fn a_server_that_is_away_has_no_doors() {
    let mut server = Server::start();
    let bench = Bench::with(server.settings());
    server.stop();
    let found = bench.store().probe_side_doors();
    assert!(found.iter().all(|finding| finding.verdict == Verdict::NotTried), "{found:?}");
    assert_eq!(found.len(), Door::ALL.len());
    server.start_again();
}
