//! The shipped legal packs, gate by gate: one `check`, many lines. And what holds for every pack there can be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lifecycle::gate::{self, ATTRIBUTES, Circumstances, Compiled, Finding, Outcome};
use model::key::{Responsibility, Template};
use model::pack::{Fact, FactKind, FactValue, Number, Pack};
use model::{Algorithm, KeySpec, Name, Span, Text, Timestamp};
use proptest::prelude::*;

const NOW: &str = "2026-11-23T17:00:01.000Z";

/// Every shipped pack, with facts under which each of its gates applies and is satisfied.
const PACKS: [(&str, &str); 6] = [
    ("nis2-2024-2690", "period-max-days=365 cryptography-policy-review-due=+90d legal-request-procedure=LRP-1"),
    (
        "gdpr-edpb-01-2020",
        "personal-data=true allowed-jurisdictions=EU,CH residency=EU operator-jurisdiction=EU third-country-transfer=true
         transfer-assessment=TIA-7 transfer-assessment-until=+90d keys-under-exporter-control=true
         processor-engaged=true processor-contract=DPA-3 processor-contract-until=+90d",
    ),
    (
        "pci-dss-4-0-1",
        "account-data=true storage-form=secure-cryptographic-device cryptoperiod-days=365 clear-text-handled=true
         key-ceremony=KC-12 key-check-value-matched=true custodian-acknowledgements=ACK-2
         custodian-acknowledgements-until=+200d",
    ),
    (
        "ear-740-17",
        "enc-export=true eccn=5D002.c.1 enc-paragraph=b2 ccats=G123456 classified-at=-30d destinations=BR,DE
         country-group-e1=IR,KP,SY supplement-3=DE,FR government-end-user=false screened-at=-24h screening-clear=true",
    ),
    (
        "fips-140-3",
        "module-certificate=4999 module-certificate-active-until=+365d module-in-approved-mode=true
         algorithm-approved-until=+365d security-strength-bits=128",
    ),
    (
        "dora-2024-1774",
        "data-classification=secret ict-asset=ICT-9 risk-assessment-until=+90d replacement-plan=RP-4
         replacement-plan-review-due=+90d critical-function=true certificate-register-entry=CR-77",
    ),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/packs")
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap()
}

#[track_caller]
fn pack(name: &str) -> Pack {
    toml::from_str(&text_of(name)).unwrap()
}

#[track_caller]
fn compiled(pack: &Pack) -> Compiled {
    Compiled::new(pack).unwrap_or_else(|faults| panic!("{}: {faults:#?}", pack.name))
}

/// A key, a request and facts, as a test says them.
#[derive(Clone, Debug)]
struct Case {
    now: Timestamp,
    spec: KeySpec,
    owner: Option<Name>,
    pair: bool,
    activate_at: Timestamp,
    deactivate_at: Timestamp,
    systems: Vec<Text>,
    approvers: u32,
    facts: BTreeMap<Name, Fact>,
}

impl Case {
    fn new() -> Self {
        let now: Timestamp = NOW.parse().unwrap();
        let spec = KeySpec {
            asset: Some("the model's weights".parse().unwrap()),
            ..KeySpec::new(
                "weights".parse().unwrap(),
                Template {
                    algorithm: Algorithm::EcdsaP256,
                    workload: "model-storage".parse().unwrap(),
                    responsibility: Responsibility::Model,
                    jurisdiction: "EU".parse().unwrap(),
                    classification: "secret".parse().unwrap(),
                    environment: "production".parse().unwrap(),
                    backend: "software".parse().unwrap(),
                },
            )
        };
        Self {
            now,
            spec,
            owner: Some("model-owner".parse().unwrap()),
            pair: true,
            activate_at: now,
            deactivate_at: now + span("365d"),
            systems: vec!["inference".parse().unwrap()],
            approvers: 2,
            facts: BTreeMap::new(),
        }
    }

    /// Changes the case, word by word: `fact=value`, `-fact` taken away, `!fact` expired, `~fact` asserted 400 days ago,
    /// `?fact` of another kind; `@member=value` of the key or the request.
    fn change(mut self, pack: &Pack, words: &str) -> Self {
        for word in words.split_whitespace() {
            if let Some(member) = word.strip_prefix('@') {
                let (member, value) = member.split_once('=').unwrap();
                self.set(member, value);
            } else if let Some((name, value)) = word.split_once('=') {
                let kind = pack.fact(&name.parse().unwrap()).unwrap_or_else(|| panic!("no fact {name}")).kind;
                let valid_until = self.now + span("1d");
                let fact = Fact { value: self.value(kind, value), asserted_at: self.now, valid_until };
                self.facts.insert(name.parse().unwrap(), fact);
            } else {
                let (change, name) = word.split_at(1);
                self.spoil(change, &name.parse().unwrap());
            }
        }
        self
    }

    fn spoil(&mut self, change: &str, name: &Name) {
        let mut fact = self.facts.remove(name).unwrap_or_else(|| panic!("no fact {name}"));
        match change {
            "-" => return,
            "!" => fact.valid_until = self.now,
            "~" => fact.asserted_at = back(self.now, "400d"),
            "?" if fact.value.kind() == FactKind::Flag => fact.value = FactValue::Number(1.into()),
            "?" => fact.value = FactValue::Flag(true),
            _ => panic!("{change}"),
        }
        self.facts.insert(name.clone(), fact);
    }

    fn set(&mut self, member: &str, value: &str) {
        match member {
            "owner" => self.owner = value.parse().ok().filter(|_| value != "none"),
            "asset" => self.spec.asset = value.parse().ok().filter(|_| value != "none"),
            "systems" => self.systems.clear(),
            "pair" => self.pair = value == "true",
            "jurisdiction" => self.spec.jurisdiction = value.parse().unwrap(),
            "classification" => self.spec.classification = value.parse().unwrap(),
            "approvers" => self.approvers = value.parse().unwrap(),
            "activate" => self.activate_at = self.time(value),
            "deactivate" => self.deactivate_at = self.time(value),
            "now" => self.now = value.parse().unwrap(),
            _ => panic!("{member}"),
        }
    }

    fn time(&self, text: &str) -> Timestamp {
        match text.split_at(1) {
            ("+", length) => self.now + span(length),
            ("-", length) => back(self.now, length),
            _ => text.parse().unwrap(),
        }
    }

    fn value(&self, kind: FactKind, text: &str) -> FactValue {
        match kind {
            FactKind::Text => FactValue::Text(text.parse().unwrap()),
            FactKind::Flag => FactValue::Flag(text.parse().unwrap()),
            FactKind::Number => FactValue::Number(Number::try_from(text.parse::<i64>().unwrap()).unwrap()),
            FactKind::Time => FactValue::Time(self.time(text)),
            FactKind::Names => {
                let names = text.split(',').filter(|name| !name.is_empty());
                FactValue::Names(names.map(|name| name.parse().unwrap()).collect())
            }
        }
    }

    fn evaluate(&self, compiled: &Compiled) -> Vec<Finding> {
        compiled.evaluate(&Circumstances {
            now: self.now,
            spec: &self.spec,
            owner: self.owner.as_ref(),
            key_pair: self.pair,
            created_at: back(self.now, "1d"),
            activate_at: self.activate_at,
            deactivate_at: self.deactivate_at,
            legal_basis: &[],
            affected_systems: &self.systems,
            change_ref: None,
            approvers: self.approvers,
            facts: &self.facts,
        })
    }
}

fn span(text: &str) -> Span {
    text.parse().unwrap()
}

fn back(from: Timestamp, length: &str) -> Timestamp {
    Timestamp::from_unix_millis(from.unix_millis() - span(length).as_millis())
}

/// What is not satisfied: `gate: outcome`, and the facts wanted.
fn told(findings: &[Finding]) -> String {
    let open = findings.iter().filter(|finding| finding.outcome != Outcome::Satisfied);
    let line = |finding: &Finding| {
        let wants: Vec<&str> = finding.wants.iter().map(Name::as_str).collect();
        let wants = if wants.is_empty() { String::new() } else { format!(" ({})", wants.join(", ")) };
        format!("{}: {}{wants}", finding.gate, finding.outcome)
    };
    open.map(line).collect::<Vec<_>>().join("; ")
}

/// The shipped pack under the facts that satisfy it and these changes: what is not satisfied is this, and no more.
#[track_caller]
fn check(name: &str, changes: &str, expected: &str) {
    let pack = pack(name);
    let (_, facts) = PACKS.iter().find(|(pack, _)| *pack == name).unwrap();
    let findings = Case::new().change(&pack, facts).change(&pack, changes).evaluate(&compiled(&pack));
    assert_eq!(told(&findings), expected, "{name}: {changes}");
}

#[test]
fn every_shipped_pack_is_in_order_and_satisfied_by_its_facts() {
    let shipped: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(shipped, PACKS.map(|(name, _)| name.to_owned()).into());
    for (name, _) in PACKS {
        let pack = pack(name);
        assert_eq!(pack.name.as_str(), name);
        assert_eq!(gate::check(&pack), []);
        let json = serde_json::to_vec(&pack).unwrap();
        assert!(json.len() <= Pack::BYTES_MAX);
        assert_eq!(model::json::read::<Pack>(&json).unwrap(), pack, "one shape in both forms");
        assert!(!pack.is_review_late(NOW.parse().unwrap()));
        check(name, "", "");
    }
}

#[test]
fn nis2() {
    let check = |changes, expected| check("nis2-2024-2690", changes, expected);
    check("@deactivate=+364d", "");
    check("@deactivate=+366d", "dates: not-satisfied");
    check("period-max-days=364", "dates: not-satisfied");
    check("period-max-days=-1", "dates: not-satisfied");
    check("@deactivate=+0s", "dates: not-satisfied");
    check("@deactivate=-1d", "dates: not-satisfied");
    // Days times milliseconds is more than Cedar's numbers hold.
    check("period-max-days=9007199254740991", "dates: unknown");
    check("-period-max-days", "dates: unknown (period-max-days)");
    check("@owner=none", "owner: not-satisfied");
    check("@systems=none", "intended-entities: not-satisfied");
    check("cryptography-policy-review-due=+0s", "");
    check("cryptography-policy-review-due=-1s", "policy-in-date: not-satisfied");
    check("@activate=+91d", "policy-in-date: not-satisfied");
    check("!cryptography-policy-review-due", "policy-in-date: unknown (cryptography-policy-review-due)");
    check("?legal-request-procedure", "legal-requests: unknown (legal-request-procedure)");
}

#[test]
fn gdpr() {
    let check = |changes, expected| check("gdpr-edpb-01-2020", changes, expected);
    check("residency=EU,CH", "");
    check("residency=EU,US", "residency: not-satisfied");
    check("residency=", "residency: not-satisfied");
    check("@jurisdiction=US", "residency: not-satisfied");
    check("operator-jurisdiction=EU,US", "operator: not-satisfied");
    check("operator-jurisdiction=", "operator: not-satisfied");
    check("allowed-jurisdictions=", "residency: not-satisfied; operator: not-satisfied");
    check(
        "~allowed-jurisdictions",
        "residency: unknown (allowed-jurisdictions); operator: unknown (allowed-jurisdictions)",
    );
    check("transfer-assessment-until=+0s", "transfer-assessment: not-satisfied");
    check("-transfer-assessment", "transfer-assessment: unknown (transfer-assessment)");
    check("keys-under-exporter-control=false", "exporter-control: not-satisfied");
    check("processor-contract-until=-1d", "processor: not-satisfied");
    check(
        "third-country-transfer=false -transfer-assessment -keys-under-exporter-control",
        "transfer-assessment: not-applicable; exporter-control: not-applicable",
    );
    check("processor-engaged=false -processor-contract", "processor: not-applicable");
    check("-processor-engaged", "processor: unknown (processor-engaged)");
    let none = "residency: not-applicable; operator: not-applicable; transfer-assessment: not-applicable; \
                exporter-control: not-applicable; processor: not-applicable";
    check("personal-data=false -residency -third-country-transfer", none);
    let unknown = none.replace("not-applicable", "unknown (personal-data)");
    check("-personal-data", &unknown);
    check("!personal-data", &unknown);
}

#[test]
fn pci_dss() {
    let check = |changes, expected| check("pci-dss-4-0-1", changes, expected);
    check("@approvers=1", "dual-control: not-satisfied");
    check("@approvers=0", "dual-control: not-satisfied");
    check("-key-ceremony", "dual-control: unknown (key-ceremony)");
    check("clear-text-handled=false -key-ceremony @approvers=1", "dual-control: not-applicable");
    check("-clear-text-handled", "dual-control: unknown (clear-text-handled)");
    check("storage-form=key-components", "");
    check("storage-form=plain", "stored-securely: not-satisfied");
    check("@deactivate=+366d", "cryptoperiod: not-satisfied");
    check("cryptoperiod-days=9007199254740991", "cryptoperiod: unknown");
    check("key-check-value-matched=false", "no-substitution: not-satisfied");
    check("?key-check-value-matched", "no-substitution: unknown (key-check-value-matched)");
    check("custodian-acknowledgements-until=+0s", "custodians: not-satisfied");
    check("@activate=+201d @deactivate=+300d", "custodians: not-satisfied");
    check("-custodian-acknowledgements", "custodians: unknown (custodian-acknowledgements)");
    check(
        "account-data=false",
        "strong-keys: not-applicable; stored-securely: not-applicable; cryptoperiod: not-applicable; \
         dual-control: not-applicable; no-substitution: not-applicable; custodians: not-applicable",
    );
}

#[test]
fn ear() {
    let check = |changes, expected| check("ear-740-17", changes, expected);
    check("eccn=EAR99", "classification: not-satisfied");
    check("eccn=5E002", "");
    check(
        "enc-paragraph=a1 government-end-user=true",
        "classification: not-satisfied; government-end-user: not-applicable",
    );
    check("destinations=IR", "destination: not-satisfied");
    check("destinations=BR,KP", "destination: not-satisfied");
    check(
        "destinations=",
        "destination: not-satisfied; thirty-days: not-applicable; government-end-user: not-applicable",
    );
    check("country-group-e1=", "destination: not-satisfied");
    check("~country-group-e1", "destination: unknown (country-group-e1)");
    check("classified-at=-29d", "thirty-days: not-satisfied");
    check("classified-at=-29d @activate=+1d", "");
    check("classified-at=9999-12-31T23:59:59.999Z", "thirty-days: not-satisfied");
    check("-classified-at", "thirty-days: unknown (classified-at)");
    // Nobody knows where it goes: not even whether the thirty days apply.
    check(
        "-destinations",
        "destination: unknown (destinations); thirty-days: unknown (destinations); \
         government-end-user: unknown (destinations)",
    );
    check(
        "destinations=DE,FR classified-at=-1d government-end-user=true",
        "thirty-days: not-applicable; government-end-user: not-applicable",
    );
    check(
        "enc-paragraph=b1 -ccats -classified-at",
        "classification-request: not-applicable; thirty-days: not-applicable; government-end-user: not-applicable",
    );
    check("enc-paragraph=b3 government-end-user=true", "government-end-user: not-applicable");
    check("enc-paragraph=b3 classified-at=-1d", "thirty-days: not-satisfied; government-end-user: not-applicable");
    check("government-end-user=true", "government-end-user: not-satisfied");
    check("-ccats", "classification-request: unknown (ccats)");
    check("screened-at=-25h", "screening: not-satisfied");
    check("screened-at=-86400001ms", "screening: not-satisfied");
    check("screened-at=+1s", "screening: not-satisfied");
    check("screening-clear=false", "screening: not-satisfied");
    check("!screening-clear", "screening: unknown (screening-clear)");
    check(
        "enc-export=false",
        "classification: not-applicable; destination: not-applicable; classification-request: not-applicable; \
         thirty-days: not-applicable; government-end-user: not-applicable; screening: not-applicable",
    );
}

#[test]
fn fips() {
    let check = |changes, expected| check("fips-140-3", changes, expected);
    check("module-certificate-active-until=+364d", "module-certificate: not-satisfied");
    check("@deactivate=+366d", "module-certificate: not-satisfied; algorithm-status: not-satisfied");
    check("-module-certificate", "module-certificate: unknown (module-certificate)");
    check("~module-certificate-active-until", "module-certificate: unknown (module-certificate-active-until)");
    check("module-in-approved-mode=false", "approved-mode: not-satisfied");
    check("algorithm-approved-until=+364d", "algorithm-status: not-satisfied");
    check("~algorithm-approved-until", "");
    check("?algorithm-approved-until", "algorithm-status: unknown (algorithm-approved-until)");
    check("security-strength-bits=112", "");
    check("security-strength-bits=111", "strength: not-satisfied");
    check("-security-strength-bits", "strength: unknown (security-strength-bits)");
}

#[test]
fn dora() {
    let check = |changes, expected| check("dora-2024-1774", changes, expected);
    check("data-classification=public", "classification: not-satisfied");
    check("@classification=public", "classification: not-satisfied");
    check("@asset=none", "asset: not-satisfied");
    check("-ict-asset", "asset: unknown (ict-asset)");
    check("risk-assessment-until=+0s", "risk-assessment: not-satisfied");
    check("!risk-assessment-until", "risk-assessment: unknown (risk-assessment-until)");
    check("replacement-plan-review-due=-1s", "replacement-plan: not-satisfied");
    check("-replacement-plan", "replacement-plan: unknown (replacement-plan)");
    check("-certificate-register-entry", "certificate-register: unknown (certificate-register-entry)");
    check("critical-function=false -certificate-register-entry", "certificate-register: not-applicable");
    check("@pair=false -critical-function", "certificate-register: not-applicable");
    check("-critical-function", "certificate-register: unknown (critical-function)");
}

/// Whatever is wrong with one fact, the gates that need it are unknown and want it; the others stay as they are.
#[test]
fn a_gate_without_one_of_its_facts_is_unknown() {
    for (name, facts) in PACKS {
        let pack = pack(name);
        let (compiled, case) = (compiled(&pack), Case::new().change(&pack, facts));
        for fact in &pack.facts {
            let stale = fact.max_age.map(|_| "~");
            for change in ["-", "!", "?"].into_iter().chain(stale) {
                let findings = case.clone().change(&pack, &format!("{change}{}", fact.name)).evaluate(&compiled);
                for (finding, gate) in findings.iter().zip(&pack.gates) {
                    let expected = match gate.needs.contains(&fact.name) {
                        true => (Outcome::Unknown, vec![fact.name.clone()]),
                        false => (Outcome::Satisfied, Vec::new()),
                    };
                    let context = format!("{name}: {} under {change}{}", gate.name, fact.name);
                    assert_eq!((finding.outcome, finding.wants.clone()), expected, "{context}");
                }
            }
        }
    }
}

#[test]
fn a_fact_is_not_known_before_it_is_asserted() {
    let pack = pack("fips-140-3");
    let mut case = Case::new().change(&pack, PACKS[4].1);
    case.facts.get_mut(&"security-strength-bits".parse().unwrap()).unwrap().asserted_at = case.now + span("1ms");
    assert_eq!(told(&case.evaluate(&compiled(&pack))), "strength: unknown (security-strength-bits)");
}

#[test]
fn outside_its_dates_no_gate_applies() {
    for (name, _) in PACKS {
        let mut pack = pack(name);
        let until: Timestamp = NOW.parse().unwrap();
        pack.effective_until = Some(until);
        let compiled = compiled(&pack);
        let at = |now: Timestamp| {
            let findings = Case { now, ..Case::new() }.evaluate(&compiled);
            assert_eq!(findings.len(), pack.gates.len());
            findings.iter().all(|finding| finding.outcome == Outcome::NotApplicable && finding.wants.is_empty())
        };
        let before = |time: Timestamp| Timestamp::from_unix_millis(time.unix_millis() - 1);
        assert!(at(before(pack.effective_from)) && !at(pack.effective_from), "{name}");
        assert!(!at(before(until)) && at(until), "{name}");
    }
}

/// A pack says which declared conditions held, and never more.
#[test]
fn no_pack_says_that_anybody_is_compliant() {
    for (name, _) in PACKS {
        let text = text_of(name).to_lowercase();
        assert!(!text.contains("complian") && !text.contains("conform"), "{name}");
    }
}

/// What packs name as evidence is in the record.
#[test]
fn evidence_names_members_of_events() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/events");
    for (name, _) in PACKS {
        let pack = pack(name);
        let facts = pack.facts.iter().map(|fact| format!("fact.{}", fact.name));
        let evidence: BTreeSet<&str> = pack.evidence.iter().map(Name::as_str).collect();
        for fact in facts {
            assert!(evidence.contains(&*fact), "{name}: {fact} is no evidence");
        }
        for (event, member) in evidence.iter().filter_map(|name| name.rsplit_once('.')).filter(|(at, _)| *at != "fact")
        {
            let schema = std::fs::read_to_string(schemas.join(format!("{event}.v1.json"))).unwrap();
            assert!(schema.contains(&format!("\"{member}\":")), "{name}: {event} has no {member}");
        }
    }
}

#[test]
fn the_page_lists_every_attribute_and_pack() {
    let page = std::fs::read_to_string(folder().join("../../docs/packs.md")).unwrap();
    for attribute in ATTRIBUTES {
        let presence = if attribute.always { "always" } else { "ask with `has`" };
        let row = format!("| `context.{}` | {} | {presence} |", attribute.path, attribute.kind);
        assert!(page.contains(&row), "{row}");
    }
    for (name, _) in PACKS {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

/// A small pack, which the tests below change.
const SMALL: &str = r#"
schema = 1
name = "small"
version = 1
title = "A small pack"
about = ["For tests."]
effective_from = "2024-01-01T00:00:00.000Z"
reviewer = "legal-review"
review_due = "2027-05-31T00:00:00.000Z"
evidence = ["key.activated.approvals", "fact.count"]

[[source]]
citation = "None"

[[fact]]
name = "count"
kind = "number"
scope = "key"
about = "A number."

[[fact]]
name = "open"
kind = "flag"
scope = "key"
about = "Yes or no."
max_age = "1d"

[[gate]]
name = "one"
clause = "1"
says = "It holds."
needs = ["count", "open"]
when = 'context.facts["open"]'
require = 'context.facts["count"] > 1'
"#;

fn small(from: &str, to: &str) -> Pack {
    assert!(SMALL.contains(from), "{from}");
    toml::from_str(&SMALL.replace(from, to)).unwrap()
}

/// With this instead of that, the pack has faults in these places, and can't be used.
#[track_caller]
fn faults(from: &str, to: &str, places: &[&str]) {
    let pack = small(from, to);
    let faults = gate::check(&pack);
    let found: Vec<&str> = faults.iter().map(|fault| fault.at.as_str()).collect();
    assert_eq!(found, places, "{to}: {faults:#?}");
    assert_eq!(Compiled::new(&pack).err().unwrap_or_default(), faults);
    assert_eq!(gate::check(&pack), faults, "the same faults in the same order");
}

#[test]
fn rejects_packs_that_do_not_hold_together() {
    faults("schema = 1", "schema = 1", &[]);
    faults("schema = 1", "schema = 2", &["schema"]);
    faults("version = 1", "version = 0", &["version"]);
    let until = "review_due = \"2027-05-31T00:00:00.000Z\"\neffective_until = \"2024-01-01T00:00:00.000Z\"";
    faults("review_due = \"2027-05-31T00:00:00.000Z\"", until, &["effective_until"]);
    faults("review_due = \"2027", "review_due = \"2023", &["review_due"]);
    faults("[\"For tests.\"]", "[]", &["about"]);
    faults("[\"key.activated.approvals\", \"fact.count\"]", "[]", &["evidence"]);
    faults("fact.count", "fact.counts", &["evidence"]);
    faults("key.activated.approvals", "key.activate.approvals", &["evidence"]);
    faults("max_age = \"1d\"", "max_age = \"0s\"", &["fact.open.max_age"]);
    faults("name = \"open\"", "name = \"count\"", &["fact.count", "gate.one.needs"]);
    faults("needs = [\"count\", \"open\"]", "needs = [\"count\", \"open\", \"more\"]", &["gate.one.needs"]);
    faults("A small pack", "What makes you compliant", &["pack"]);
    let twice = "require = 'context.facts[\"count\"] > 1'\n[[gate]]\nname = \"one\"\nclause = \"1\"\nsays = \"a\"\n\
                 require = 'context.key.pair'\n";
    faults("require = 'context.facts[\"count\"] > 1'", twice, &["gate.one"]);
    let about = format!("[{}]", format!("\"{}\",", "a".repeat(500)).repeat(40));
    faults("[\"For tests.\"]", &about, &["pack"]);
    let mut empty = small("schema", "schema");
    empty.gates.clear();
    assert!(gate::check(&empty).iter().any(|fault| fault.at == "gate"));
}

/// The condition, in place of the small pack's, has a fault.
#[track_caller]
fn rejects(condition: &str) {
    let mut pack = small("schema", "schema");
    for member in ["require", "when"] {
        let gate = &mut pack.gates[0];
        (gate.require, gate.when) = match member {
            "require" => (condition.to_owned(), None),
            _ => ("context.facts[\"count\"] > 1".to_owned(), Some(condition.to_owned())),
        };
        let faults = gate::check(&pack);
        let expected = format!("gate.one.{member}");
        assert!(!faults.is_empty() && faults.iter().all(|fault| fault.at == expected), "{condition}: {faults:#?}");
        assert!(Compiled::new(&pack).is_err());
    }
}

#[test]
fn rejects_typos_and_wrong_kinds_when_the_pack_is_read() {
    rejects("context.key.ownr == \"a\"");
    rejects("context.keys.label == \"a\"");
    rejects("context.key.label == 1");
    rejects("context.key.label > \"a\"");
    rejects("context.facts[\"cuont\"] > 1");
    rejects("context.facts[\"count\"] == \"1\"");
    rejects("context.facts[\"open\"] > 1");
    rejects("context.facts.count");
    rejects("context.now > datetime(\"2024-13-01\")");
    rejects("context.now > duration(\"1d\")");
    rejects("context.ages[\"count\"] < 24");
    // What may be missing must be asked for first.
    rejects("context.key.owner == \"a\"");
    // Never true, so it could only be a mistake.
    rejects("context.key.pair && false");
}

#[test]
fn rejects_what_is_no_condition() {
    for text in [
        "",
        " ",
        "context.key.pair &&",
        "true } unless { context.key.pair",
        "true }; permit(principal, action, resource",
        "context.key.pair } when { true",
        "true",
        "1 < 2",
        "context",
        "@id(\"a\") true",
    ] {
        rejects(text);
    }
}

/// Ignorance must not open a gate: nothing tells a fact that is missing from one that is there.
#[test]
fn rejects_questions_whether_a_fact_is_there() {
    rejects("context.facts has count");
    rejects("!(context.facts has count)");
    rejects("context has facts");
    rejects("context has key.owner");
    rejects("context.facts == context.facts");
    rejects("context.facts != context.ages");
    rejects("[context.facts].contains(context.facts)");
    rejects("{\"a\": context.facts} has a");
    rejects("(if context.key.pair then context else context).facts has count");
    rejects("principal == principal && context.key.pair");
    rejects("context.key == context.key");
}

#[test]
fn a_condition_reads_what_its_gate_needs() {
    faults("needs = [\"count\", \"open\"]", "needs = [\"open\"]", &["fact.count"]);
    let both = "require = 'context.facts[\"count\"] > 1'\n[[gate]]\nname = \"two\"\nclause = \"1\"\nsays = \"a\"\n\
                require = 'context.facts[\"count\"] > 1 && context.ages[\"open\"] < duration(\"1h\")'\n";
    faults("require = 'context.facts[\"count\"] > 1'", both, &["gate.two.require", "gate.two.require"]);
}

#[test]
fn ages_are_lengths_of_time() {
    let pack = small("context.facts[\"count\"] > 1", "context.ages[\"count\"] <= duration(\"1h\")");
    let compiled = compiled(&pack);
    for (asserted, outcome) in
        [("0s", Outcome::Satisfied), ("1h", Outcome::Satisfied), ("3600001ms", Outcome::NotSatisfied)]
    {
        let mut case = Case::new().change(&pack, "count=1 open=true");
        case.facts.get_mut(&"count".parse().unwrap()).unwrap().asserted_at = back(case.now, asserted);
        assert_eq!(case.evaluate(&compiled)[0].outcome, outcome, "{asserted}");
    }
}

/// An error of Cedar's, wherever it is, is unknown: overflow in `when`, in `require`, and what is behind `||`.
#[test]
fn errors_are_unknown() {
    let overflow = "9223372036854775807 + context.facts[\"count\"] > 0";
    for (require, when, outcome) in [
        (overflow, "true || context.key.pair", Outcome::Unknown),
        ("context.facts[\"count\"] > 0", overflow, Outcome::Unknown),
        (&format!("context.key.pair || {overflow}"), "true || context.key.pair", Outcome::Satisfied),
        (&format!("{overflow} || context.key.pair"), "true || context.key.pair", Outcome::Unknown),
        (&format!("!({overflow})"), "true || context.key.pair", Outcome::Unknown),
    ] {
        let mut pack = small("schema", "schema");
        pack.facts.retain(|fact| fact.name.as_str() == "count");
        pack.gates[0].needs = [pack.facts[0].name.clone()].into();
        (pack.gates[0].require, pack.gates[0].when) = (require.to_owned(), Some(when.to_owned()));
        let findings = Case::new().change(&pack, "count=1").evaluate(&compiled(&pack));
        assert_eq!((findings[0].outcome, findings[0].wants.len()), (outcome, 0), "{require} / {when}");
    }
}

/// Cedar takes a short stack for an error of evaluation: the answer must not depend on how deep the caller is.
#[test]
fn the_deepest_condition_has_the_same_answer_on_a_small_stack() {
    let nested = format!("{}context.key.pair{}", "(".repeat(100), ")".repeat(100));
    let chain = ["context.key.pair"; 33].join(" && ");
    let mixed = format!("{}true{}", "(context.key.pair&&".repeat(30), ")".repeat(30));
    let choices = format!("{}true{}", "(if context.key.pair then ".repeat(31), " else false)".repeat(31));
    let set = format!("{}context.key.pair{}", "[".repeat(31), "]".repeat(31));
    let sets = format!("{set} == {set}");
    let offsets = format!("context.now{} > context.now", ".offset(duration(\"1d\"))".repeat(30));
    for condition in [nested, chain, mixed, choices, sets, offsets] {
        let mut pack = small("schema", "schema");
        pack.facts.clear();
        pack.evidence = ["key.activated.approvals".parse().unwrap()].into();
        let gate = &mut pack.gates[0];
        (gate.needs, gate.when, gate.require) = (BTreeSet::new(), None, condition.clone());
        let answer = move || {
            let compiled = compiled(&pack);
            told(&Case::new().evaluate(&compiled))
        };
        let small = std::thread::Builder::new().stack_size(128 << 10).spawn(answer.clone()).unwrap().join().unwrap();
        assert_eq!((small, answer()), (String::new(), String::new()), "{condition}");
    }
}

#[test]
fn rejects_conditions_that_are_too_long_or_too_deep() {
    for text in [
        format!("{}context.key.pair{}", "(".repeat(101), ")".repeat(101)),
        format!("{}context.key.pair{}", "(".repeat(700), ")".repeat(700)),
        // Closing brackets in text close nothing.
        format!("\"{}\" == \"\" || {}context.key.pair{}", ")".repeat(350), "(".repeat(350), ")".repeat(350)),
        format!("{}context.key.pair{}", "[".repeat(700), "]".repeat(700)),
        ["context.key.pair"; 34].join("&&"),
        ["1"; 600].join("+") + " > 0 && context.key.pair",
        format!("context.key.pair{}", " ".repeat(1_500)),
        format!("context.key.pair && {}1 > 0", "-".repeat(1_400)),
        format!("context.key.pair && {}true", "!".repeat(1_400)),
        format!("{}true", "if true then true else ".repeat(60)),
        format!("context{}", ".a".repeat(740)),
        format!("{}{} > 0", "(".repeat(100), ["1"; 600].join("+") + &")".repeat(100)),
        format!("context.facts{}", "[\"\"]".repeat(100)),
    ] {
        rejects(&text);
    }
}

#[test]
fn a_compiled_pack_goes_between_threads_and_is_cheap_to_clone() {
    fn shared<T: Send + Sync + Clone + 'static>() -> usize {
        size_of::<T>()
    }
    assert_eq!(shared::<Compiled>(), size_of::<usize>());
}

/// What may be the matter with a fact.
#[derive(Clone, Copy, Debug)]
enum State {
    Good,
    Other,
    Missing,
    Expired,
    WrongKind,
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        5 => Just(State::Good),
        2 => Just(State::Other),
        1 => Just(State::Missing),
        1 => Just(State::Expired),
        1 => Just(State::WrongKind),
    ]
}

/// Another value of the same kind.
fn other(value: &FactValue) -> FactValue {
    match value {
        FactValue::Text(_) => FactValue::Text("b1".parse().unwrap()),
        FactValue::Flag(value) => FactValue::Flag(!value),
        FactValue::Number(_) => FactValue::Number(Number::try_from(Number::MAX).unwrap()),
        FactValue::Time(_) => FactValue::Time(NOW.parse().unwrap()),
        FactValue::Names(_) => FactValue::Names(["BR".parse().unwrap(), "IR".parse().unwrap()].into()),
    }
}

proptest! {
    /// INVARIANT (unknown blocks): with a fact taken away, every gate is as it was, or unknown.
    #[test]
    fn knowing_less_opens_no_gate(
        which in 0..PACKS.len(),
        states in prop::collection::vec(state(), 11),
        taken in 0_usize..11,
        pair in any::<bool>(),
        approvers in 0_u32..4,
    ) {
        let pack = pack(PACKS[which].0);
        let compiled = compiled(&pack);
        let mut case = Case { pair, approvers, ..Case::new() }.change(&pack, PACKS[which].1);
        for (need, state) in pack.facts.iter().zip(&states) {
            match state {
                State::Good => {}
                State::Other => {
                    let fact = case.facts.get_mut(&need.name).unwrap();
                    fact.value = other(&fact.value);
                }
                State::Missing => case.spoil("-", &need.name),
                State::Expired => case.spoil("!", &need.name),
                State::WrongKind => case.spoil("?", &need.name),
            }
        }
        let before = case.evaluate(&compiled);
        prop_assert_eq!(&before, &case.evaluate(&compiled), "twice the same");
        case.facts.remove(&pack.facts[taken % pack.facts.len()].name);
        for (before, after) in before.iter().zip(case.evaluate(&compiled)) {
            prop_assert!(after.outcome == before.outcome || after.outcome == Outcome::Unknown, "{before:?} {after:?}");
        }
    }
}

/// What it costs: `cargo test -p lifecycle --release --test packs -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost() {
    for (name, facts) in PACKS {
        let pack = pack(name);
        let started = std::time::Instant::now();
        let compiled = compiled(&pack);
        let compile = started.elapsed();
        let case = Case::new().change(&pack, facts);
        let started = std::time::Instant::now();
        for _ in 0..1_000 {
            assert_eq!(case.evaluate(&compiled).len(), pack.gates.len());
        }
        println!("{name}: read in {compile:?}, evaluated in {:?}", started.elapsed() / 1_000);
    }
}
