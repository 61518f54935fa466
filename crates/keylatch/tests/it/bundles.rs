//! Bundles of evidence on the real platform: on command, on schedule, handed out, and after whatever a crash leaves.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evidence::Bundle;
use evidence_exporter::testing::Witness;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use journal::command::{KeyInHand, SignedCommand};
use journal::note::{Note, NoteKey};
use journal::port::News;
use journal::{Body, Record};
use journal_nats::permission::TenantUser;
use keylatch::bus::{Bus, NatsBus, NoAnswer};
use keylatch::command::export::{ExportArgs, export};
use keylatch::{Error, Screen, Session, Show as _};
use model::command::{self, Action, EvidenceExport};
use model::event::{CheckpointSigned, EvidenceExported};
use model::history::{BundleChunk, BundleFile, BundleFilesAnswer, BundleRequest, BundlesAnswer, RecordedBundle};
use model::policy::{EvidenceRules, ExportRule};
use model::text::Base64;
use model::{
    Algorithm, Digest, EventType, KeyId, KeySpec, ProblemType, Sequence, ServiceRole, Span, TenantId, Timestamp,
};
use serde_json::Value;
use service::{Clock, clock};

use crate::world::{Member, World, key_of, principal, signed, spec};
use crate::{json, keylatch};

/// Has the scenario's policy adopted, with these rules of evidence, and an auditor enrolled.
pub(crate) async fn adopt(tenant: &mut Member, evidence: EvidenceRules) {
    let against = tenant.governance().await;
    let enrol = command::PrincipalEnroll { against, principal: principal("aud", "auditor") };
    tenant.done(Action::PrincipalEnroll(enrol), None, "ann,bob").await;
    let against = tenant.governance().await;
    let mut policy = model::Policy { schema: 3, evidence: Box::new(evidence), ..lifecycle::scenario::policy() };
    policy.keys.pre_active_for = "30d".parse().unwrap();
    policy.rules[0].request_valid_for = "30d".parse().unwrap();
    policy.rules[0].when.responsibility = [model::key::Responsibility::Application].into();
    tenant.done(Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob").await;
}

pub(crate) fn exports(every: Option<&str>) -> EvidenceRules {
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

pub(crate) fn asked(tenant: TenantId, from: u64) -> Arc<SignedCommand> {
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

pub(crate) async fn list(tenant: &Member) -> Vec<RecordedBundle> {
    serde_json::from_value::<BundlesAnswer>(ask(tenant, BundleRequest::default()).await).unwrap().bundles
}

async fn files(tenant: &Member, manifest: Digest) -> Vec<BundleFile> {
    let request = BundleRequest { manifest: Some(manifest), ..BundleRequest::default() };
    serde_json::from_value::<BundleFilesAnswer>(ask(tenant, request).await).unwrap().files
}

pub(crate) async fn download(tenant: &Member, manifest: Digest) -> BTreeMap<String, Vec<u8>> {
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

/// The bundle that anybody makes of the same events, who has the exporter's key.
async fn made_here(world: &World, tenant: &Member, exported: &EvidenceExported) -> BTreeMap<String, Vec<u8>> {
    let (deployment, size) = (world.platform.deployment(), usize::try_from(exported.size).unwrap());
    let records = records(tenant).await;
    let signed = Body::parse(&records[size].payload).unwrap();
    let signed: CheckpointSigned = serde_json::from_str(&signed.data).unwrap();
    let mut bundle = Bundle::new(tenant.tenant, deployment.root, Sequence(exported.from));
    let (mut events, mut ocsf) = (Vec::new(), Vec::new());
    // In other pages than the exporter's.
    for page in records[..size].chunks(7) {
        bundle.take(page.to_vec(), &mut events, &mut ocsf).unwrap();
    }
    let made = bundle.finish(&[Note::parse(&signed.note).unwrap()]).unwrap();
    let (folder, key) = (tempfile::tempdir().unwrap(), deployment.service_key(ServiceRole::EvidenceExporter).unwrap());
    let create = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path)
    };
    let statement = made.write(&key, create).unwrap();
    let named = statement.subject.iter().map(|subject| subject.name.clone());
    let written = named.filter(|name| !["events.jsonl", "ocsf.jsonl"].contains(&name.as_str()));
    let mut all: BTreeMap<String, Vec<u8>> =
        written.map(|name| (name.clone(), fs::read(folder.path().join(name)).unwrap())).collect();
    all.insert("events.jsonl".to_owned(), events);
    all.insert("ocsf.jsonl".to_owned(), ocsf);
    all.insert("manifest.json".to_owned(), statement.sign(&key));
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
    let downloaded = download(&reader, event.manifest).await;
    assert_eq!(listed[0].bytes, downloaded.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    let envelope: model::Envelope = serde_json::from_slice(&downloaded["manifest.json"]).unwrap();
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
    let world = World::start_as(|options| keylatch::platform::Options { clock: time.0.clone(), ..options }).await;
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
        assert!(download(&tenant, bundle.manifest).await.len() > evidence::bundle::FILES.len());
    }
}

fn folder(platform: &Path, tenant: TenantId) -> PathBuf {
    platform.join("state/exports").join(tenant.to_string())
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
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
    let world = World::start_as(|options| keylatch::platform::Options { keep_exports, ..options }).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_witnesses_have_said_is_in_the_bundle_and_counts_for_who_names_them() {
    let witness = Witness::start("witness.example/w1");
    let vkey = witness.vkey().to_string();
    let toml = format!("[[witness]]\nurl = \"{}\"\nvkey = \"{vkey}\"\nevery = \"10ms\"\n", witness.url);
    let world = World::start_with(&toml).await;
    let mut tenant = tenant(&world, "acme").await;
    let exporter = world.platform.deployment().service_key(ServiceRole::EvidenceExporter).unwrap();
    witness.know(NoteKey::of_log(tenant.tenant, exporter.signing_key().verifying_key()));
    let cosigned =
        async { while tenant.ask("keylatch.hist.checkpoint", b"{}".to_vec()).await["cosigned"].is_null() {} };
    tokio::time::timeout(Duration::from_secs(60), cosigned).await.expect("nobody cosigned");
    let command = asked(tenant.tenant, 1);
    let (_, event) = exported(&mut tenant, &command).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in download(&tenant, event.manifest).await {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let (code, verified) = verify(&world, &[folder.path().to_str().unwrap(), "--witness", &vkey]);
    let figures = verified["verdict"]["integrity"]["figures"].as_array().unwrap().clone();
    let counted = figures.iter().find(|figure| figure["what"].as_str().unwrap().contains("your witnesses")).unwrap();
    assert!(code == Some(0) && counted["value"].as_str().unwrap().parse::<u32>().unwrap() > 0, "{verified:#}");
}

// === The command line ===

/// The bus, with answers about bundles changed on their way.
struct Changed<F> {
    bus: NatsBus,
    change: F,
}

impl<F: Fn(&mut Value) + Send + Sync> Bus for Changed<F> {
    fn request(&self, subject: String, payload: Bytes, patience: Duration) -> BoxFuture<'_, Result<Bytes, NoAnswer>> {
        Box::pin(async move {
            let about_bundles = subject == "keylatch.hist.bundle";
            let answer = self.bus.request(subject, payload, patience).await?;
            if !about_bundles {
                return Ok(answer);
            }
            let mut members = serde_json::from_slice(&answer).unwrap();
            (self.change)(&mut members);
            Ok(serde_json::to_vec(&members).unwrap().into())
        })
    }

    fn events(&self) -> BoxFuture<'_, Result<BoxStream<'static, News>, NoAnswer>> {
        self.bus.events()
    }
}

/// A session of somebody's, over a bus that changes answers like this.
async fn session_over(
    world: &World,
    tenant: TenantId,
    kind: TenantUser,
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> Session {
    let user = world.platform.deployment().operator.tenant(tenant).unwrap();
    let credentials = user.user(kind, &"aud".parse().unwrap()).unwrap();
    let path = world.dir.path().join(format!("{}.creds", clock::command_id()));
    credentials.save(&path).unwrap();
    let bus = NatsBus::connect(&world.platform.url(), &path, tenant).await.unwrap();
    Session::new(Arc::new(Changed { bus, change }), tenant, world.platform.deployment().root)
}

async fn session(world: &World, tenant: TenantId, kind: TenantUser) -> Session {
    session_over(world, tenant, kind, |_| ()).await
}

fn arguments(folder: &Path, latest: bool, tar: bool) -> ExportArgs {
    ExportArgs { folder: folder.to_owned(), from: None, latest, tar, events: false }
}

fn verify(world: &World, arguments: &[&str]) -> (Option<i32>, Value) {
    let root = world.platform.deployment().root.to_string();
    let output = keylatch(world.dir.path(), &[&["--json", "verify", "--root", &root], arguments].concat());
    (output.status.code(), json(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_exported_packed_and_verified_by_the_program() {
    let world = World::start().await;
    let tenant = tenant(&world, "acme").await;
    let (id, out, mut screen) = (tenant.tenant, tempfile::tempdir().unwrap(), Screen::silent());
    let path = |name: &str| out.path().join(name);
    let mut reading = session(&world, id, TenantUser::Reader).await;
    let early = export(&arguments(&path("early"), true, false), &mut reading, &mut screen).await;
    assert!(matches!(early, Err(Error::Failed { .. })), "there is none yet");

    let mut signing = session(&world, id, TenantUser::Member).await;
    let since = tenant.state.chain.time();
    signing = signing.signing_with(Arc::new(KeyInHand::new(key_of("aud"))));
    let first = ExportArgs { from: Some(since.to_string().parse().unwrap()), ..arguments(&path("one"), false, false) };
    let exported = export(&first, &mut signing, &mut screen).await.unwrap();
    assert!(exported.verdict.holds && exported.to_people().contains("keylatch verify"), "{}", exported.to_people());
    let whole = tenant.whole_history().await;
    assert_eq!(exported.sequence, whole.last().unwrap().sequence);
    let begins = exported.verdict.period.from.0;
    assert!(begins > 1 && Body::parse(&whole[begins as usize - 1].payload.0).unwrap().time >= since);
    assert!(Body::parse(&whole[begins as usize - 2].payload.0).unwrap().time < since);
    assert!(export(&first, &mut signing, &mut screen).await.is_err(), "nothing is overwritten");
    let (code, verified) = verify(&world, &[path("one").to_str().unwrap(), "--tenant", &id.to_string()]);
    assert_eq!((code, &verified["ok"]), (Some(0), &Value::Bool(true)), "{verified:#}");

    // A reader takes the newest, packed, twice: the same bytes.
    for name in ["a.tar.gz", "b.tar.gz"] {
        let mut reading = session(&world, id, TenantUser::Reader).await;
        let packed = export(&arguments(&path(name), true, true), &mut reading, &mut screen).await.unwrap();
        assert_eq!((packed.manifest, packed.sequence), (exported.manifest, exported.sequence));
    }
    assert!(fs::read(path("a.tar.gz")).unwrap() == fs::read(path("b.tar.gz")).unwrap(), "packed otherwise");
    let (code, packed) = verify(&world, &[path("a.tar.gz").to_str().unwrap(), "--tenant", &id.to_string()]);
    assert_eq!((code, &packed["verdict"]), (Some(0), &verified["verdict"]));

    // Kept from then: a later bundle continues it, and an older one is found to be one.
    let kept = path("one/checkpoints.txt");
    let mut signing = session(&world, id, TenantUser::Member).await;
    signing = signing.signing_with(Arc::new(KeyInHand::new(key_of("aud"))));
    let later = export(&arguments(&path("later"), false, false), &mut signing, &mut screen).await.unwrap();
    assert!(later.verdict.events > exported.verdict.events);
    let with = |name: &str, kept: &Path| {
        verify(&world, &[path(name).to_str().unwrap(), "--checkpoint", kept.to_str().unwrap()])
    };
    assert_eq!(with("later", &kept).0, Some(0));
    let (code, older) = with("one", &path("later/checkpoints.txt"));
    assert_eq!(code, Some(1));
    assert!(older["fault"].as_str().unwrap().contains("the end is missing"), "{older:#}");
    assert_eq!(with("one", &path("one/README.txt")).0, Some(2), "no checkpoint at all");
    assert_eq!(names(out.path()), ["a.tar.gz", "b.tar.gz", "later", "one"], "nothing else is left");
}

/// What an exporter, or whoever is between, might do: nothing of it comes into place.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_was_tampered_with_is_refused_and_nothing_is_kept() {
    let world = World::start().await;
    let mut tenant = tenant(&world, "acme").await;
    let command = asked(tenant.tenant, 1);
    let (old, _) = exported(&mut tenant, &command).await;
    let command = asked(tenant.tenant, 1);
    exported(&mut tenant, &command).await;
    let out = tempfile::tempdir().unwrap();
    let flipped = |answer: &mut Value, of: &str| {
        let Some(data) = answer["data"].as_str() else { return };
        let mut bytes = data.parse::<Base64>().unwrap().0;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(at) = text.find(of) {
            bytes[at] ^= 1;
            answer["data"] = Base64(bytes).to_string().into();
        }
    };
    type Change = Box<dyn Fn(&mut Value) + Send + Sync>;
    let changes: Vec<(&str, Change)> = vec![
        ("a letter of the README", Box::new(move |answer| flipped(answer, "Evidence of a Keylatch tenant"))),
        ("a letter of an event", Box::new(move |answer| flipped(answer, "payloadType"))),
        ("a letter of the manifest's signature", Box::new(move |answer| flipped(answer, "sig"))),
        ("a file that is not there", Box::new(|answer| drop(answer["files"].as_array_mut().map(Vec::pop)))),
        (
            "a name that leads elsewhere",
            Box::new(|answer| {
                if let Some(file) = answer["files"].as_array_mut().and_then(|files| files.first_mut()) {
                    file["name"] = "../outside".into();
                }
            }),
        ),
        (
            "a file that is shorter than it says",
            Box::new(|answer| {
                if let Some(file) = answer["files"].as_array_mut().and_then(|files| files.last_mut()) {
                    file["bytes"] = 10_000_000.into();
                }
            }),
        ),
        (
            "the event of another bundle",
            Box::new(move |answer| {
                if let Some(newest) = answer["bundles"].as_array_mut().and_then(|bundles| bundles.first_mut()) {
                    newest["sequence"] = old.into();
                }
            }),
        ),
    ];
    for (what, change) in changes {
        let mut reading = session_over(&world, tenant.tenant, TenantUser::Reader, change).await;
        let path = out.path().join("evidence");
        let outcome = export(&arguments(&path, true, false), &mut reading, &mut Screen::silent()).await;
        assert!(matches!(outcome, Err(Error::Failed { .. })), "{what}: {outcome:?}");
        assert_eq!(names(out.path()), Vec::<String>::new(), "{what}: something is left");
    }
    let mut reading = session(&world, tenant.tenant, TenantUser::Reader).await;
    export(&arguments(&out.path().join("evidence"), true, false), &mut reading, &mut Screen::silent()).await.unwrap();
}
