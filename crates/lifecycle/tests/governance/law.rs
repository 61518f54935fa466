//! Legal packs, their facts, and what they hold up.

use lifecycle::scenario::{Scenario, key_id};

use super::check;

/// A pack of one gate: the key's `residency` is `EU`.
pub(crate) fn pack(name: &str, scope: &str) -> String {
    let text = r#"{"schema":1,"name":"NAME","version":1,"title":"Residency","about":["test"],
        "effective_from":"2025-01-01T00:00:00.000Z","reviewer":"privacy","review_due":"2027-01-01T00:00:00.000Z",
        "evidence":["fact.residency"],"source":[{"citation":"GDPR art. 44"}],
        "fact":[{"name":"residency","kind":"text","scope":"SCOPE","about":"where the data is"}],
        "gate":[{"name":"in-the-union","clause":"GDPR art. 44","says":"the data stays in the Union","needs":["residency"],
        "require":"context.facts[\"residency\"] == \"EU\""}]}"#;
    text.replace("NAME", name).replace("SCOPE", scope).replace('\n', " ")
}

fn declare(name: &str, scope: &str, how: &str) -> String {
    let pack = pack(name, scope);
    format!(
        r#"do pack.declare {{"against":"$head","pack":{pack},"applicability":{{"{how}":"counsel said so"}},"review_by":"$now+60d"}} by ann,bob"#
    )
}

const POLICY: &str = r#"{"packs":["gdpr"],"fact":[{"name":"residency","roles":["privacy"],"valid_max":"2h"}]}"#;

/// Under that pack, applied.
pub(crate) fn with_pack() -> Scenario {
    check(POLICY, &format!("{} => pack.declared", declare("gdpr", "key", "applied")))
}

const APPROVED: &str = "request k1 by rae => activation.requested
    approve k1 by sam => activation.approved
    approve k1 by lou => activation.approved";
const EU: &str = r#"{"fact":"residency","value":{"text":"EU"},"valid_until":"$now+1h","evidence":"DOC-1"}"#;

#[test]
fn packs_that_the_policy_lists_are_declared_before_any_activation() {
    let mut s = check(POLICY, APPROVED);
    s.run("due => activation.authorized, refused pack-undeclared");
    s.run(&format!("{} => refused quorum-not-met", declare("gdpr", "key", "applied").replace("ann,bob", "ann")));
    s.run(&format!("{} => pack.declared", declare("other", "key", "applied")));
    s.run("due => refused pack-undeclared");
    s.run(&format!("{} => pack.declared", declare("gdpr", "key", "not_applicable")));
    s.run("due => refused gate-unknown"); // the other one is applied too
    s.run(&format!("{} => pack.declared", declare("other", "key", "not_applicable")));
    s.run("due => key.activated");
}

#[test]
fn a_pack_that_does_not_hold_together_is_not_declared() {
    let broken = declare("gdpr", "key", "applied").replace("context.facts[", "context.fact[");
    check(POLICY, &format!("{broken} => refused pack-refused"));
    let past = declare("gdpr", "key", "applied").replace("$now+60d", "2025-01-01T00:00:00.000Z");
    check(POLICY, &format!("{past} => refused times-invalid"));
}

#[test]
fn a_pack_declared_anew_is_the_one_that_holds() {
    let mut s = with_pack();
    s.run(APPROVED);
    s.run("due => activation.authorized, refused gate-unknown");
    let deadlines = s.tenant.governance.as_ref().unwrap().deadlines.len();
    s.run(&format!("{} => pack.declared", declare("gdpr", "tenant", "applied")));
    assert_eq!(s.tenant.governance.as_ref().unwrap().deadlines.len(), deadlines, "one deadline of a kind");
    s.run(&format!("do fact.assert k1 {EU} by lou => fact.asserted"));
    s.run("due => refused gate-unknown"); // of the key; now it is to be of the tenant
    s.run(&format!("do fact.assert {EU} by lou => fact.asserted\ndue => key.activated"));
}

#[test]
fn facts_are_asserted_and_withdrawn_by_who_may_for_as_long_as_policy_lets_them() {
    check(
        POLICY,
        &format!(
            r#"do fact.assert k1 {EU} by sam => refused role-missing
            do fact.assert k1 {EU} by app => refused not-a-person
            do fact.assert k1 {EU} by zoe => refused unknown-principal
            do fact.assert k1 {} by lou => refused fact-unknown
            do fact.assert k1 {} by lou => refused times-invalid
            do fact.assert k1 {} by lou => refused times-invalid
            do fact.withdraw k1 {{"fact":"residency","reason":$why}} by lou => refused fact-unknown
            do fact.assert k1 {EU} by lou => fact.asserted
            do fact.withdraw {{"fact":"residency","reason":$why}} by lou => refused fact-unknown
            do fact.withdraw k1 {{"fact":"residency","reason":$why}} by sam => refused role-missing
            do fact.withdraw k1 {{"fact":"residency","reason":$why}} by lou => fact.withdrawn
            do fact.withdraw k1 {{"fact":"residency","reason":$why}} by lou => refused fact-unknown"#,
            EU.replace("residency", "citizenship"),
            EU.replace("$now+1h", "$now+3h"),
            EU.replace("$now+1h", "$now+0s"),
        ),
    );
}

#[test]
fn a_fact_that_ran_out_or_was_withdrawn_or_is_another_keys_blocks() {
    let mut s = with_pack();
    s.run(r#"generate k2 {"asset":"weights"} by kim => key.generated"#);
    s.run(&format!("do fact.assert k2 {EU} by lou => fact.asserted\ndo fact.assert {EU} by lou => fact.asserted"));
    s.run(&APPROVED.replace("request k1", "request k1 after 5m"));
    s.run("due => activation.authorized\nwait 5m\ndue => refused gate-unknown");
    let short = EU.replace("$now+1h", "$now+1m");
    s.run(&format!("do fact.assert k1 {short} by lou => fact.asserted\nwait 1m\ndue => refused gate-unknown"));
    s.run(&format!("do fact.assert k1 {EU} by lou => fact.asserted"));
    s.run(r#"do fact.withdraw k1 {"fact":"residency","reason":$why} by lou => fact.withdrawn"#);
    s.run(&format!(
        "due => refused gate-unknown\ndo fact.assert k1 {EU} by lou => fact.asserted\ndue => key.activated"
    ));
    let activated = s.records.last().unwrap();
    let payload = String::from_utf8(activated.payload.to_vec()).unwrap();
    let fact = s.tenant.keys[&key_id("k1")].facts.values().next().unwrap().hash;
    assert!(payload.contains(&fact.to_string()), "the activation names the facts that it rests on");
}

/// A fact says nothing of the time before it was asserted.
#[test]
fn a_clock_set_back_makes_no_fact_of_the_future_hold() {
    let mut s = with_pack();
    s.run("wait 10m");
    s.run(&format!("do fact.assert k1 {EU} by lou => fact.asserted"));
    s.set_back("2026-01-01T00:05:00.000Z".parse().unwrap());
    s.run(APPROVED);
    s.run("due => activation.authorized, refused gate-unknown\nwait 5m\ndue => key.activated");
}

/// A missed review is an exception on record, once, and opens and closes no gate.
#[test]
fn an_overdue_pack_review_is_an_exception() {
    let mut s = with_pack();
    s.run("wait 30d");
    assert!(s.perform("due").contains("deadline.warned"));
    s.run("due => nothing\nwait 30d\ndue => deadline.missed\ndue => nothing");
    s.run("wait 275d\ndue => deadline.warned\nwait 30d\ndue => deadline.missed\ndue => nothing");
    s.run(&format!("{} => pack.declared", declare("gdpr", "key", "applied").replace("2027-01-01", "2029-01-01")));
    let deadlines = &s.tenant.governance.as_ref().unwrap().deadlines;
    assert!(deadlines.iter().all(|deadline| !deadline.missed));
}
