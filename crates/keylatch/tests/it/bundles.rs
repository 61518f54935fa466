//! Bundles of evidence on the real platform: on command, on schedule, handed out, and after whatever a crash leaves.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence::Bundle;
use journal::command::SignedCommand;
use journal::note::Note;
use journal::{Body, Record};
use journal_nats::permission::TenantUser;
use model::command::{self, Action, EvidenceExport};
use model::event::{CheckpointSigned, EvidenceExported};
use model::history::{BundleChunk, BundleFile, BundleFilesAnswer, BundleRequest, BundlesAnswer, RecordedBundle};
use model::policy::{EvidenceRules, ExportRule};
use model::{Algorithm, Digest, EventType, KeyId, KeySpec, ProblemType, Sequence, Span, TenantId, Timestamp};
use serde_json::Value;
use service::{Clock, clock};

use crate::world::{Member, World, principal, signed, spec};

/// Has the scenario's policy adopted, with these rules of evidence, and an auditor enrolled.
pub(crate) async fn adopt(tenant: &mut Member, evidence: EvidenceRules) {
    let against = tenant.governance().await;
    let enrol = command::PrincipalEnroll { against, principal: principal("aud", "auditor") };
    tenant.done(Action::PrincipalEnroll(enrol), None, "ann,bob").await;
    let against = tenant.governance().await;
    let mut policy = model::Policy { schema: 3, evidence, ..lifecycle::scenario::policy() };
    policy.keys.pre_active_for = "30d".parse().unwrap();
    policy.rules[0].when.responsibility = [model::key::Responsibility::Application].into();
    tenant.done(Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob").await;
}

fn exports(every: Option<&str>) -> EvidenceRules {
    let rule =
        ExportRule { roles: ["auditor".parse().unwrap()].into(), every: every.map(|every| every.parse().unwrap()) };
    EvidenceRules { export: Some(rule), ..EvidenceRules::default() }
}

/// A tenant whose auditor may have bundles made, with a key that is active and one that waits.
async fn tenant(world: &World, name: &str) -> Member {
    let mut tenant = world.tenant(name).await;
    adopt(&mut tenant, exports(None)).await;
    let key = generate(&mut tenant, Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    generate(&mut tenant, Algorithm::Ed25519).await;
    tenant
}

/// A new key that says what it protects, in its store.
pub(crate) async fn generate(tenant: &mut Member, algorithm: Algorithm) -> KeyId {
    let (key, endpoint) = (clock::key_id(), Some("inference".parse().unwrap()));
    let spec = KeySpec { endpoint, ..spec(algorithm) };
    tenant.done(Action::KeyGenerate(command::KeyGenerate { spec }), Some(key), "rae").await;
    tenant.until(|state| state.keys[&key].is_applied()).await;
    key
}

fn asked(tenant: TenantId, from: u64) -> Arc<SignedCommand> {
    signed(tenant, Action::EvidenceExport(EvidenceExport { from }), None, "aud")
}

/// Sends the command until it is recorded and listed; the event.
async fn exported(tenant: &mut Member, signed: &SignedCommand) -> (u64, EvidenceExported) {
    let mut answer = tenant.send(signed).await;
    while answer["ok"] != true {
        assert_eq!(answer["type"], ProblemType::InProgress.urn(), "{answer:#}");
        assert!(answer["done"].as_u64().unwrap() <= answer["of"].as_u64().unwrap(), "{answer:#}");
        answer = tenant.send(signed).await;
    }
    let sequence = answer["sequence"].as_u64().unwrap();
    (sequence, event(tenant, sequence).await)
}

async fn event(tenant: &Member, sequence: u64) -> EvidenceExported {
    let event = tenant.history(sequence, 1).await.events.remove(0);
    let body = Body::parse(&event.payload.0).unwrap();
    assert_eq!(body.event_type, EventType::EvidenceExported.full_name());
    serde_json::from_str(&body.data).unwrap()
}

async fn ask(tenant: &Member, request: BundleRequest) -> Value {
    tenant.ask("keylatch.hist.bundle", serde_json::to_vec(&request).unwrap()).await
}

async fn list(tenant: &Member) -> Vec<RecordedBundle> {
    serde_json::from_value::<BundlesAnswer>(ask(tenant, BundleRequest::default()).await).unwrap().bundles
}

async fn files(tenant: &Member, manifest: Digest) -> Vec<BundleFile> {
    let request = BundleRequest { manifest: Some(manifest), ..BundleRequest::default() };
    serde_json::from_value::<BundleFilesAnswer>(ask(tenant, request).await).unwrap().files
}

async fn download(tenant: &Member, manifest: Digest) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for BundleFile { name, bytes, sha256 } in files(tenant, manifest).await {
        let mut content = Vec::new();
        loop {
            let (file, offset) = (Some(name.clone()), Some(content.len() as u64));
            let request = BundleRequest { manifest: Some(manifest), file, offset, before: None };
            let chunk: BundleChunk = serde_json::from_value(ask(tenant, request).await).unwrap();
            assert_eq!(chunk.offset, content.len() as u64);
            if chunk.data.0.is_empty() {
                break;
            }
            content.extend(chunk.data.0);
        }
        assert_eq!((content.len() as u64, Digest::of(&content)), (bytes, sha256), "{name}");
        all.insert(name, content);
    }
    all
}

async fn records(tenant: &Member) -> Vec<Record> {
    let events = tenant.whole_history().await.into_iter();
    events.map(|event| Record { signature: event.signature, payload: event.payload.0.into() }).collect()
}

/// The bundle that anybody makes of the same events. Without the manifest, which the exporter alone can sign.
async fn made_here(world: &World, tenant: &Member, exported: &EvidenceExported) -> BTreeMap<String, Vec<u8>> {
    let (root, size) = (world.platform.deployment().root, usize::try_from(exported.size).unwrap());
    let records = records(tenant).await;
    let signed = Body::parse(&records[size].payload).unwrap();
    let signed: CheckpointSigned = serde_json::from_str(&signed.data).unwrap();
    let mut bundle = Bundle::new(tenant.tenant, root, Sequence(exported.from));
    let mut events = Vec::new();
    // In other pages than the exporter's.
    for page in records[..size].chunks(7) {
        bundle.take(page.to_vec(), &mut events).unwrap();
    }
    let made = bundle.finish(&[Note::parse(&signed.note).unwrap()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    made.write(&BTreeMap::new(), |name| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path)
    })
    .unwrap();
    let read = |file: &evidence::bundle::File| (file.name.to_owned(), fs::read(folder.path().join(file.name)).unwrap());
    let mut all: BTreeMap<String, Vec<u8>> = evidence::bundle::FILES.iter().map(read).collect();
    all.insert("events.jsonl".to_owned(), events);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_made_on_command_and_readers_have_it_byte_for_byte_as_anybody_makes_it() {
    let world = World::start().await;
    let mut tenant = tenant(&world, "acme").await;
    let last = tenant.state.chain.head().sequence.0;
    let command = asked(tenant.tenant, 5);
    let (sequence, event) = exported(&mut tenant, &command).await;
    assert!(event.size >= last, "what was done before is in it");
    assert_eq!((event.from, event.command.is_some(), event.cause), (5, true, None));
    // The same command gets the same answer, and no second bundle.
    assert_eq!(exported(&mut tenant, &command).await, (sequence, event.clone()));

    let reader = reader(&world, tenant.tenant).await;
    let listed = list(&reader).await;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].manifest, listed[0].sequence, listed[0].size), (event.manifest, sequence, event.size));
    let mut downloaded = download(&reader, event.manifest).await;
    assert_eq!(listed[0].bytes, downloaded.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    let manifest = downloaded.remove("manifest.json").unwrap();
    let envelope: model::Envelope = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(Digest::of(&envelope.payload.0), event.manifest);
    assert_eq!(Digest::of(&downloaded["checkpoints.txt"]), event.checkpoints);
    let here = made_here(&world, &tenant, &event).await;
    assert_eq!(here.keys().collect::<Vec<_>>(), downloaded.keys().collect::<Vec<_>>());
    for (name, bytes) in &here {
        assert!(downloaded[name] == *bytes, "{name} differs");
    }
}

async fn reader(world: &World, tenant: TenantId) -> Member {
    let (deployment, url) = (world.platform.deployment(), world.platform.url());
    Member::connect_as(TenantUser::Reader, deployment, tenant, &url).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_named_have_bundles_made_and_questions_that_make_no_sense_are_refused() {
    let world = World::start().await;
    let mut tenant = world.tenant("acme").await;
    let export = |from| Action::EvidenceExport(EvidenceExport { from });
    tenant.refused(export(1), None, "opa", ProblemType::RoleMissing).await;
    adopt(&mut tenant, exports(None)).await;
    tenant.refused(export(1), None, "opa", ProblemType::RoleMissing).await;
    tenant.refused(export(0), None, "aud", ProblemType::Malformed).await;
    tenant.refused(export(100_000), None, "aud", ProblemType::TimesInvalid).await;
    assert_eq!(list(&tenant).await, []);

    let command = asked(tenant.tenant, 1);
    let (_, event) = exported(&mut tenant, &command).await;
    let of = |manifest, file: Option<&str>, offset| BundleRequest {
        manifest,
        file: file.map(str::to_owned),
        offset,
        before: None,
    };
    let (there, elsewhere) = (Some(event.manifest), Some(Digest::of(b"another")));
    for (request, problem) in [
        (of(elsewhere, None, None), ProblemType::UnknownExport),
        (of(elsewhere, Some("events.jsonl"), Some(0)), ProblemType::UnknownExport),
        (of(there, Some("../export.json"), Some(0)), ProblemType::UnknownExport),
        (of(there, Some("events.jsonl"), None), ProblemType::Malformed),
        (of(there, None, Some(0)), ProblemType::Malformed),
        (of(None, Some("events.jsonl"), Some(0)), ProblemType::Malformed),
        (BundleRequest { before: Some(9), ..of(there, None, None) }, ProblemType::Malformed),
    ] {
        assert_eq!(ask(&tenant, request.clone()).await["type"], problem.urn(), "{request:?}");
    }
    let twice = br#"{"manifest":"00","manifest":"00"}"#.to_vec();
    assert_eq!(tenant.ask("keylatch.hist.bundle", twice).await["type"], ProblemType::Malformed.urn());
    // Another tenant sees nothing of it.
    let other = world.tenant("other").await;
    assert_eq!(list(&other).await, []);
    assert_eq!(ask(&other, of(there, None, None)).await["type"], ProblemType::UnknownExport.urn());
}

/// Time that is turned: everybody of a platform goes by it.
pub(crate) struct Time(pub(crate) Clock);

impl Time {
    pub(crate) fn now() -> Self {
        Self(Clock::set_at(Clock::default().now()))
    }

    /// What was founded by everybody's own clock goes by this one, a moment later.
    pub(crate) fn rule(&self, tenant: &mut Member) {
        self.0.turn(Clock::default().now());
        tenant.clock = self.0.clone();
    }

    pub(crate) fn pass(&self, span: &str) -> Timestamp {
        let now = self.0.now() + span.parse::<Span>().unwrap();
        self.0.turn(now);
        now
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_made_on_schedule() {
    let time = Time::now();
    let world = World::start_with(|options| keylatch::platform::Options { clock: time.0.clone(), ..options }).await;
    let mut tenant = world.tenant("acme").await;
    adopt(&mut tenant, exports(Some("30d"))).await;
    let mut made = Vec::new();
    for count in 1..=2 {
        let now = time.pass("31d");
        tenant.until(|state| state.governance.as_ref().unwrap().schedule.export == Some(now)).await;
        // It is listed a moment after the event.
        while made.len() < count {
            made = list(&tenant).await;
        }
    }
    let sizes: Vec<u64> = made.iter().map(|bundle| bundle.size).collect();
    assert!(sizes.len() == 2 && sizes[0] > sizes[1], "{sizes:?}");
    for bundle in made {
        let event = event(&tenant, bundle.sequence).await;
        assert_eq!((event.from, event.command, event.cause), (1, None, Some(event.checkpoint)));
        assert_eq!(download(&tenant, bundle.manifest).await.len(), evidence::bundle::FILES.len() + 2);
    }
}

fn folder(platform: &Path, tenant: TenantId) -> PathBuf {
    platform.join("state/exports").join(tenant.to_string())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a kill leaves after each step: a bundle under way, one that nobody recorded, one that is recorded and not marked.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_step_a_kill_comes_after_what_is_recorded_is_there_and_the_rest_is_gone() {
    let world = World::start().await;
    let mut tenant = tenant(&world, "acme").await;
    let command = asked(tenant.tenant, 1);
    let (sequence, event) = exported(&mut tenant, &command).await;
    let before = download(&tenant, event.manifest).await;
    let id = tenant.tenant;
    let world = world
        .restart_after(|platform| {
            let folder = folder(platform, id);
            let bundle = folder.join(event.manifest.to_string());
            fs::create_dir_all(folder.join(".new-abc/files")).unwrap();
            fs::write(folder.join(".new-abc/files/events.jsonl"), "half").unwrap();
            let orphan = folder.join(Digest::of(b"an orphan").to_string());
            fs::create_dir_all(orphan.join("files")).unwrap();
            let described = fs::read_to_string(bundle.join("export.json")).unwrap();
            let described = described.replace(&event.manifest.to_string(), &Digest::of(b"an orphan").to_string());
            fs::write(orphan.join("export.json"), described).unwrap();
            fs::remove_file(bundle.join("recorded.json")).unwrap();
        })
        .await;
    let mut tenant = Member::connect(world.platform.deployment(), id, &world.platform.url()).await;
    // A further command waits its turn behind what the start puts in order.
    let next = asked(id, 1);
    let (later, _) = exported(&mut tenant, &next).await;
    let listed: Vec<u64> = list(&tenant).await.iter().map(|bundle| bundle.sequence).collect();
    assert_eq!(listed, [later, sequence]);
    assert_eq!(download(&tenant, event.manifest).await, before);
    assert_eq!(names(&folder(world.path(), id)).len(), 3, "two bundles and the lock");
    assert_eq!(exported(&mut tenant, &command).await.0, sequence, "a repeated command is answered as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_as_many_are_kept_as_are_to_be() {
    let keep_exports = NonZeroUsize::new(1);
    let world = World::start_with(|options| keylatch::platform::Options { keep_exports, ..options }).await;
    let mut tenant = tenant(&world, "acme").await;
    let mut made = Vec::new();
    for from in [1, 2] {
        let command = asked(tenant.tenant, from);
        made.push(exported(&mut tenant, &command).await.1.manifest);
    }
    let kept: Vec<Digest> = list(&tenant).await.iter().map(|bundle| bundle.manifest).collect();
    assert_eq!(kept, [made[1]]);
    let request = BundleRequest { manifest: Some(made[0]), ..BundleRequest::default() };
    assert_eq!(ask(&tenant, request).await["type"], ProblemType::UnknownExport.urn());
}

/// A disk that does not take the bundle: nothing half is left, nothing is recorded, and the same command succeeds later.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_is_an_answer_and_the_command_can_be_sent_again() {
    let world = World::start().await;
    let mut tenant = tenant(&world, "acme").await;
    let folder = folder(world.path(), tenant.tenant);
    fs::write(&folder, "in the way").unwrap();
    let command = asked(tenant.tenant, 1);
    let mut answer = tenant.send(&command).await;
    while answer["type"] == ProblemType::InProgress.urn() {
        answer = tenant.send(&command).await;
    }
    assert_eq!(answer["type"], ProblemType::Unavailable.urn(), "{answer:#}");
    assert!(!answer["detail"].as_str().unwrap().contains('/'), "paths are for the log: {answer:#}");
    fs::remove_file(&folder).unwrap();
    let (sequence, event) = exported(&mut tenant, &command).await;
    assert_eq!(list(&tenant).await.iter().map(|bundle| bundle.sequence).collect::<Vec<_>>(), [sequence]);
    assert_eq!(names(&folder), [event.manifest.to_string(), "lock".to_owned()]);
}
