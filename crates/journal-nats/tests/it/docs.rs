//! `docs/bus.md` shows the table of permissions as it is.

use std::path::Path;

use journal_nats::permission::Permissions;
use journal_nats::{PlatformUser, TenantUser};

#[test]
fn the_table_in_the_documentation_is_the_one_that_holds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bus.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = PlatformUser::ALL.map(|user| row(user.name(), &user.permissions())).concat()
        + &TenantUser::ALL.map(|user| row(user.name(), &user.permissions())).concat();
    for row in rows.lines() {
        assert!(text.contains(row), "docs/bus.md should have these rows:\n{rows}");
    }
}

fn row(name: &str, permissions: &Permissions) -> String {
    let (streams, rest): (Vec<_>, Vec<_>) = permissions.publish.iter().partition(|subject| subject.starts_with("$JS."));
    let (records, asks): (Vec<_>, Vec<_>) = rest.into_iter().partition(|subject| subject.starts_with("kl.*.log."));
    let records: Vec<_> = records.iter().map(|subject| subject.replace("kl.*.log.", "")).collect();
    let has = |subject: &str| streams.iter().any(|stream| stream.contains(subject));
    let streams = [("INFO", "look"), ("MSG.GET", "read"), ("CREATE", "create")];
    let streams: Vec<_> = streams.into_iter().filter(|(subject, _)| has(subject)).map(|(_, word)| word).collect();
    let code =
        |subjects: &[&String]| subjects.iter().map(|subject| format!("`{subject}`")).collect::<Vec<_>>().join(" ");
    format!(
        "| {name} | {} | {} | {} | {} | {} |\n",
        code(&records.iter().collect::<Vec<_>>()),
        code(&asks),
        code(&permissions.subscribe.iter().collect::<Vec<_>>()),
        if permissions.answers { "yes" } else { "" },
        streams.join(", "),
    )
}
