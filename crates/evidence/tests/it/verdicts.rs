//! A bundle that was touched is found out, and what was touched is named.

use std::io::{self, Read};
use std::sync::OnceLock;

use evidence::bundle::{EVENTS, LINES, MANIFEST, Statement};
use evidence::verdict::{self, Finding, Folder, Given};
use evidence::{Verdict, export};
use journal::note::{Kind, Note, NoteKey};
use journal::{Body, Record};
use lifecycle::scenario::Scenario;
use model::dsse::Envelope;
use model::event::AuthorityChanged;
use model::{Digest, Event, EventId, ServiceRole, TenantId};

use super::bundles::busy;
use super::stage::{Files, bundle, bundle_with, checkpoint};

/// A folder in memory.
struct Shelf<'a>(&'a Files);

impl Folder for Shelf<'_> {
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn open<'a>(&'a mut self, name: &str) -> io::Result<Box<dyn Read + 'a>> {
        Ok(Box::new(self.0[name].as_slice()))
    }
}

fn judge(files: &Files, given: &Given) -> Verdict {
    verdict::check(&mut Shelf(files), given, &mut |_| ()).unwrap()
}

/// A finding: its kind, and the place or the file that it is about.
fn name(finding: &Finding) -> String {
    let place = finding.sequence.map(|place| format!("@{place}"));
    let file = finding.file.as_ref().map(|file| format!("/{file}"));
    [Some(finding.kind.to_owned()), place, file].into_iter().flatten().collect()
}

fn names(verdict: &Verdict) -> Vec<String> {
    verdict.findings().map(name).collect()
}

/// Changes a good bundle, and says what must be found among all else. Nothing: it stays good.
#[track_caller]
fn check(found: &str, change: impl FnOnce(&Scenario, &mut Files)) -> Verdict {
    static GOOD: OnceLock<(Scenario, Files)> = OnceLock::new();
    let (scenario, good) = GOOD.get_or_init(|| {
        let scenario = busy();
        let files = bundle(&scenario, 12, 64);
        (scenario, files)
    });
    let mut files = good.clone();
    change(scenario, &mut files);
    let verdict = judge(&files, &Given::root(scenario.tenant.root));
    let names = names(&verdict);
    assert!(found.split_whitespace().all(|found| names.iter().any(|name| name == found)), "{found}: {names:#?}");
    assert_eq!(verdict.holds, found.is_empty(), "{names:#?}");
    verdict
}

fn records(files: &Files) -> Vec<Record> {
    let lines = files[EVENTS].split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| export::from_line(line).unwrap()).collect()
}

fn write(files: &mut Files, records: &[Record]) {
    let text: String = records.iter().map(|record| export::to_line(record) + "\n").collect();
    files.insert(EVENTS.to_owned(), text.into_bytes());
}

/// The same for the events of a bundle.
#[track_caller]
fn check_events(found: &str, change: impl FnOnce(&Scenario, &mut Vec<Record>)) {
    check(found, |scenario, files| {
        let mut events = records(files);
        change(scenario, &mut events);
        write(files, &events);
    });
}

/// An event, by its type: its index.
fn index(records: &[Record], of: &str) -> usize {
    let of = format!("\"dev.keylatch.{of}.v1\"");
    records.iter().position(|record| String::from_utf8_lossy(&record.payload).contains(&of)).unwrap()
}

/// An event's envelope changed, and signed again by a service of this role.
fn signed_again(scenario: &Scenario, record: &mut Record, by: ServiceRole, change: impl FnOnce(&mut Body)) {
    let mut body = Body::parse(&record.payload).unwrap();
    change(&mut body);
    *record = scenario.service(by).sign_body(&body);
}

/// The manifest with these files' digests brought up to date, signed by a service of this role.
fn manifest_again(scenario: &Scenario, files: &mut Files, by: ServiceRole) {
    let envelope: Envelope = serde_json::from_slice(&files[MANIFEST]).unwrap();
    let mut statement: Statement = serde_json::from_slice(&envelope.payload.0).unwrap();
    for subject in &mut statement.subject {
        subject.digest.sha256 = Digest::of(&files[&subject.name]);
    }
    files.insert(MANIFEST.to_owned(), statement.sign(scenario.service(by)));
}

#[test]
fn a_good_bundle_holds_and_says_what_was_looked_at() {
    let verdict = check("", |_, _| {});
    assert_eq!(verdict.period.from.0, 12);
    for (name, section) in verdict.sections() {
        assert!(!section.figures.is_empty() && section.findings.is_empty(), "{name}");
    }
    assert!(verdict.not_checked.iter().any(|item| item.contains("the whole history")));
}

#[test]
fn events_that_were_touched_are_found_and_named() {
    check_events("missing@9 digest/events.jsonl manifest/manifest.json", |_, events| drop(events.remove(8)));
    check_events("missing@9", |_, events| drop(events.drain(8..12)));
    check_events("out-of-place@5 out-of-place@6", |_, events| events.swap(4, 5));
    check_events("added@3", |_, events| events.insert(2, events[1].clone()));
    check_events("signature@20 link@21", |_, events| {
        let mut bytes = events[19].payload.to_vec();
        bytes[300] ^= 1;
        events[19].payload = bytes.into();
    });
    check_events("signature@12", |_, events| events[11].signature = events[12].signature.clone());
    check_events("signature@12", |_, events| {
        let (signer, signature) = events[11].signature.split_once(' ').unwrap();
        let broken = signature.replacen(|c: char| c.is_ascii_lowercase(), "A", 1);
        events[11].signature = format!("{signer} {broken}");
    });
    check_events("signature@12", |_, events| events[11].signature.clear());
}

/// By somebody who has the keys of services, and can sign what nobody decided.
#[test]
fn what_services_sign_against_the_rules_is_found_and_named() {
    let again = |found: &str, of: &str, by: ServiceRole, change: &dyn Fn(&Scenario, &mut Body)| {
        let at = index(&busy().records, of);
        check_events(&format!("{found}@{}", at + 1), |scenario, events| {
            signed_again(scenario, &mut events[at], by, |body| change(scenario, body));
        });
    };
    let issuer = |scenario: &Scenario| scenario.service(ServiceRole::Issuer).fingerprint();
    again("role", "activation.approved", ServiceRole::Issuer, &|scenario, body| body.signer = issuer(scenario));
    again("signer", "activation.approved", ServiceRole::Issuer, &|_, _| ());
    let other = TenantId::from_bytes([7; 32]);
    again("tenant", "custody.applied", ServiceRole::Custodian, &|_, body| body.tenant = other);
    again("time", "custody.applied", ServiceRole::Custodian, &|_, body| body.time = model::Timestamp::MIN);
    again("content", "policy.adopted", ServiceRole::Approver, &|_, body| {
        let command = body.data.find(r#""payload":""#).unwrap() + 40;
        body.data.replace_range(command..command + 1, "_");
    });
    again("differs", "key.generated", ServiceRole::Issuer, &|_, body| {
        body.data = body.data.replace("T01:00:00.000Z", "T02:00:00.000Z");
    });
    again("unknown-type", "custody.applied", ServiceRole::Custodian, &|_, body| {
        body.event_type = "dev.keylatch.key.blessed.v1".into();
    });
}

/// A policy that nobody adopted, an approval that nobody gave: in the log, with the service's signature, and void.
#[test]
fn a_policy_replaced_and_an_approval_forged_are_found_and_named() {
    let forged = |of: &str, change: &dyn Fn(&str) -> String| {
        let mut scenario = busy();
        let at = index(&scenario.records, of);
        let body = Body::parse(&scenario.records[at].payload).unwrap();
        let event = Event::parse(body.event_type.parse().unwrap(), &change(&body.data)).unwrap();
        scenario.forge(ServiceRole::Approver, &event);
        let place = scenario.records.len();
        let verdict = judge(&bundle(&scenario, 1, 64), &Given::root(scenario.tenant.root));
        (names(&verdict), place)
    };
    // The same words once more: the command's id is spent.
    let (found, place) = forged("policy.adopted", &str::to_owned);
    assert_eq!(found, [format!("refused@{place}")]);
    let (found, place) = forged("activation.approved", &str::to_owned);
    assert_eq!(found, [format!("refused@{place}")]);
    // With another's name on it, the signature on the command is not theirs.
    let sam = lifecycle::scenario::public_key("sam").fingerprint().to_string();
    let dee = lifecycle::scenario::public_key("dee").fingerprint().to_string();
    let (found, place) = forged("activation.approved", &|data| data.replace(&sam, &dee));
    assert_eq!(found, [format!("content@{place}")]);
}

#[test]
fn two_bundles_spliced_are_found_and_named() {
    let mut other = Scenario::new();
    other.run("wait 1s\nadopt by ann,bob => policy.adopted\ngenerate k9 by kim => key.generated");
    other.run("checkpoint => checkpoint.signed\ngenerate k8 by kim => key.generated");
    check_events("link@15", |_, events| {
        assert_eq!(events[12], other.records[12], "what they have in common");
        assert_ne!(events[13], other.records[13]);
        events.truncate(14);
        events.extend_from_slice(&other.records[14..]);
    });
}

/// Cut off, and everything beside it made to fit: a good shorter history, which only what somebody kept can show.
#[test]
fn a_tail_that_was_cut_off_is_found_by_what_was_kept_or_said_to_be_unchecked() {
    check_events("digest/events.jsonl checkpoint/checkpoints.txt manifest/manifest.json", |_, events| {
        events.truncate(events.len() - 1);
    });
    let whole = busy();
    let (kept, head) = (checkpoint(&whole), whole.tenant.chain.head().hash);
    let mut cut = Scenario::new();
    cut.run(r#"adopt {"people":{"access_review":{"by":{"roles":["admin"],"quorum":2},"every":"30d"}}} by ann,bob => policy.adopted"#);
    let files = bundle(&cut, 1, 64);
    let mut given = Given::root(whole.tenant.root);
    let verdict = judge(&files, &given);
    assert!(verdict.holds, "{:?}", names(&verdict));
    assert!(verdict.not_checked.iter().any(|item| item.contains("cut off")));
    given.kept = vec![kept.clone()];
    let verdict = judge(&files, &given);
    assert_eq!(names(&verdict), ["kept-checkpoint"]);
    assert!(!verdict.not_checked.iter().any(|item| item.contains("cut off")));
    (given.kept, given.head) = (Vec::new(), Some(head));
    assert_eq!(names(&judge(&files, &given)), ["head"]);
    // What continues the one that was kept.
    let early = checkpoint(&cut);
    given = Given { kept: vec![early.clone(), kept], head: Some(head), ..given };
    assert!(judge(&bundle(&whole, 1, 64), &given).holds);
    // A history rewritten since.
    let mut rewritten = Scenario::new();
    rewritten.run("adopt by ann,bob => policy.adopted\nadopt two-security by ann,bob => policy.adopted");
    given = Given { kept: vec![early], ..Given::root(whole.tenant.root) };
    assert_eq!(names(&judge(&bundle(&rewritten, 1, 64), &given)), ["kept-checkpoint"]);
}

#[test]
fn a_checkpoint_that_was_kept_counts_only_where_an_exporter_signed_it() {
    let scenario = busy();
    let signer = scenario.service(ServiceRole::Issuer).signing_key();
    let forged = Note::new(checkpoint(&scenario).text()).unwrap();
    let forged = forged.signed(&journal::note::origin(scenario.tenant.chain.tenant()), signer);
    let given = Given { kept: vec![forged], ..Given::root(scenario.tenant.root) };
    assert_eq!(names(&judge(&bundle(&scenario, 1, 64), &given)), ["kept-checkpoint"]);
}

#[test]
fn checkpoints_that_were_touched_are_found_and_named() {
    let with = |change: fn(&mut Vec<String>)| {
        move |_: &Scenario, files: &mut Files| {
            let text = String::from_utf8(files["checkpoints.txt"].clone()).unwrap();
            let mut notes: Vec<String> = text.split("\n\nkeylatch").map(str::to_owned).collect();
            notes.iter_mut().skip(1).for_each(|note| note.insert_str(0, "keylatch"));
            change(&mut notes);
            files.insert("checkpoints.txt".into(), (notes.join("\n\n").trim_end().to_owned() + "\n").into_bytes());
        }
    };
    let found = "checkpoint/checkpoints.txt changed-file/checkpoints.txt";
    check(found, with(|notes| drop(notes.pop())));
    check(found, with(|notes| drop(notes.remove(0))));
    check(found, with(|notes| notes.swap(1, 2)));
    check(found, with(|notes| notes[1] = notes[0].clone()));
    check(found, with(|notes| notes[2] = notes[2].replace("\n\n", "\n")));
}

#[test]
fn every_file_that_was_touched_is_named() {
    for file in evidence::bundle::FILES {
        let found = format!("changed-file/{}", file.name);
        check(&found, |_, files| files.get_mut(file.name).unwrap().push(b' '));
        check(&found, |_, files| {
            let bytes = files.get_mut(file.name).unwrap();
            let last = bytes.len() - 2;
            bytes[last] ^= 1;
        });
        check(&format!("missing-file/{}", file.name), |_, files| drop(files.remove(file.name)));
    }
    check("digest/events.jsonl", |_, files| {
        let text = String::from_utf8(files[EVENTS].clone()).unwrap();
        files.insert(EVENTS.into(), text.replacen("{\"payload\"", "{ \"payload\"", 1).into_bytes());
    });
    check("unknown-file/extra.csv", |_, files| drop(files.insert("extra.csv".into(), b"x".to_vec())));
    check("line/events.jsonl", |_, files| {
        let text = String::from_utf8(files[EVENTS].clone()).unwrap();
        files.insert(EVENTS.into(), text.replacen("payloadType", "payloadtype", 1).into_bytes());
    });
}

#[test]
fn a_manifest_is_believed_only_by_an_exporter_and_only_where_the_events_say_the_same() {
    let touch = |files: &mut Files| {
        let text = String::from_utf8(files["keys.csv"].clone()).unwrap();
        files.insert("keys.csv".into(), text.replacen(",active,", ",destroyed,", 1).into_bytes());
    };
    check("manifest/manifest.json", |_, files| drop(files.remove(MANIFEST)));
    check("manifest/manifest.json", |scenario, files| manifest_again(scenario, files, ServiceRole::Issuer));
    check("", |scenario, files| manifest_again(scenario, files, ServiceRole::EvidenceExporter));
    check("manifest/manifest.json false-file/keys.csv", |scenario, files| {
        touch(files);
        manifest_again(scenario, files, ServiceRole::Issuer);
    });
    let verdict = check("false-file/keys.csv", |scenario, files| {
        touch(files);
        manifest_again(scenario, files, ServiceRole::EvidenceExporter);
    });
    assert!(verdict.findings().any(|finding| finding.what.contains("line 2")));
    check("manifest/manifest.json", |_, files| {
        let text = String::from_utf8(files[MANIFEST].clone()).unwrap();
        files.insert(MANIFEST.into(), text.replacen("payloadType", "payloadtype", 1).into_bytes());
    });
    // An older manifest beside newer events.
    let older = {
        let mut scenario = Scenario::new();
        scenario.run("adopt by ann,bob => policy.adopted");
        bundle(&scenario, 1, 64)
    };
    check("digest/events.jsonl changed-file/controls.json manifest/manifest.json", |_, files| {
        drop(files.insert(MANIFEST.into(), older[MANIFEST].clone()));
    });
}

/// What is written event by event, and what is signed for other programs: made anew or verified as all else is.
#[test]
fn views_that_were_touched_are_named_though_an_exporter_signed_the_manifest() {
    let sidecar = |name: &str| evidence::oscal::sidecar(name);
    check("changed-file/ocsf.jsonl", |_, files| files.get_mut(LINES).unwrap().push(b' '));
    check("missing-file/ocsf.jsonl", |_, files| drop(files.remove(LINES)));
    check("false-file/ocsf.jsonl", |scenario, files| {
        let lines = String::from_utf8(files[LINES].clone()).unwrap();
        files.insert(LINES.into(), lines.replacen("\"severity_id\":1", "\"severity_id\":2", 1).into_bytes());
        manifest_again(scenario, files, ServiceRole::EvidenceExporter);
    });
    check("false-file/oscal/catalog.dsse.json", |scenario, files| {
        let other = files[&sidecar("profile.json")].clone();
        files.insert(sidecar("catalog.json"), other);
        manifest_again(scenario, files, ServiceRole::EvidenceExporter);
    });
    check("false-file/oscal/catalog.dsse.json false-file/oscal/exporter.pem", |scenario, files| {
        let digests = [("oscal/catalog.json".to_owned(), Digest::of(&files["oscal/catalog.json"]))].into();
        files.extend(evidence::oscal::sidecars(&digests, scenario.service(ServiceRole::Issuer)));
        manifest_again(scenario, files, ServiceRole::EvidenceExporter);
    });
    let good = check("", |_, _| {});
    assert!(!good.not_checked.iter().any(|what| what.contains("oscal")), "{:#?}", good.not_checked);
}

#[test]
fn a_bundle_is_of_the_root_and_the_tenant_that_were_named() {
    let scenario = busy();
    let files = bundle(&scenario, 1, 64);
    let other: model::Fingerprint = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    let verdict = judge(&files, &Given::root(other));
    assert_eq!((verdict.holds, verdict.void), (false, verdict.events));
    let tenant = Some(TenantId::from_bytes([7; 32]));
    assert!(!judge(&files, &Given { tenant, ..Given::root(scenario.tenant.root) }).holds);
    let tenant = Some(scenario.tenant.chain.tenant());
    let verdict = judge(&files, &Given { tenant, ..Given::root(scenario.tenant.root) });
    assert!(verdict.holds && !verdict.not_checked.iter().any(|item| item.contains("the tenant you mean")));
}

/// What nobody has signed is for convenience, and said to be.
#[test]
fn a_plain_export_is_checked_as_far_as_it_goes() {
    let verdict = check("", |_, files| files.retain(|name, _| name == EVENTS || name == "trust.json"));
    assert!(verdict.not_checked.iter().any(|item| item.contains("for convenience")));
}

#[test]
fn cosignatures_count_where_the_witness_is_known() {
    let scenario = busy();
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let mut note = checkpoint(&scenario);
    note.add(&note.cosignature("witness.example/w", 1, &key).to_string()).unwrap();
    let files = bundle_with(&scenario, 1, 64, &[note]);
    let witness = |seed| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        NoteKey::new("witness.example/w", Kind::Cosignature, key.verifying_key()).unwrap()
    };
    let by = |witness| {
        let verdict = judge(&files, &Given { witnesses: vec![witness], ..Given::root(scenario.tenant.root) });
        let figures = verdict.integrity.figures.iter().filter(|figure| figure.what.contains("your witnesses"));
        (verdict.holds, figures.map(|figure| figure.value.clone()).collect::<String>())
    };
    assert_eq!(by(witness(7)), (true, "1".to_owned()));
    assert_eq!(by(witness(8)), (true, "0".to_owned()));
    let mut touched = files.clone();
    let text = String::from_utf8(files["checkpoints.txt"].clone()).unwrap();
    let (before, last) = text.trim_end().rsplit_once(' ').unwrap();
    let (signature, end) = last.split_at(last.len() - 6);
    let broken = signature.to_owned() + &end.replace(|c: char| c.is_ascii_alphanumeric(), "A");
    touched.insert("checkpoints.txt".into(), format!("{before} {broken}\n").into_bytes());
    let given = Given { witnesses: vec![witness(7)], ..Given::root(scenario.tenant.root) };
    assert!(names(&judge(&touched, &given)).iter().any(|name| name == "cosignature/checkpoints.txt"));
}

/// Rules that this program does not know are not guessed.
#[test]
fn a_chain_under_unknown_rules_is_checked_up_to_there() {
    check("unknown-rules", |scenario, files| {
        let (epoch, rules) = (scenario.tenant.ring().epoch() + 1, 99);
        let authority = scenario.authority_with(epoch, |statement| statement.rules = rules).envelope;
        let event = Event::AuthorityChanged(AuthorityChanged { epoch, rules, authority });
        let id = EventId::from_bytes([1, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]).unwrap();
        let registrar = scenario.service(ServiceRole::Registrar);
        let (record, _) = registrar.sign_event(&scenario.tenant.chain, id, scenario.now, &event);
        let mut events = records(files);
        events.push(record);
        write(files, &events);
    });
}

/// One process with all the keys is a fact that an auditor sees.
#[test]
fn the_shape_of_the_deployment_is_told() {
    let verdict = check("", |_, _| {});
    assert!(verdict.deployment.figures.iter().any(|figure| figure.what == "to weigh"));
}
