//! Proofs: plain hashes as others publish them, files that anybody checks, and the whole way on a platform whose checkpoints
//! a witness and a time-stamping authority vouch for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evidence_exporter::testing::{Authority, Witness};
use journal::merkle::{self, Frontier, Hash};
use journal::note::{Checkpoint, Kind, Note, NoteKey, Opened, origin};
use journal::tlog_proof::TlogProof;
use journal_nats::TenantUser;
use keylatch::command::proof::{EventArgs, prove};
use keylatch::{Context, Screen, Session, Show as _};
use model::history::{CheckpointAnswer, ConsistencyAnswer};
use model::{Algorithm, EventHash, ServiceRole};
use serde_json::{Value, json};

use crate::world::World;
use crate::{json, keylatch, stdout};

/// The roots of the trees of 0 to 8 leaves that implementations share, and some of their proofs.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const TWO_TO_FIVE: [&str; 2] = [
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
];
/// The path of leaf 5 of 8, and that leaf's data.
const FIVE_OF_EIGHT: [&str; 3] = [
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
];
const LEAF_FIVE: [u8; 4] = [0x40, 0x41, 0x42, 0x43];

/// The program's exit code for `keylatch proof …`, which is also what it says.
#[track_caller]
fn exits(arguments: &[&str], code: i32) -> Value {
    let arguments = [&["--json", "proof"], arguments].concat();
    let output = keylatch(Path::new("/nowhere"), &arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    if code < 2 { json(&output) } else { Value::Null }
}

#[track_caller]
fn consistency(from: u64, to: u64, roots: [&str; 2], path: &[&str], code: i32) {
    let (from, to, path) = (from.to_string(), to.to_string(), path.join(","));
    let mut arguments =
        vec!["consistency", "--from", &from, "--to", &to, "--from-root", roots[0], "--to-root", roots[1]];
    if !path.is_empty() {
        arguments.extend(["--path", &path]);
    }
    let said = exits(&arguments, code);
    assert!(code == 2 || said["holds"] == (code == 0), "{said}");
}

#[test]
fn consistency_is_checked_on_plain_hashes() {
    let (two, five, proof) = (ROOTS[2], ROOTS[5], TWO_TO_FIVE);
    consistency(2, 5, [two, five], &proof, 0);
    consistency(5, 5, [five, five], &[], 0);
    let in_base64 = |hex: &str| data_encoding::BASE64.encode(&data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap());
    consistency(2, 5, [&in_base64(two), &in_base64(five)], &proof.map(in_base64).each_ref().map(String::as_str), 0);
    let flipped = proof[1].replace("bc1a", "bc1b");
    for (from, to, roots, path) in [
        (2, 5, [five, two], proof.to_vec()),
        (3, 5, [two, five], proof.to_vec()),
        (2, 9, [two, five], proof.to_vec()),
        (5, 2, [five, two], proof.to_vec()),
        (0, 5, [ROOTS[0], five], vec![]),
        (2, 5, [two, five], vec![]),
        (2, 5, [two, five], vec![proof[0]]),
        (2, 5, [two, five], vec![proof[0], &flipped]),
        (2, 5, [two, five], vec![proof[1], proof[0]]),
        (2, 5, [two, five], vec![proof[0], proof[1], proof[1]]),
        (2, 5, [two, five], vec!["", proof[0], proof[1]]),
        (2, 5, ["77726f6e67", five], proof.to_vec()),
        (5, 5, [five, two], vec![]),
        (0, 0, [ROOTS[0], ROOTS[0]], vec![]),
    ] {
        consistency(from, to, roots, &path, 1);
    }
    consistency(2, 5, ["no hash", five], &proof, 2);
    exits(&["consistency", "--from", "2"], 2);
}

#[test]
fn inclusion_is_checked_on_plain_hashes() {
    let leaf = data_encoding::HEXLOWER.encode(&merkle::leaf(&LEAF_FIVE));
    let check = |index: &str, size: &str, leaf: &str, root: &str, path: &[&str], code| {
        let mut arguments = vec!["inclusion", "--index", index, "--size", size, "--leaf", leaf, "--root", root];
        arguments.extend(path.iter().flat_map(|hash| ["--path", hash]));
        exits(&arguments, code)
    };
    let (root, path) = (ROOTS[8], FIVE_OF_EIGHT);
    check("5", "8", &leaf, root, &path, 0);
    check("0", "1", ROOTS[1], ROOTS[1], &[], 0);
    for (index, size, leaf, root, path) in [
        ("4", "8", leaf.as_str(), root, path.to_vec()),
        ("8", "8", &leaf, root, path.to_vec()),
        ("5", "9", &leaf, root, path.to_vec()),
        ("5", "0", &leaf, root, path.to_vec()),
        ("5", "8", ROOTS[1], root, path.to_vec()),
        ("5", "8", &leaf, ROOTS[7], path.to_vec()),
        ("5", "8", &leaf, root, path[..2].to_vec()),
        ("5", "8", &leaf, root, vec![path[1], path[0], path[2]]),
        ("5", "8", &leaf, root, [&path[..], &[root]].concat()),
        ("5", "8", "77726f6e67", root, path.to_vec()),
    ] {
        check(index, size, leaf, root, &path, 1);
    }
    check("-1", "8", &leaf, root, &path, 2);
    check("5", "8", "zz", root, &path, 2);
}

// === Files ===

const ORIGIN: &str = "keylatch.example/tenant/acme";

fn signer(first: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&std::array::from_fn(|place| first + place as u8))
}

fn vkey(name: &str, kind: Kind, first: u8) -> String {
    NoteKey::new(name, kind, signer(first).verifying_key()).unwrap().to_string()
}

/// The proof of one of eleven events, its hash, and the checkpoint alone.
fn files(dir: &Path) -> String {
    let leaves: Vec<Hash> = (0..11_u8).map(|number| merkle::leaf(&[number])).collect();
    let mut tree = Frontier::default();
    leaves.iter().for_each(|leaf| tree.push(leaf));
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 11, root: tree.root() };
    let mut note = Note::parse(&checkpoint.sign(&signer(0))).unwrap();
    note.add(&note.cosignature("witness.example/w1", 1_795_451_400, &signer(0x20)).to_string()).unwrap();
    let proof = TlogProof { extra: None, index: 5, path: merkle::path_in(&merkle::levels(leaves.clone()), 5), note };
    fs::write(dir.join("5.tlog-proof"), proof.to_string()).unwrap();
    fs::write(dir.join("checkpoint.txt"), proof.note.to_string()).unwrap();
    EventHash::new(leaves[5]).to_string()
}

#[test]
fn files_are_checked_under_keys_that_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let hash = files(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (proof, checkpoint) = (file("5.tlog-proof"), file("checkpoint.txt"));
    let (log, witness) = (vkey(ORIGIN, Kind::Ed25519, 0), vkey("witness.example/w1", Kind::Cosignature, 0x20));
    let said =
        exits(&["check", &proof, "--event", &hash, "--vkey", &log, "--vkey", &witness, "--cosignatures", "1"], 0);
    assert_eq!((&said["index"], &said["size"], &said["origin"]), (&json!(5), &json!(11), &json!(ORIGIN)));
    assert_eq!(said["cosigned"][0]["witness"], "witness.example/w1");
    let said = exits(&["check", &checkpoint, "--vkey", &log], 0);
    assert_eq!(said["cosigned"], json!([]), "a witness whose key is not given does not count");
    assert!(said["not_checked"].to_string().contains("no witness's key"));

    let (other, other_hash) = (vkey(ORIGIN, Kind::Ed25519, 9), EventHash::new([7; 32]).to_string());
    for wrong in [
        vec!["check", &proof, "--event", &other_hash, "--vkey", &log],
        vec!["check", &proof, "--event", &hash, "--vkey", &other],
        vec!["check", &proof, "--event", &hash, "--vkey", &log, "--cosignatures", "1"],
        vec!["check", &proof, "--event", &hash, "--vkey", &log, "--origin", "elsewhere.example"],
        vec!["check", &checkpoint, "--vkey", &other],
    ] {
        assert!(exits(&wrong, 1)["fault"].is_string(), "{wrong:?}");
    }
    let text = fs::read_to_string(&proof).unwrap();
    for (from, to) in [("index 5", "index 6"), ("\n11\n", "\n12\n"), ("IDJKvgAAAABrBGoI", "IDJKvgAAAABrBGoJ")] {
        let touched = text.replacen(from, to, 1);
        assert_ne!(touched, text);
        fs::write(dir.path().join("touched"), touched).unwrap();
        exits(&["check", &file("touched"), "--event", &hash, "--vkey", &log, "--vkey", &witness], 1);
    }
    for (from, to) in [("index 5", "index"), ("@v1", "@v9"), ("\n\n\u{2014}", "\n\u{2014}")] {
        fs::write(dir.path().join("unread"), text.replacen(from, to, 1)).unwrap();
        exits(&["check", &file("unread"), "--event", &hash, "--vkey", &log], 2);
    }
    for unread in [
        vec!["check", &proof, "--vkey", &log],
        vec!["check", &checkpoint, "--event", &hash, "--vkey", &log],
        vec!["check", &proof, "--event", &hash, "--vkey", &witness],
        vec!["check", &proof, "--event", &hash, "--vkey", &log, "--vkey", &vkey("b", Kind::Ed25519, 9)],
        vec!["check", &proof, "--event", &hash, "--vkey", "x"],
        vec!["check", "nowhere", "--event", &hash, "--vkey", &log],
    ] {
        exits(&unread, 2);
    }
    let people = keylatch(dir.path(), &["proof", "check", &proof, "--event", &hash, "--vkey", &log]);
    for shown in ["it holds", "number 6", "over 11 events", "not checked"] {
        assert!(stdout(&people).contains(shown), "{people:?}");
    }
}

// === The whole way ===

/// A user of the tenant who may only read, and the program as that user.
struct Reader {
    session: Session,
    client: async_nats::Client,
}

impl Reader {
    async fn connect(world: &World, tenant: model::TenantId) -> Self {
        let deployment = world.platform.deployment();
        let user = deployment.operator.tenant(tenant).unwrap();
        let credentials = user.user(TenantUser::Reader, &"auditor".parse().unwrap()).unwrap();
        let path = world.dir.path().join(format!("{}.creds", uuid()));
        credentials.save(&path).unwrap();
        let url = world.platform.url();
        let context = Context { url: url.clone(), credentials: path, tenant, root: deployment.root, identity: None };
        let client = journal_nats::connect::connect_as(&url, &credentials, "auditor").await.unwrap();
        Self { session: Session::connect(&context).await.unwrap(), client }
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, word: &str, request: Value) -> Result<T, Value> {
        let asked = self.client.request(format!("keylatch.hist.{word}"), request.to_string().into());
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("no answer").unwrap();
        serde_json::from_slice(&answer.payload).map_err(|_| serde_json::from_slice(&answer.payload).unwrap())
    }

    /// Waits until the newest checkpoint has been vouched for as often.
    async fn vouched(&self, covers: u64) -> CheckpointAnswer {
        let waits = async {
            loop {
                let answer = self.ask::<CheckpointAnswer>("checkpoint", json!({})).await;
                let vouched = |answer: &CheckpointAnswer| {
                    let size = Some(answer.checkpoint.size);
                    answer.checkpoint.size >= covers && answer.cosigned == size && answer.stamped == size
                };
                match answer {
                    Ok(answer) if vouched(&answer) => return answer,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waits).await.expect("nobody vouched for it")
    }
}

fn uuid() -> String {
    service::clock::key_id().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_proved_to_readers_by_checkpoints_that_others_vouch_for() {
    let (witness, authority) = (Witness::start("witness.example/w1"), Authority::start());
    let toml = format!(
        "[[witness]]\nurl = \"{}\"\nvkey = \"{}\"\nevery = \"10ms\"\n[timestamp]\nurl = \"{}\"\nevery = \"10ms\"\n",
        witness.url,
        witness.vkey(),
        authority.url
    );
    let world = World::start_with(&toml).await;
    let mut member = world.tenant("one").await;
    let key = member.generate(Algorithm::Aes256Gcm).await;
    let tenant = member.tenant;
    let exporter = world.platform.deployment().service_key(ServiceRole::EvidenceExporter).unwrap();
    let log = NoteKey::of_log(tenant, exporter.signing_key().verifying_key());
    witness.know(log.clone());
    let reader = Reader::connect(&world, tenant).await;
    let event = member.state.chain.head().sequence.0;
    let answer = reader.vouched(event).await;
    let first = answer.checkpoint;
    let (keys, witnesses) = ([log.clone()], [witness.vkey()]);
    let note = Note::parse(&first.note).unwrap();
    let opened = Opened::read(&note, &origin(tenant), &keys, &witnesses).unwrap();
    assert_eq!((opened.checkpoint.size, opened.cosignatures.len()), (first.size, 1));
    assert!(authority.verifies(note.text(), &first.timestamps[0].0));

    // The program proves it to whoever has its file.
    let mut reader = reader;
    let out = world.dir.path().join("event.tlog-proof");
    let args = EventArgs { event: event.to_string(), out: Some(out.clone()) };
    let proved = prove(&args, &mut reader.session, &mut Screen::silent()).await.unwrap();
    assert_eq!((proved.sequence.0, &proved.key), (event, &log));
    assert!(proved.to_people().contains(&format!("--event {} --vkey {log}", proved.hash)));
    let path = out.display().to_string();
    let (hash, log, vkey) = (proved.hash.to_string(), log.to_string(), witness.vkey().to_string());
    exits(&["check", &path, "--event", &hash, "--vkey", &log, "--vkey", &vkey, "--cosignatures", "1"], 0);
    let again = prove(&args, &mut reader.session, &mut Screen::silent()).await;
    assert!(again.is_err(), "nothing is overwritten");
    let by_hash = EventArgs { event: hash, out: Some(world.dir.path().join("by-hash.tlog-proof")) };
    let by_hash = prove(&by_hash, &mut reader.session, &mut Screen::silent()).await.unwrap();
    assert_eq!(by_hash.sequence, proved.sequence);
    for none in ["999999", &EventHash::new([7; 32]).to_string(), "0", "x"] {
        let args = EventArgs { event: none.to_owned(), out: None };
        assert!(prove(&args, &mut reader.session, &mut Screen::silent()).await.is_err(), "{none}");
    }

    // Later the older one is still there with what was said of it, and the newer continues it, over a restart too.
    member.activate(key).await;
    let later = member.state.chain.head().sequence.0;
    let second = reader.vouched(later).await.checkpoint;
    let world = world.restart().await;
    let reader = Reader::connect(&world, tenant).await;
    let kept: CheckpointAnswer = reader.ask("checkpoint", json!({ "size": first.size })).await.unwrap();
    assert_eq!(kept.checkpoint, first);
    let request = json!({ "from": first.size, "to": second.size });
    let answer: ConsistencyAnswer = reader.ask("consistency", request).await.unwrap();
    let path: Vec<Hash> = answer.hashes.iter().map(|hash| *hash.as_bytes()).collect();
    let root = |note: &str| Note::parse(note).unwrap().checkpoint().unwrap().root;
    let (older, newer) = (root(&answer.from.note), root(&answer.to.note));
    assert!(merkle::continues(first.size, &older, second.size, &newer, &path));
    assert_eq!(answer.to, second);
    for (word, request) in [
        ("prove", json!({ "sequence": 0 })),
        ("prove", json!({ "sequence": 1, "size": 1 })),
        ("prove", json!({ "sequence": 1, "more": 1 })),
        ("prove", json!({})),
        ("checkpoint", json!({ "size": null })),
        ("consistency", json!({ "from": 0 })),
    ] {
        let problem = reader.ask::<CheckpointAnswer>(word, request.clone()).await.unwrap_err();
        assert_eq!(problem["ok"], false, "{word} {request}: {problem}");
    }

    // Whoever runs it sees how it goes.
    let folder = world.dir.path().join("platform").display().to_string();
    let output = keylatch(world.dir.path(), &["--json", "doctor", "--dir", &folder]);
    let checks = json(&output)["checks"].as_array().unwrap().clone();
    let outside: Vec<&Value> = checks.iter().filter(|check| check["check"] == "outside").collect();
    assert_eq!(outside.len(), 2, "{checks:#?}");
    assert!(outside[0]["found"].as_str().unwrap().contains("witness.example/w1"));
    world.platform.stop().await.unwrap();
}
