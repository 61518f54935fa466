//! What the tenant stands by in writing (point 11).

use super::{About, ControlTest, Scope, Test};

/// Point 11.
pub(super) fn procedures(_: Scope<'_>) -> ControlTest {
    let test = Test::new(
        "CEK-15.11",
        About {
            title: "Procedures to generate keys exist",
            statement: "A procedure for generating keys is adopted, with its text's digest, an owner who is enrolled, and a \
                        review that is not overdue.",
            source: "CCM CEK-15, processes and procedures to generate keys exist",
            method: "The documents that were adopted by an admin quorum and cover this point are looked up.",
            of: "adopted documents that cover the generation of keys",
            listed_in: "governance.csv where generation is yes",
        },
    );
    test.insufficient("No document that covers the generation of keys was adopted.")
}
